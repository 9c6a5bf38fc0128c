"""docs/api.md: its examples run, and its tables are complete."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.server import RunningServer, running
from tests.functional.page import checked_in
from tests.unit.test_arguments import parameters

API = Path(__file__).parents[2] / "docs" / "api.md"
TEXT = API.read_text(encoding="utf-8")


def section(operation: str) -> str:
    """The section of an operation."""
    found = re.search(rf"^##+ {operation}$(.*?)(?=^##+ |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/api.md has no heading for {operation}"
    return found.group(1)


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running() as server:
        yield server


def test_the_examples_run(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"endpoint": server.endpoint, "credentials": server.credentials, "bucket": server.bucket}
    ran = 0
    for found in re.finditer(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        # Leading empty lines, so that line numbers in a traceback are those of the page.
        first_line = TEXT.count("\n", 0, found.start(1))
        exec(compile("\n" * first_line + found.group(1), str(API), "exec"), names)
        ran += 1
    assert ran == TEXT.count("```python") > len(checked_in())


def examples(text: str) -> str:
    """The code of a section that is run."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def rows(operation: str) -> list[tuple[str, str]]:
    """The table of an operation: each parameter's name on the SDK's page, and its name in cosxfer."""
    found = re.findall(r"^\| `([^`]+)` \| (.+?) \|", section(operation), re.MULTILINE)
    return [(name, form.strip()) for name, form in found]


def call_of(operation: str) -> str:
    """putObject: put_object."""
    return re.sub(r"(?=[A-Z])", "_", operation).lower()


@pytest.mark.parametrize("operation", checked_in())
def test_the_table_of_an_operation_has_every_parameter_of_the_page(operation: str) -> None:
    assert [name for name, _ in rows(operation)] == checked_in()[operation]


@pytest.mark.parametrize("operation", [*checked_in(), "headObject", "getObject", "downloadFile"])
def test_every_parameter_of_a_call_is_in_its_section_or_in_the_list_of_additions(operation: str) -> None:
    told = set(re.findall(r"`\"?(\w+)\"?=?`|\b(\w+)=", section(operation) + section("What is not on the page")))
    call = getattr(cosxfer.Client, call_of(operation))
    keywords = {name for name in parameters(call_of(operation)) if not positional(call, name)}
    assert keywords - {name for pair in told for name in pair} == set()


@pytest.mark.parametrize("operation", [*checked_in(), "headObject", "getObject", "downloadFile"])
def test_every_operation_has_an_example_that_runs(operation: str) -> None:
    assert f"client.{call_of(operation)}(" in examples(section(operation))


@pytest.mark.parametrize(
    "code",
    ["client.presign_post(", "client.post_object(", "client.get_task_list(", 'client.on("list-update"', "client.off("],
)
def test_examples_of_calls_without_a_table_run(code: str) -> None:
    assert code in examples(TEXT)


RECORDS = {
    "result": None,
    "progress": cosxfer.Progress,
    "part": cosxfer.Part,
    "upload": cosxfer.Upload,
    "error": cosxfer.ServerError,
}
"""The objects that names in the tables stand for; ``result`` is the operation's return value."""


@pytest.mark.parametrize("operation", checked_in())
def test_the_names_in_the_table_of_an_operation_exist(operation: str) -> None:
    call = getattr(cosxfer.Client, call_of(operation))
    returned = inspect.signature(call).return_annotation
    returned = "FileResult" if returned == "list[FileResult]" else returned
    for name, form in rows(operation):
        attribute = re.fullmatch(r"`(\w+)\.([\w.]+)`", form)
        if re.fullmatch(r"`\w+=?`", form):
            assert form.strip("`=") in parameters(call_of(operation)), (name, form)
            assert form.endswith("=`") == (positional(call, form.strip("`=")) is False), (name, form)
        elif form.endswith("of the mapping"):
            assert form.split('"')[1] in cosxfer.FileUpload.__annotations__, (name, form)
        elif attribute is not None:
            record: Any = RECORDS[attribute[1]] or getattr(cosxfer, returned)
            *way, last = attribute[2].split(".")
            if way:
                assert way[0] in fields(record), (name, form)
                record = cosxfer.Identity
            assert last in fields(record) or record is cosxfer.ServerError, (name, form)
            assert record is not cosxfer.ServerError or last in ("status", "headers"), (name, form)
        else:
            assert form in WORDS, (name, form)


WORDS = {
    "an exception",
    "an error of a file",
    "the result",
    "the list",
    "its argument",
    "the first",
    "the second",
    "the third",
    "an entry of it",
}


def fields(record: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(record)} if dataclasses.is_dataclass(record) else set()


def positional(call: Any, name: str) -> bool:
    parameter = inspect.signature(call).parameters.get(name)
    return parameter is not None and parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


def test_every_error_class_is_documented() -> None:
    tree = re.search(r"^```text\n(.*?)^```$", section("Errors"), re.MULTILINE | re.DOTALL)
    assert tree is not None
    assert textwrap.indent(tree[1], "    ") in (cosxfer.errors.__doc__ or "")
    kinds = [kind for name in cosxfer.__all__ if isinstance(kind := getattr(cosxfer, name), type)]
    for kind in kinds:
        if issubclass(kind, cosxfer.CosxferError):
            assert kind.__name__ in tree[1]


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("UsageError", {}),
        ("SourceError", {"path": ""}),
        ("SourceChangedError", {"path": "", "changed": "size"}),
        ("TargetError", {}),
        ("TransportError", {}),
        ("ServerError", {"status": 500}),
        ("AppendPositionError", {"status": 409, "position": 5}),
        ("ThrottledError", {"status": 503}),
        ("IntegrityError", {"expected": 1, "actual": 2}),
        ("UploadError", {}),
        ("TaskCanceledError", {"task_id": ""}),
        ("TaskTimeoutError", {"unfinished": {}}),
    ],
)
def test_every_attribute_of_an_error_is_documented(kind: str, given: dict[str, Any]) -> None:
    error = getattr(cosxfer, kind)("why", **given)
    told = {word for row in re.findall(rf"^\| .*`{kind}`.*$", section("Errors"), re.MULTILINE) for word in WORD(row)}
    if isinstance(error, cosxfer.ServerError):
        told |= set(WORD(section("Errors")))
    assert vars(error).keys() - {"retryable"} <= told


WORD = re.compile(r"`(\w+)`").findall
