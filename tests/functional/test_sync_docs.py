"""docs/sync.md: its example runs, and its tables name every option."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import cosxfer
from cosxfer.cli.sync_app import sync
from cosxfer.server import RunningServer

PAGE = Path(__file__).parents[2] / "docs" / "sync.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_example_runs(server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"endpoint": server.endpoint, "credentials": server.credentials, "bucket": server.bucket}
    examples = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert len(examples) == 1
    exec(compile(examples[0], str(PAGE), "exec"), names)


OPTIONS = ("delete", "max_delete", "backup_prefix", "size_only", "checksum", "update", "no_overwrite", "preserve_mtime")


@pytest.mark.parametrize("option", [*OPTIONS, "filters", "files_from", "on_event"])
def test_an_option_is_explained(option: str) -> None:
    assert option in inspect.signature(cosxfer.Client.sync).parameters
    assert f"`{option}`" in TEXT


def test_the_options_of_the_commands_in_the_page_exist() -> None:
    known = {f"--{name.replace('_', '-')}" for name in inspect.signature(sync).parameters}
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", TEXT))
    assert used
    assert used <= known
