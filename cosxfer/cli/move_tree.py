"""``cosxfer mv -r``: moves the files of a directory tree to COS. A file that fails does not stop the others.

The walk sees each file before its upload begins. It is deleted if it is the same when its object is proven.
"""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import typer

from cosxfer.cli.connection import cleaned_up
from cosxfer.cli.cp import CopyOptions, as_json, report, warn_of_headers
from cosxfer.cli.failures import FAILED, error_object, message_of
from cosxfer.cli.hints import only_tls
from cosxfer.cli.notices import show
from cosxfer.cli.output import printable
from cosxfer.cli.progress import Display, display
from cosxfer.client import Client
from cosxfer.cos.identifiers import check_key
from cosxfer.engine.upload.options import FileUpload
from cosxfer.errors import CosxferError, ServerError, SourceError, TransportError, UsageError
from cosxfer.figures import counted, human_bytes, human_rate
from cosxfer.foreign import shown_path
from cosxfer.models import UploadResult
from cosxfer.paths import stat_path
from cosxfer.sorted_tree import Entry, sorted_blocks
from cosxfer.sync.progress import TotalProgress
from cosxfer.sync.removal import remove_unchanged
from cosxfer.sync.selection import Selection, selection_of
from cosxfer.tasks.batch import UploadBatch
from cosxfer.tasks.directory import joined
from cosxfer.tasks.file_result import FileResult

BATCHES_AT_ONCE = 2
"""While one ends, the next one keeps the slots busy."""


def run(options: CopyOptions, *, include: list[str] | None, exclude: list[str] | None) -> None:
    """Move the content of the directory and print the result. Exits with 1 if a file was not moved."""
    if options.source is None:
        raise UsageError("- is standard input, which cannot be moved; give a directory", name="source")
    warn_of_headers(options.headers.get("metadata"))
    selection = selection_of(
        [("exclude", pattern) for pattern in exclude or []] + [("include", pattern) for pattern in include or []]
    )
    began = time.monotonic()
    with (
        options.connection.client() as client,
        cleaned_up(client, options.connection, keeps=options.keeps(client)),
        display(activities=("sending",)) as shown,
    ):
        moves = _Moves(client, options, selection, shown)
        moves.run()
        if moves.first_failure is not None and (meant := only_tls(client, options.bucket, moves.first_failure)):
            show(str(meant))
    if include and not moves.found:
        listed = ", ".join(map(repr, include))
        raise SourceError(
            f"no file in {shown_path(str(options.source))} matches {listed} (include)", path=str(options.source)
        )
    seconds = time.monotonic() - began
    good = not moves.failed
    figures = moves.figures(seconds) if options.as_json else None
    report(figures, summary=moves.summary(seconds), good=good)
    if not good:
        raise typer.Exit(FAILED)


class _Moves:
    """Uploads of the files in the order of their names, in batches, and their deletion."""

    def __init__(self, client: Client, options: CopyOptions, selection: Selection | None, shown: Display) -> None:
        self._client = client
        self._options = options
        self._selection = selection
        self._shown = shown
        self._root = os.path.abspath(str(options.source))  # noqa: PTH100 (it is text)
        self._progress = TotalProgress(lambda progress: shown.update("sending", progress))
        self._running: deque[tuple[list[Entry], UploadBatch]] = deque()
        self._folders: set[bytes] = set()
        self._files: list[dict[str, object]] = []
        """For --json."""
        self.found = 0
        self.moved = 0
        self.bytes = 0
        self.failed = 0
        self.first_failure: Exception | None = None
        """Of the network or the server."""

    def run(self) -> None:
        """Move all files, then remove the folders that became empty."""
        for block in sorted_blocks(self._root, self._selection):
            if entries := [entry for entry in block if self._can_move(entry)]:
                self._begin(entries)
            if len(self._running) >= BATCHES_AT_ONCE:
                self._finish()
        while self._running:
            self._finish()
        self._progress.finish()
        self._remove_folders()
        for text in [] if self._selection is None else self._selection.unused:
            show(f"the pattern {text!r} decided about nothing in {shown_path(self._root)}")

    def _can_move(self, entry: Entry) -> bool:
        if entry[1] < 0:
            self._has_failed(entry[0], cast(CosxferError, entry[3].error))
            return False
        self.found += 1
        path = self._path(entry[0])
        try:
            check_key(self._key(entry[0]))
        except CosxferError as error:
            self._has_failed(entry[0], error)
            return False
        with suppress(OSError, ValueError):  # the upload gives the reason
            if stat.S_ISLNK(stat_path(path, follow_symlinks=False).st_mode):
                why = f"{path!r} is a link, which mv does not move; use cp, or --exclude it"
                self._has_failed(entry[0], SourceError(why, path=path))
                return False
        return True

    def _path(self, name: bytes) -> str:
        return os.path.join(self._root, os.fsdecode(name))  # noqa: PTH118 (it is text)

    def _key(self, name: bytes) -> str:
        return joined(self._options.key, os.fsdecode(name))

    def _begin(self, entries: list[Entry]) -> None:
        options = self._options
        files: list[Any] = [
            {
                **options.headers,
                "bucket": options.bucket,
                "key": self._key(entry[0]),
                "path": self._path(entry[0]),
                "part_size": options.part_size,
                "abort_on_failure": not options.keeps(self._client),
            }
            for entry in entries
        ]
        batch = self._client.submit_upload_files(
            cast(list[FileUpload], files), on_progress=self._progress.part(sum(entry[1] for entry in entries))
        )
        self._running.append((entries, batch))

    def _finish(self) -> None:
        entries, batch = self._running.popleft()
        for entry, outcome in zip(entries, batch.result(), strict=True):
            self._ended(entry, outcome)
        self._shown.label("sending", counted(self.moved + self.failed, "file"))

    def _ended(self, entry: Entry, outcome: FileResult) -> None:
        result, error = outcome.result, outcome.error
        if result is None:
            assert error is not None
            if self.first_failure is None and isinstance(error, TransportError | ServerError):
                self.first_failure = error
            self._has_failed(entry[0], error)
            return
        try:
            if not result.verified:
                raise CosxferError("the server sent no digest to verify the object with; the file was not deleted")
            remove_unchanged(self._root, entry)
        except CosxferError as why:
            self._has_failed(entry[0], why, result)
            return
        self.moved += 1
        self.bytes += result.size
        self._folders.add(entry[0].rpartition(b"/")[0])
        if self._options.as_json:
            self._files.append({"path": self._path(entry[0]), **as_json(result), "source_deleted": True})

    def _has_failed(self, name: bytes, error: Exception, result: UploadResult | None = None) -> None:
        self.failed += 1
        path = self._path(name)
        message = message_of(error)
        show(message if isinstance(error, SourceError) else f"{shown_path(path)}: {message}")
        if remedy := self._options.connection.remedy(error, self._options.bucket, self._key(name)):
            show(remedy)
        if self._options.as_json:
            known: dict[str, object] = {} if result is None else {**as_json(result), "source_deleted": False}
            self._files.append({"path": printable(path), **known, "error": error_object(error)})

    def _remove_folders(self) -> None:
        """Remove the folders below the source from which files were moved, if they are empty now."""
        folders = {name for folder in self._folders for name in _with_parents(folder)}
        for folder in sorted(folders, key=lambda name: name.count(b"/"), reverse=True):
            with suppress(OSError):  # it is not empty
                Path(self._path(folder)).rmdir()

    def summary(self, seconds: float) -> str:
        """Return the outcome for people."""
        words = [
            f"{counted(self.moved, 'file')}, {human_bytes(self.bytes)}, moved to "
            f"cos://{self._options.bucket}/{self._options.key} in {seconds:.2f} s ({human_rate(self.bytes, seconds)})"
        ]
        if self.moved:
            words.append("verified" if self.moved == 1 else "all verified")
        if self.failed:
            words.append(f"{counted(self.failed, 'file')} FAILED")
        return printable(", ".join(words))

    def figures(self, seconds: float) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "bucket": self._options.bucket,
            "prefix": self._options.key,
            "bytes": self.bytes,
            "seconds": round(seconds, 6),
            "failed": self.failed,
            "files": self._files,
        }


def _with_parents(folder: bytes) -> list[bytes]:
    parts = folder.split(b"/") if folder else []
    return [b"/".join(parts[:length]) for length in range(1, len(parts) + 1)]
