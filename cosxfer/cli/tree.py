"""``cosxfer cp -r``: uploads the files of a directory tree. A file that fails does not stop the others."""

from __future__ import annotations

import time

import typer

from cosxfer.cli.connection import cleaned_up
from cosxfer.cli.cp import CopyOptions, as_json, report, warn_of_headers
from cosxfer.cli.failures import FAILED, error_object, message_of
from cosxfer.cli.hints import only_tls
from cosxfer.cli.notices import show
from cosxfer.cli.output import printable
from cosxfer.cli.progress import display
from cosxfer.engine.upload.options import FileUpload
from cosxfer.errors import ServerError, SourceError, TaskCanceledError, TransportError, UsageError
from cosxfer.figures import counted, human_bytes, human_rate
from cosxfer.foreign import SHOWN_CHARACTERS, shown_path
from cosxfer.models import UploadResult
from cosxfer.tasks.batch import FileResult

LABEL_SECONDS = 0.1
"""Time between two updates of the number of files."""


def run(options: CopyOptions, *, include: list[str] | None, exclude: list[str] | None) -> None:
    """Upload the content of the directory and print the result. Exits with 1 if a file failed or is not verified."""
    if options.source is None:
        raise UsageError("- is standard input; with -r give a directory (use ./- for one of that name)", name="source")
    warn_of_headers(options.headers.get("metadata"))
    began = time.monotonic()
    ended, labelled = 0, 0.0
    with (
        options.connection.client() as client,
        cleaned_up(client, options.connection, keeps=options.keeps(client)),
        display(activities=("sending",)) as shown,
    ):

        def finished(error: Exception | None, result: UploadResult | None, file: FileUpload) -> None:
            nonlocal ended, labelled
            ended += 1
            # A hundred thousand files of an interrupted run may end at once.
            if (now := time.monotonic()) - labelled >= LABEL_SECONDS:
                labelled = now
                shown.label("sending", counted(ended, "file"))
            if isinstance(error, TaskCanceledError):
                return  # an interrupt cancels all of them
            if error is not None:
                message = message_of(error)
                show(message if isinstance(error, SourceError) else f"{_shown(file)}: {message}")
                if remedy := options.connection.remedy(error, options.bucket, file["key"]):
                    show(remedy)
            elif result is not None and not result.verified:
                show(f"{_shown(file)}: the server sent no digest to verify the object with")

        results = client.upload_directory(
            options.bucket,
            options.key,
            options.source,
            include=include,
            exclude=exclude,
            part_size=options.part_size,
            abort_on_failure=not options.keeps(client),
            on_progress=lambda progress: shown.update("sending", progress),
            on_file_finish=finished,
            **options.headers,
        )
        # All files went to the same server, so one failure is enough to check.
        failed = next((entry.error for entry in results if isinstance(entry.error, TransportError | ServerError)), None)
        if failed is not None and (meant := only_tls(client, options.bucket, failed)):
            show(str(meant))
    seconds = time.monotonic() - began
    summary = _summary(options, results, seconds)
    good = all(entry.result is not None and entry.result.verified for entry in results)
    report(_as_json(options, results, seconds) if options.as_json else None, summary=summary, good=good)
    if not good:
        raise typer.Exit(FAILED)


def _shown(file: FileUpload) -> str:
    path = str(file["path"])
    return path if len(path) <= SHOWN_CHARACTERS else shown_path(path)


def _summary(options: CopyOptions, results: list[FileResult], seconds: float) -> str:
    done = [entry.result for entry in results if entry.result is not None]
    size = sum(result.size for result in done)
    before = sum(result.resumed_bytes for result in done)
    failed = len(results) - len(done)
    unverified = sum(not result.verified for result in done)
    words = (
        [f"nothing was uploaded to cos://{options.bucket}/{options.key}"]
        if not done
        else [
            f"{counted(len(done), 'file')}, {human_bytes(size)}, to cos://{options.bucket}/{options.key} "
            f"in {seconds:.2f} s ({human_rate(size - before, seconds)})"
        ]
    )
    if before:
        words.append(f"{human_bytes(before)} of it sent before")
    if unverified:
        words.append(f"{unverified} NOT verified")
    elif done:
        words.append("verified" if len(done) == 1 else "all verified")
    if failed:
        words.append(f"{counted(failed, 'file')} FAILED")
    return printable(", ".join(words))


def _as_json(options: CopyOptions, results: list[FileResult], seconds: float) -> dict[str, object]:
    files: list[dict[str, object]] = []
    for entry in results:
        path: dict[str, object] = {"path": str(entry.options["path"])}
        if entry.result is not None:
            files.append(path | as_json(entry.result))
        else:
            assert entry.error is not None
            files.append(path | {"key": entry.options["key"], "error": error_object(entry.error)})
    return {
        "bucket": options.bucket,
        "prefix": options.key,
        "bytes": sum(entry.result.size for entry in results if entry.result is not None),
        "seconds": round(seconds, 6),
        "failed": sum(entry.result is None for entry in results),
        "files": files,
    }
