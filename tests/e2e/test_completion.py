"""Completion in a shell: bash with its own script, zsh and fish if they are there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from cosxfer.cli import completion_keys
from cosxfer.cli.app import app
from cosxfer.cli.completion import candidates
from cosxfer.cli.completion_scripts import SCRIPTS
from cosxfer.server import RunningServer, running
from tests.e2e.command import client, environment, flat, run


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "cosxfer/config.toml"
    path.parent.mkdir()
    path.write_text("[profiles.work]\n[profiles.world]\n[profiles.'$(touch made) \"x']\n[profiles.home]\n")
    path.chmod(0o644)
    command = tmp_path / "cosxfer/bin/cosxfer"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m cosxfer "$@"\n')
    command.chmod(0o755)
    return {
        "XDG_CONFIG_HOME": str(tmp_path),
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["c"], ["cat", "completion", "cp"]),
        (["cp", "--storage"], ["--storage-class"]),
        (["cp", "--storage-class", "DEEP"], ["DEEP_ARCHIVE"]),
        (["cp", "--storage-class=DEEP"], ["--storage-class=DEEP_ARCHIVE"]),
        (["cp", "--storage-class", "=", "DEEP"], ["DEEP_ARCHIVE"]),
        (["uploads", ""], ["abort", "export", "list", "resume"]),
        (["uploads", "resume", "--tok"], ["--token"]),
        (["ls", "--profile", "wo"], ["work", "world"]),
        (["ls", "-r", "--he"], ["--help"]),
        (["cp", "--part-size", ""], []),
        (["cp", "fil"], []),
        (["cp", "--", "--storage"], []),
        ([], sorted(get_command(app).commands)),  # type: ignore[attr-defined] # it is a group
    ],
)
def test_what_may_follow(home: dict[str, str], words: list[str], expected: list[str]) -> None:
    assert candidates(get_command(app), words, home) == expected


def test_bash_completes_and_gets_nothing_that_it_would_run(home: dict[str, str], tmp_path: Path) -> None:
    script = """
        source <(cosxfer completion bash)
        COMP_WORDS=(cosxfer ls --profile "$1") COMP_CWORD=3
        _cosxfer cosxfer
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    for begin, expected in (("wo", ["work", "world"]), ("", ["home", "work", "world"])):
        done = subprocess.run(
            ["bash", "-c", script, "bash", begin],
            env=environment(None, **home),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert (done.stdout.splitlines(), done.stderr) == (expected, "")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(("shell", "check"), [("zsh", "-n"), ("fish", "--no-execute"), ("bash", "-n")])
def test_the_script_is_one_of_its_shell(shell: str, check: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    done = subprocess.run([shell, check], input=SCRIPTS[shell], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_shell_is_an_error_and_a_broken_file_completes_nothing(home: dict[str, str]) -> None:
    done = run(None, "completion", "tcsh")
    assert done.returncode == 2
    assert "it can be bash, zsh, fish" in flat(done.stderr)
    (Path(home["XDG_CONFIG_HOME"]) / "cosxfer/config.toml").write_text("broken")
    done = run(None, "ls", "--profile", "", _COSXFER_COMPLETE="1", XDG_CONFIG_HOME=home["XDG_CONFIG_HOME"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running() as server:
        with client(server) as writer:
            for key in ("photos/2024/a", "photos/2025/b", "photos.txt", "plain", "$(touch made)", "p`x`", "//slash"):
                writer.put_object(server.bucket, key, b"")
        yield server


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("p", ["photos.txt", "photos/", "plain"]),
        ("photos/", ["photos/2024/", "photos/2025/"]),
        ("photos/2024/", ["photos/2024/a"]),
        ("", ["//", "photos.txt", "photos/", "plain"]),
        ("//", ["//slash"]),
        ("none", []),
    ],
)
def test_keys_of_a_bucket_are_completed(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, typed: str, expected: list[str]
) -> None:
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    command, place = get_command(app), f"cos://{server.bucket}/"
    wanted = [place + name for name in expected]
    assert candidates(command, ["ls", place + typed], os.environ) == wanted
    # As bash splits it.
    split = candidates(command, ["ls", "-l", "cos", ":", f"//{server.bucket}/{typed}"], os.environ)
    assert split == [name.removeprefix("cos:") for name in wanted]


def test_buckets_are_completed(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    found = candidates(get_command(app), ["cp", "f", "cos://exam"], os.environ)
    assert found == [f"cos://{server.bucket}/"]


@pytest.mark.parametrize("fault", ["stall", "error"])
def test_a_server_that_does_not_answer_holds_no_shell(server: RunningServer, fault: str, home: dict[str, str]) -> None:
    more = {"seconds": 600} if fault == "stall" else {"status": 403}
    server.set_faults([{"operation": "list_objects", "do": fault, **more}])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "cosxfer", "ls", f"cos://{server.bucket}/p"],
            env=environment(server, **home) | {"_COSXFER_COMPLETE": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        server.set_faults([])
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_a_key_that_a_shell_would_run_is_left_out() -> None:
    for name in (
        "$(x)",
        "`x`",
        "a b",
        "a;b",
        "a&b",
        "a|b",
        "a>b",
        "a'b",
        'a"b',
        "a\\b",
        "a*b",
        "a\nb",
        "a:b",
        "a=b",
        "#a",
    ):
        assert not completion_keys._SAFE.fullmatch(name), name
    for name in ("a/b.txt", "été/日本", "A_b-c~1@2%3+4,5"):
        assert completion_keys._SAFE.fullmatch(name), name


def test_what_takes_too_long_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a name server that does not answer."""
    over = threading.Event()

    def asked(place: str, words: object) -> list[str]:
        over.wait(10)
        return [f"{place}x"]

    monkeypatch.setattr(completion_keys, "_asked", asked)
    monkeypatch.setattr(completion_keys, "SECONDS", 0.01)
    assert completion_keys.keys("cos://b/", []) == []
    over.set()
