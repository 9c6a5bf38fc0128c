"""The porting pages: every example has a version for the SDK and one for cosxfer, and runs."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.sdk_names import CALLS
from cosxfer.server import RunningServer, running
from tests.functional.page import checked_in
from tests.functional.test_docs import call_of

DOCS = Path(__file__).parents[2] / "docs"
NODE, PYTHON = DOCS / "porting-nodejs.md", DOCS / "porting-python.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

EXAMPLES = {
    **dict.fromkeys(checked_in(), 1),
    "putObject": 7,
    "appendObject": 2,
    "headObject": 2,
    "getTaskList": 1,
    "on": 1,
}
"""The number of examples of each operation on the SDK's page."""


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running() as server:
        yield server


@pytest.fixture
def quiet() -> Iterator[None]:
    """Silence the SDK, which logs each error that an example provokes."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def run(page: Path, server: RunningServer) -> int:
    """Run the page's examples in Python; return their number."""
    names: dict[str, Any] = {
        "endpoint": server.endpoint,
        "credentials": server.credentials,
        "bucket": server.bucket,
        "domain": server.url.partition("://")[2],
    }
    text, ran = page.read_text(encoding="utf-8"), 0
    for found in BLOCK.finditer(text):
        if found[1] == "python":
            # Leading empty lines, so that line numbers in a traceback are those of the page.
            lines = "\n" * text.count("\n", 0, found.start(2))
            exec(compile(lines + found[2], str(page), "exec"), names)
            ran += 1
    return ran


def test_the_examples_of_the_node_page_run(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(NODE, server) > len(checked_in())


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the SDK's responses keep their connections open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("quiet")
def test_both_sides_of_the_examples_of_the_python_page_run(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("qcloud_cos")
    monkeypatch.chdir(tmp_path)
    assert run(PYTHON, server) == len(blocks(PYTHON)) > 10


def test_each_example_of_the_node_page_has_both_versions() -> None:
    for (before, _), (after, code) in pairs(blocks(NODE)):
        assert (before, after) == ("js", "python"), code


def test_every_example_of_the_sdk_s_page_is_on_the_node_page() -> None:
    js = Counter(re.findall(r"\bcos\.(\w+)\(", "".join(code for kind, code in blocks(NODE) if kind == "js")))
    python = set(re.findall(r"\bclient\.(\w+)\(", "".join(code for kind, code in blocks(NODE) if kind == "python")))
    assert {name: count for name, count in EXAMPLES.items() if js[name] < count} == {}
    assert {call_of(name) for name in EXAMPLES} - python == set()


def test_each_example_of_the_python_page_has_both_versions() -> None:
    for (_, before), (_, after) in pairs(blocks(PYTHON)):
        assert before.startswith("# cos-python-sdk-v5\n")
        assert after.startswith("# cosxfer\n")


def test_the_python_page_lists_the_calls_that_have_an_error_message() -> None:
    text = PYTHON.read_text(encoding="utf-8")
    for theirs in ("create_multipart_upload", "upload_part", "list_parts", "list_multipart_uploads"):
        ours = CALLS[theirs.replace("_", "")]
        assert f"`{theirs}`" in text
        assert f"`{ours}`" in text
        assert hasattr(cosxfer.Client, ours)


def pairs(found: list[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """The code blocks in pairs."""
    assert len(found) % 2 == 0
    return zip(found[::2], found[1::2], strict=True)
