"""``cosxfer cp -r``: uploads the files of a directory tree. A file that fails does not stop the others."""

from __future__ import annotations

import os
import time
from typing import cast

import typer

from cosxfer.cli.connection import cleaned_up
from cosxfer.cli.cp import CopyOptions, as_json, report, warn_of_headers
from cosxfer.cli.failures import FAILED, error_object, message_of
from cosxfer.cli.hints import only_tls
from cosxfer.cli.notices import show
from cosxfer.cli.output import printable
from cosxfer.cli.progress import display
from cosxfer.engine.upload.options import DirectoryOptions, FileUpload
from cosxfer.engine.upload.upload_file import DEFAULT_SLICE_SIZE
from cosxfer.errors import ServerError, SourceError, TaskCanceledError, TransportError, UsageError
from cosxfer.figures import counted, human_bytes, human_rate
from cosxfer.foreign import SHOWN_CHARACTERS, shown_path
from cosxfer.tasks.file_result import FileResult, Outcomes, SentBefore

LABEL_SECONDS = 0.1
"""Time between two updates of the number of files."""


def run(options: CopyOptions, *, include: list[str] | None, exclude: list[str] | None) -> None:
    """Upload the content of the directory and print the result. Exits with 1 if a file failed or is not verified."""
    if options.source is None:
        raise UsageError("- is standard input; with -r give a directory (use ./- for one of that name)", name="source")
    warn_of_headers(options.headers.get("metadata"))
    tally = _Tally(options)
    with (
        options.connection.client() as client,
        cleaned_up(client, options.connection, keeps=options.keeps(client)),
        display(activities=("sending",)) as shown,
    ):
        # As `iter_upload_directory` does, but in blocks: an interrupted run may have sent a hundred thousand files.
        stream = client._running_transfers().directory_stream(
            options.bucket,
            options.key,
            options.source,
            include=include,
            exclude=exclude,
            slice_size=DEFAULT_SLICE_SIZE,
            on_progress=lambda progress: shown.update("sending", progress),
            options=cast(
                DirectoryOptions,
                {"part_size": options.part_size, "abort_on_failure": not options.keeps(client), **options.headers},
            ),
        )
        for outcomes in client._blocks(stream):
            tally.take(outcomes)
            if (now := time.monotonic()) - tally.labelled >= LABEL_SECONDS:
                tally.labelled = now
                shown.label("sending", counted(tally.done + tally.failed, "file"))
        # All files went to the same server, so one failure is enough to check.
        if tally.refused is not None and (meant := only_tls(client, options.bucket, tally.refused)):
            show(str(meant))
    seconds = time.monotonic() - tally.began
    good = not tally.failed and not tally.unverified
    report(tally.as_json(seconds) if options.as_json else None, summary=tally.summary(seconds), good=good)
    if not good:
        raise typer.Exit(FAILED)


class _Tally:
    """Counts outcomes, and keeps none of them without ``--json``: there may be millions."""

    def __init__(self, options: CopyOptions) -> None:
        self.began = time.monotonic()
        self.labelled = 0.0
        self.done = 0
        self.failed = 0
        self.unverified = 0
        self.refused: Exception | None = None
        """The first error of the server or of the way to it."""
        self._options = options
        self._bytes = 0
        self._bytes_before = 0
        self._files: list[dict[str, object]] = []

    def take(self, outcomes: Outcomes) -> None:
        """Count outcomes, and print what is wrong with them."""
        if isinstance(outcomes, SentBefore):
            self.done += len(outcomes)
            self._bytes += outcomes.size
            self._bytes_before += outcomes.size
        else:
            for outcome in outcomes:
                self._take(outcome)
        if self._options.as_json:
            self._files += map(_file_as_json, outcomes)

    def _take(self, outcome: FileResult) -> None:
        if outcome.error is not None:
            self.failed += 1
            self._tell(outcome.error, outcome.options)
        else:
            self.done += 1
            self._bytes += outcome.size
            if (result := outcome.result) is not None:
                self._bytes_before += result.resumed_bytes
                if not result.verified:
                    self.unverified += 1
                    show(f"{_shown(outcome.options)}: the server sent no digest to verify the object with")

    def _tell(self, error: Exception, file: FileUpload) -> None:
        if isinstance(error, TaskCanceledError):
            return  # an interrupt cancels all of them
        message = message_of(error)
        show(message if isinstance(error, SourceError) else f"{_shown(file)}: {message}")
        if remedy := self._options.connection.remedy(error, self._options.bucket, file["key"]):
            show(remedy)
        if self.refused is None and isinstance(error, TransportError | ServerError):
            self.refused = error

    def summary(self, seconds: float) -> str:
        """Return the outcome as text for people."""
        place = f"cos://{self._options.bucket}/{self._options.key}"
        words = [f"nothing was uploaded to {place}"]
        if self.done:
            words = [
                f"{counted(self.done, 'file')}, {human_bytes(self._bytes)}, to {place} "
                f"in {seconds:.2f} s ({human_rate(self._bytes - self._bytes_before, seconds)})"
            ]
        if self._bytes_before:
            words.append(f"{human_bytes(self._bytes_before)} of it sent before")
        if self.unverified:
            words.append(f"{self.unverified} NOT verified")
        elif self.done:
            words.append("verified" if self.done == 1 else "all verified")
        if self.failed:
            words.append(f"{counted(self.failed, 'file')} FAILED")
        return printable(", ".join(words))

    def as_json(self, seconds: float) -> dict[str, object]:
        """Return the object that ``--json`` prints, with the files ordered by path."""
        return {
            "bucket": self._options.bucket,
            "prefix": self._options.key,
            "bytes": self._bytes,
            "seconds": round(seconds, 6),
            "failed": self.failed,
            "files": sorted(self._files, key=lambda file: os.fsencode(str(file["path"]))),
        }


def _shown(file: FileUpload) -> str:
    path = str(file["path"])
    return path if len(path) <= SHOWN_CHARACTERS else shown_path(path)


def _file_as_json(outcome: FileResult) -> dict[str, object]:
    path: dict[str, object] = {"path": str(outcome.options["path"])}
    if outcome.result is not None:
        return path | as_json(outcome.result)
    assert outcome.error is not None
    return path | {"key": outcome.options["key"], "error": error_object(outcome.error)}
