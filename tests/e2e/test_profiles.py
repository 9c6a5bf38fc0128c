"""Profiles on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cosxfer.server import RunningServer
from tests.e2e.command import flat, run


@pytest.fixture
def home(server: RunningServer, tmp_path: Path) -> dict[str, str]:
    """The variables of a user who has a profile and no keys in the environment."""
    path = tmp_path / "config/cosxfer/config.toml"
    path.parent.mkdir(parents=True)
    keys = server.credentials
    path.write_text(
        f'[profiles.default]\nsecret_id = "{keys.secret_id}"\nsecret_key = "{keys.secret_key}"\n'
        f'endpoint = "{server.endpoint}"\n[profiles.wrong]\nsecret_id = "AKIDx"\nsecret_key = "wrong-secret"\n'
    )
    path.chmod(0o600)
    return {"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path)}


def test_the_default_profile_has_keys_and_address(server: RunningServer, home: dict[str, str]) -> None:
    address = f"cos://{server.bucket}/profiles/x"
    for words in (["cp", __file__, address], ["ls", address], ["form", address, "-o", "-"], ["presign", address]):
        done = run(None, *words, **home)
        assert (done.returncode, done.stderr.count("cosxfer:")) == (0, 0), done.stderr
    refused = run(server, "ls", address, "--profile", "wrong", **home)
    assert refused.returncode == 1
    assert "InvalidAccessKeyId" in refused.stderr
    assert run(server, "ls", address, COSXFER_PROFILE="wrong", **home).returncode == 0  # the environment has keys


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--profile", "none"], "there is no profile 'none' in"),
        (["--profile", ""], "--profile is empty"),
        (["--profile", "coscli"], "is the file of coscli, but there is no"),
    ],
)
def test_a_profile_that_is_missing_exits_with_2(
    server: RunningServer, home: dict[str, str], options: list[str], says: str
) -> None:
    done = run(None, "ls", f"cos://{server.bucket}", *options, "--json", **home)
    assert done.returncode == 2
    assert says in flat(done.stderr)
    assert says.split()[0] in json.loads(done.stdout)["error"]["message"]


def test_without_keys_the_files_of_other_tools_are_offered_but_not_used(server: RunningServer, tmp_path: Path) -> None:
    keys = server.credentials
    (tmp_path / ".cos.conf").write_text(
        f"[common]\nsecret_id = {keys.secret_id}\nsecret_key = {keys.secret_key}\nregion = ap-guangzhou\n"
    )
    (tmp_path / ".cos.conf").chmod(0o600)
    words = ("ls", f"cos://{server.bucket}", "--endpoint", server.endpoint)
    done = run(None, *words, HOME=str(tmp_path))
    assert done.returncode == 2
    assert "--profile coscmd reads the keys of" in flat(done.stderr)
    assert run(None, *words, "--profile", "coscmd", HOME=str(tmp_path)).returncode == 0


def test_no_debug_log_has_a_secret(server: RunningServer, home: dict[str, str]) -> None:
    done = run(None, "ls", f"cos://{server.bucket}", "--debug", **home)
    assert done.returncode == 0
    assert server.credentials.secret_key not in done.stderr + done.stdout
