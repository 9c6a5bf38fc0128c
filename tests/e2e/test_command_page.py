"""docs/command.md: the examples of the section "Commands" run, and the table names every command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cosxfer.server import running
from tests.e2e.command import environment, run

PAGE = (Path(__file__).parents[2] / "docs/command.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("\n## Commands\n")[2].partition("\n## Behaviour\n")[0]


@pytest.mark.deep
def test_the_examples_run(tmp_path: Path) -> None:
    examples = re.findall(r"^```sh\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
    assert len(examples) == SECTION.count("```sh") > 1
    command = tmp_path / "bin/cosxfer"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m cosxfer "$@"\n')
    command.chmod(0o755)
    (tmp_path / "work").mkdir()
    with running() as server:
        more = {
            "PATH": f"{command.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "HOME": str(tmp_path),
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(examples)],
            env=environment(server, **more),
            cwd=tmp_path / "work",
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_every_command_is_in_the_table() -> None:
    told = set(re.findall(r"`(\w+)`", SECTION.partition("An address is")[0]))
    commands = set(re.findall(r"^│ (\w+) ", run(None, "--help").stdout, re.MULTILINE))
    assert commands - told == set()
    assert {"cp", "ls", "uploads"} <= commands
