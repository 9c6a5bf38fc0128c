"""User code against our types: what is right passes mypy --strict, and what is marked as wrong does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = Path(__file__).parent / "typing"


def test_user_code_is_checked_as_it_says() -> None:
    files = sorted(str(path) for path in CODE.glob("*.py"))
    assert len(files) >= 2
    # --strict warns of an ignore that nothing needs: so every line that says it is wrong has to be.
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CODE.parent.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
