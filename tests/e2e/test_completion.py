"""Completion in a shell: bash with its own script, zsh and fish if they are there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from cosxfer.cli.app import app
from cosxfer.cli.completion import candidates
from cosxfer.cli.completion_scripts import SCRIPTS
from tests.e2e.command import environment, flat, run


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


def test_bash_completes_and_evaluates_nothing(home: dict[str, str], tmp_path: Path) -> None:
    script = """
        source <(cosxfer completion bash)
        COMP_WORDS=(cosxfer ls --profile "$1") COMP_CWORD=3
        _cosxfer cosxfer
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    for begin, expected in (("wo", ["work", "world"]), ("", ['$(touch made) "x', "home", "work", "world"])):
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
