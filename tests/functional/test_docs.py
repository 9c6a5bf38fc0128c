"""docs/api.md: its examples run, and its tables are complete."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from tests.functional.page import checked_in

API = Path(__file__).parents[2] / "docs" / "api.md"
TEXT = API.read_text(encoding="utf-8")


def section(operation: str) -> str:
    """The part of the page under the heading of an operation."""
    found = re.search(rf"^##+ {operation}$(.*?)(?=^##+ |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/api.md has no heading for {operation}"
    return found.group(1)


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running() as server:
        yield server


def test_the_examples_do_what_they_say(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(os.urandom(50_000))
    Path("film.mp4").write_bytes(os.urandom(2 * MIB + 1))
    names = {"endpoint": server.endpoint, "credentials": server.credentials, "bucket": server.bucket}
    ran = 0
    for found in re.finditer(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        # Empty lines in front, so that a traceback has the line of the page.
        first_line = TEXT.count("\n", 0, found.start(1))
        exec(compile("\n" * first_line + found.group(1), str(API), "exec"), names)
        ran += 1
    assert ran > len(checked_in())


@pytest.mark.parametrize("operation", checked_in())
def test_the_table_of_an_operation_has_every_parameter_of_the_page(operation: str) -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", section(operation), re.MULTILINE)
    assert rows == checked_in()[operation]
    assert "```python" in section(operation)
