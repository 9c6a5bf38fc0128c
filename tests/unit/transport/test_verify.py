"""Values of ``verify`` and of the environment that are accepted, or refused before anything is sent."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cosxfer.config import ClientConfig
from cosxfer.errors import UsageError
from cosxfer.transport.tls import context_of


class EmptyPath:
    def __fspath__(self) -> str:
        return ""


class BytesPath:
    def __fspath__(self) -> bytes:
        return b"/nowhere"


@pytest.mark.parametrize(
    "verify", ["", EmptyPath(), None, 0, 1, b"", b"ca.pem", 0.0, [], BytesPath(), "/nowhere", "/tmp"]
)
def test_a_setting_that_names_no_authorities_is_refused(verify: Any) -> None:
    with pytest.raises(UsageError) as caught:
        context_of(ClientConfig(verify=verify))
    assert caught.value.name == "verify"


def test_an_empty_file_or_a_folder_is_not_taken_for_authorities(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for path in (tmp_path, tmp_path / "empty.pem", tmp_path / "missing"):
        with pytest.raises(UsageError, match="cannot be used"):
            context_of(ClientConfig(verify=path))


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_an_environment_that_names_nothing_usable_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, str(tmp_path / "missing"))
    with pytest.raises(UsageError, match=name):
        context_of(ClientConfig())
    monkeypatch.setenv(name, "")  # as if it were not set
    assert context_of(ClientConfig()).verify_mode == ssl.CERT_REQUIRED


def test_the_callers_context_is_used_unchanged() -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    assert context_of(ClientConfig(verify=context)) is context


def test_the_command_refuses_an_empty_file_of_authorities(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    command = [sys.executable, "-m", "cosxfer", "cp", str(tmp_path / "f"), "cos://examplebucket-1250000000/k"]
    keys = {"COS_SECRET_ID": "id", "COS_SECRET_KEY": "key"}
    ended = subprocess.run(
        [*command, "--ca-file", "", "--region", "ap-guangzhou"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **keys},
    )
    assert (ended.returncode, "ca-file" in ended.stderr) == (2, True), ended.stderr
