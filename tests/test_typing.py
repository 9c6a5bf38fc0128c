"""User code against our types: what is right passes mypy --strict, and what is marked as wrong does not."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import cosxfer

CODE = Path(__file__).parent / "typing"


def test_user_code_is_checked_as_it_says() -> None:
    files = sorted(str(path) for path in CODE.glob("*.py"))
    assert len(files) >= 2
    # --strict warns of an ignore that nothing needs: so every line that says it is wrong has to be.
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CODE.parent.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def public_callables() -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name in cosxfer.__all__:
        value = getattr(cosxfer, name)
        if inspect.isclass(value):
            found.append((name, value))
            members = [member for member in dir(value) if not member.startswith("_") or member == "__init__"]
            found += [(f"{name}.{member}", getattr(value, member)) for member in members]
    return [(name, value) for name, value in found if inspect.isclass(value) or inspect.isroutine(value)]


@pytest.mark.parametrize("name", [name for name, _ in public_callables()])
def test_the_type_hints_of_every_public_callable_can_be_read(name: str) -> None:
    [value] = [value for known, value in public_callables() if known == name]
    typing.get_type_hints(value)  # raises NameError if an annotation names what is imported for type checkers alone
