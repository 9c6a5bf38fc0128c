"""User code against our types: correct code passes mypy --strict, and lines that are marked as wrong fail."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing
from functools import cache
from pathlib import Path

import pytest

import cosxfer

CODE = Path(__file__).parent / "typing"


@pytest.mark.deep
def test_user_code_passes_except_lines_with_an_ignore() -> None:
    files = sorted(str(path) for path in CODE.glob("*.py"))
    assert len(files) >= 2
    # --strict warns of unused ignores, so every line with an ignore must be wrong.
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CODE.parent.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@cache
def public_callables() -> dict[str, object]:
    found: list[tuple[str, object]] = []
    for name in cosxfer.__all__:
        value = getattr(cosxfer, name)
        if inspect.isclass(value):
            found.append((name, value))
            members = [member for member in dir(value) if not member.startswith("_") or member == "__init__"]
            found += [(f"{name}.{member}", getattr(value, member)) for member in members]
    return {name: value for name, value in found if inspect.isclass(value) or inspect.isroutine(value)}


@pytest.mark.parametrize("name", public_callables())
def test_get_type_hints_works_for_every_public_callable(name: str) -> None:
    # Raises NameError if an annotation uses a name that is imported only for type checkers.
    typing.get_type_hints(public_callables()[name])
