"""``cosxfer cp`` from COS: into a file, a directory or standard output."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import cast

import typer

from cosxfer.address import shown_key
from cosxfer.arguments import NumberOrAuto
from cosxfer.cli.connection import Connection
from cosxfer.cli.failures import FAILED, UNREPORTED, error_object, fail, message_of
from cosxfer.cli.hints import only_tls, with_hint
from cosxfer.cli.interrupts import TerminatedError, ended_by_signal
from cosxfer.cli.moved import remove_folder_keys, remove_object, remove_objects
from cosxfer.cli.notices import show
from cosxfer.cli.output import OutputError, printable, say, say_object
from cosxfer.cli.progress import display
from cosxfer.cli.receive import write_object
from cosxfer.cli.values import STREAM, is_directory
from cosxfer.client import Client
from cosxfer.cos.key_paths import KeyPaths
from cosxfer.cos.requests import CustomerKey, ObjectHeaders
from cosxfer.engine.download.options import FileDownload
from cosxfer.errors import CosxferError, ServerError, TaskCanceledError, TransportError, UsageError
from cosxfer.figures import counted, human_bytes, human_rate
from cosxfer.foreign import shorten
from cosxfer.journal import journal_of
from cosxfer.models import DownloadResult, Progress
from cosxfer.patterns import parse_patterns
from cosxfer.records import dataclass
from cosxfer.tasks.downloads import DownloadedFile, KeySelection

_KEPT = "files that are complete stay, and the same command goes on with the others"
_REMOVED = "files that are complete stay; what was received of others is removed"

LABEL_SECONDS = 0.1
"""Time between two updates of the number of files."""


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """The arguments of ``cp`` whose source is in COS. None selects the client's default."""

    bucket: str
    key: str
    target: str
    connection: Connection
    part_size: NumberOrAuto
    headers: ObjectHeaders = field(repr=False)
    """Of a new object. For a download: the customer's key."""
    metadata_directive: str | None = None
    """Of a copy."""
    source_region: str | None = None
    as_json: bool
    sparse: bool = False
    """Leave blocks of zeros of the file as holes."""
    move: bool = False
    """Delete the source when the destination is proven."""

    @property
    def customer_key(self) -> CustomerKey:
        """The key that reads the objects."""
        return cast(CustomerKey, self.headers)


def run(options: FetchOptions) -> None:
    """Download one object to where ``target`` says, and print the result. Exits with 1 if it is not verified."""
    if options.target == STREAM:
        if options.sparse:
            raise UsageError("--sparse is of downloads into files; leave it out", name="--sparse")
        _write(options)
    else:
        _download(options)


def _write(options: FetchOptions) -> None:
    """Write the object to standard output. Figures would be among its bytes, so there are none."""
    if options.as_json:
        raise UsageError("--json writes to standard output, which has the object's bytes already", name="--json")
    with options.connection.client() as client, with_hint(client, options.bucket):
        with display(activities=("receiving",)) as shown:
            began = time.monotonic()

            def received(size: int, total: int) -> None:
                speed = size / max(1e-9, time.monotonic() - began)
                percent = size / total if total else 1.0
                shown.update("receiving", Progress(loaded=size, total=total, speed=speed, percent=percent))

            done = write_object(
                client, options.bucket, options.key, customer_key=options.customer_key, on_bytes=received
            )
        if not done.verified:
            show(f"cos://{options.bucket}/{shown_key(options.key)} is not verified: the server has no CRC64 of it")
            raise typer.Exit(FAILED)


@contextmanager
def _keeping(client: Client) -> Iterator[None]:
    """Run downloads of ``client``. After an interrupt, print which temporary files are kept for the next run."""
    keeps = journal_of(client.config) is not None
    ended_by_signal(_KEPT if keeps else _REMOVED)
    try:
        yield
    except (KeyboardInterrupt, TerminatedError):
        for task in client.get_task_list():
            if task.upload_id:
                show(f"{task.path}: what was received is kept in {task.upload_id}")
        raise


def _download(options: FetchOptions) -> None:
    path = _path_of(options)
    with (
        options.connection.client() as client,
        _keeping(client),
        with_hint(client, options.bucket),
        display(activities=("receiving",)) as shown,
    ):
        result = client.download_file(
            options.bucket,
            options.key,
            path,
            part_size=options.part_size,
            sparse=options.sparse,
            on_progress=lambda progress: shown.update("receiving", progress),
            **options.customer_key,
        )
        if options.move and result.verified:
            remove_object(client, result, options.customer_key)
    figures = _figures(result) | ({"source_deleted": result.verified} if options.move else {})
    report(figures if options.as_json else None, summary=_summary(result), good=result.verified)


def _path_of(options: FetchOptions) -> str:
    """Return the file to write: the target, or if that is a directory the last part of the key in it."""
    target = options.target
    if not target:
        raise UsageError("the destination is empty; name a file or a directory", name="destination", value=target)
    if not is_directory(Path(target)):
        if target.endswith(("/", "/.")):
            raise UsageError(
                f"the destination {shorten(target)} is no directory; create it, or leave out the / for a file",
                name="destination",
                value=target,
            )
        return target
    name = options.key.rsplit("/", 1)[-1]
    try:
        KeyPaths(folds_case=False, windows=os.name == "nt").names(name, is_folder=False)
    except ValueError as error:
        raise UsageError(
            f"the key {shown_key(options.key)} gives no name for a file: {error}. Give the file in the destination",
            name="destination",
        ) from error
    return str(Path(target) / name)


def run_tree(options: FetchOptions, *, include: list[str] | None, exclude: list[str] | None) -> None:
    """Download the objects of a folder and print the result. Exits with 1 if one failed or is not verified."""
    if options.target == STREAM:
        raise UsageError("- is standard output; with -r give a directory (use ./- for one of that name)", name="source")
    if not options.target:
        raise UsageError("the destination is empty; name a directory", name="destination", value=options.target)
    began = time.monotonic()
    ended, labelled = 0, 0.0
    with (
        options.connection.client() as client,
        _keeping(client),
        with_hint(client, options.bucket),
        display(activities=("receiving",)) as shown,
    ):

        def finished(error: Exception | None, result: DownloadResult | None, file: FileDownload) -> None:
            nonlocal ended, labelled
            ended += 1
            if (now := time.monotonic()) - labelled >= LABEL_SECONDS:
                labelled = now
                shown.label("receiving", counted(ended, "file"))
            if isinstance(error, TaskCanceledError):
                return  # an interrupt cancels all of them
            if error is not None:
                show(f"{shown_key(file['key'])}: {message_of(error)}")
            elif result is not None and not result.verified:
                show(f"{shown_key(file['key'])}: the server sent no digest to verify the file with")

        results = client.download_directory(
            options.bucket,
            options.key,
            options.target,
            include=include,
            exclude=exclude,
            part_size=options.part_size,
            sparse=options.sparse,
            on_progress=lambda progress: shown.update("receiving", progress),
            on_file_finish=finished,
            **options.customer_key,
        )
        failed = next((entry.error for entry in results if isinstance(entry.error, TransportError | ServerError)), None)
        if failed is not None and (meant := only_tls(client, options.bucket, failed)):
            show(str(meant))
        kept: dict[str, CosxferError] = {}
        if options.move:
            ended_by_signal("the files are complete; some objects may have been deleted")
            done = [entry.result for entry in results if entry.result is not None and entry.result.verified]
            kept = remove_objects(client, done, options.customer_key)
            chosen = KeySelection(parse_patterns("include", include), parse_patterns("exclude", exclude))
            kept |= remove_folder_keys(client, options.bucket, options.key, options.target, chosen)
    seconds = time.monotonic() - began
    good = not kept and all(entry.result is not None and entry.result.verified for entry in results)
    summary = _tree_summary(options, results, seconds, kept)
    figures = _tree_figures(options, results, seconds, kept) if options.as_json else None
    report(figures, summary=summary, good=good)


def report(figures: dict[str, object] | None, *, summary: str, good: bool) -> None:
    """Print the result. Exits with 1 unless it is ``good``, with 3 if it is but standard output cannot be written."""
    try:
        if figures is None:
            say(summary)
        else:
            say_object(figures)
    except OutputError as error:
        done = "the copy is done, but " if good else ""
        fail(f"{done}standard output cannot be written: {error}. {summary}", UNREPORTED if good else FAILED)
    if not good:
        raise typer.Exit(FAILED)


def _figures(result: DownloadResult) -> dict[str, object]:
    return {
        "bucket": result.bucket,
        "key": result.key,
        "path": result.path,
        "bytes": result.size,
        "seconds": round(result.seconds, 6),
        "bytes_per_second": round(result.size / result.seconds, 1) if result.seconds else 0.0,
        "parts": result.parts,
        "part_size_bytes": result.part_size_bytes,
        "retries": result.retries,
        "resumed_bytes": result.resumed_bytes,
        "etag": result.etag,
        # Many JSON parsers round a number of 64 bits.
        "crc64": None if result.crc64 is None else str(result.crc64),
        "verified": result.verified,
        "verified_by": result.verified_by,
        "request_id": result.request_id,
    }


def _summary(result: DownloadResult) -> str:
    proof = {"crc64": f"verified by CRC64 {result.crc64}", "etag": "verified by the MD5"}
    again = f", {result.retries} sent again" if result.retries else ""
    return printable(
        f"{human_bytes(result.size)} to {result.path} in {result.seconds:.2f} s "
        f"({human_rate(result.size, result.seconds)}), {counted(result.parts, 'request')}{again}, "
        f"{proof.get(result.verified_by, 'NOT verified')}"
    )


def _tree_summary(
    options: FetchOptions, results: list[DownloadedFile], seconds: float, kept: Mapping[str, Exception]
) -> str:
    done = [entry.result for entry in results if entry.result is not None]
    size = sum(result.size for result in done)
    unverified = sum(not result.verified for result in done)
    failed = len(results) - len(done)
    words = [f"{counted(len(done), 'file')}, {human_bytes(size)}, to {options.target} in {seconds:.2f} s"]
    words[0] += f" ({human_rate(size, seconds)})"
    if unverified:
        words.append(f"{unverified} NOT verified")
    elif done:
        words.append("verified" if len(done) == 1 else "all verified")
    if failed:
        words.append(f"{counted(failed, 'object')} FAILED")
    if kept:
        words.append(f"{counted(len(kept), 'object')} NOT deleted")
    return printable(", ".join(words))


def _tree_figures(
    options: FetchOptions, results: list[DownloadedFile], seconds: float, kept: Mapping[str, Exception]
) -> dict[str, object]:
    files: list[dict[str, object]] = []
    for entry in results:
        if entry.result is not None:
            figures = _figures(entry.result)
            if options.move:
                figures["source_deleted"] = entry.result.verified and entry.result.key not in kept
            files.append(figures)
        else:
            assert entry.error is not None
            names = {"key": entry.options["key"], "path": str(entry.options["path"])}
            files.append(names | {"error": error_object(entry.error)})
    return {
        "bucket": options.bucket,
        "prefix": options.key,
        "path": options.target,
        "bytes": sum(entry.result.size for entry in results if entry.result is not None),
        "seconds": round(seconds, 6),
        "failed": sum(entry.result is None for entry in results),
        "files": files,
    }
