"""``cosxfer sync``: runs a sync, shows its events, and writes its report."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import typer

from cosxfer.cli.connection import Connection, cleaned_up, keeps_parts
from cosxfer.cli.failures import FAILED, error_object, fail, message_of
from cosxfer.cli.notices import show
from cosxfer.cli.output import OutputError, printable, say, say_object
from cosxfer.cli.progress import display
from cosxfer.cli.values import parse_path
from cosxfer.errors import UsageError
from cosxfer.figures import counted, human_bytes
from cosxfer.sync.records import SyncEvent, SyncResult
from cosxfer.sync.selection import Rule, rules_of_lines


def run(
    connection: Connection,
    source: str,
    target: str,
    *,
    rules: list[tuple[str, str]],
    files_from: str | None,
    report: str | None,
    as_json: bool,
    arguments: dict[str, Any],
) -> None:
    """Run a sync and print its outcome. Exits with 1 if something failed."""
    filters = _rules(rules)
    names = None if files_from is None else [line for line in _lines(files_from, "--files-from") if line]
    with (
        connection.client() as client,
        cleaned_up(client, connection, keeps=keeps_parts(client, abort_on_interrupt=False)),
        display(activities=("sending",)) as shown,
        _written(report, as_json=as_json, dry_run=arguments["dry_run"]) as events,
    ):
        shown.label("sending", "syncing")
        result = client.sync(
            source,
            target,
            filters=filters,
            files_from=names,
            on_event=events.put,
            on_progress=lambda progress: shown.update("sending", progress),
            **arguments,
        )
        events.put(result)
    if events.unwritten:
        fail(f"the sync is done, but its report cannot be written: {events.unwritten}. {_summary(result)}", FAILED)
    if not as_json:
        say(_summary(result))
    if not result.ok:
        raise typer.Exit(FAILED)


def _rules(options: list[tuple[str, str]]) -> list[Rule] | None:
    rules: list[Rule] = []
    for name, value in options:
        if name == "--filter-from":
            rules += rules_of_lines(_lines(value, name), source=value)
        else:
            rules.append(("include" if name == "--include" else "exclude", value))
    return rules or None


def _lines(path: str, option: str) -> list[str]:
    """Read a file of lines. File names need not be UTF-8."""
    file = parse_path(path, name=option)
    try:
        text = file.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise UsageError(
            f"cannot read {path!r}: {(error.strerror or str(error)).lower()}", name=option, value=path
        ) from error
    return [line.removesuffix("\r") for line in text.split("\n")]


class _Events:
    """Events on their way to standard output and to the report. A thread writes, so that no callback waits."""

    def __init__(self, file: IO[str] | None, *, as_json: bool, dry_run: bool) -> None:
        self._file = file
        self._as_json = as_json
        self._dry_run = dry_run
        self._waiting: queue.SimpleQueue[SyncEvent | SyncResult | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="cosxfer-events", daemon=True)
        self.unwritten = ""
        """Why something could not be written."""

    def start(self) -> None:
        self._thread.start()

    def put(self, event: SyncEvent | SyncResult) -> None:
        """Write an event, later."""
        self._waiting.put(event)

    def end(self) -> None:
        """Wait until everything is written."""
        self._waiting.put(None)
        self._thread.join()

    def _write(self) -> None:
        while (event := self._waiting.get()) is not None:
            if isinstance(event, SyncEvent) and event.error is not None:
                show(_line(event))
            if self.unwritten:
                continue
            try:
                self._write_one(event)
            except (OutputError, OSError, ValueError) as error:
                self.unwritten = str(error)

    def _write_one(self, event: SyncEvent | SyncResult) -> None:
        known = _event_object(event) if isinstance(event, SyncEvent) else _result_object(event)
        if self._file is not None:
            self._file.write(json.dumps(known) + "\n")
        if self._as_json:
            if isinstance(event, SyncEvent):
                say(json.dumps(known))
            else:
                say_object(known)
        elif self._dry_run and isinstance(event, SyncEvent) and event.error is None:
            say(_line(event))


@contextmanager
def _written(report: str | None, *, as_json: bool, dry_run: bool) -> Iterator[_Events]:
    """Give the place for events. At the end everything is written."""
    file = None if report is None else _opened(parse_path(report, name="--report"))
    events = _Events(file, as_json=as_json, dry_run=dry_run)
    events.start()
    try:
        yield events
    finally:
        events.end()
        if file is not None:
            try:
                file.close()
            except OSError as error:
                events.unwritten = events.unwritten or str(error)


def _opened(path: Path) -> IO[str]:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write {str(path)!r}: {(error.strerror or str(error)).lower()}", name="--report", value=str(path)
        ) from error


def _line(event: SyncEvent) -> str:
    """Return an event for people."""
    what = event.key or "all"
    if event.error is not None:
        return printable(f"{event.action} {what}: {message_of(event.error)}")
    more = f" ({event.reason})" if event.reason else ""
    return printable(f"{event.action} {what}, {human_bytes(event.size)}{more}")


def _event_object(event: SyncEvent) -> dict[str, object]:
    known: dict[str, object] = {
        "event": event.action,
        # Names that are not UTF-8 have no place in JSON.
        "key": event.key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
        "bytes": event.size,
        "dry_run": event.dry_run,
    }
    if event.reason:
        known["reason"] = event.reason
    if event.error is not None:
        known["error"] = error_object(event.error)
    return known


def _result_object(result: SyncResult) -> dict[str, object]:
    return {
        "event": "summary",
        "transferred": result.transferred,
        "bytes": result.transferred_bytes,
        "unchanged": result.unchanged,
        "skipped": result.skipped,
        "unknown": result.unknown,
        "deleted": result.deleted,
        "kept": result.kept,
        "failed": result.failed,
        "seconds": round(result.seconds, 6),
        "dry_run": result.dry_run,
    }


def _summary(result: SyncResult) -> str:
    """Return the outcome for people."""
    words = [f"{counted(result.transferred, 'file')} ({human_bytes(result.transferred_bytes)}) transferred"]
    words.append(f"{result.unchanged:,} unchanged")
    for count, what in (
        (result.deleted, "deleted"),
        (result.skipped, "skipped"),
        (result.unknown, "unknown and left alone"),
        (result.kept, "kept because the source has them"),
        (result.failed, "FAILED"),
    ):
        if count:
            words.append(f"{count:,} {what}")
    return ("dry run: " if result.dry_run else "") + f"{', '.join(words)}, in {result.seconds:.2f} s"
