"""``cosxfer cp``: a file, standard input or a directory tree into COS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path

import typer

from cosxfer.arguments import NumberOrAuto
from cosxfer.cli.connection import Connection, cleaned_up, keeps_parts
from cosxfer.cli.failures import FAILED, UNREPORTED, fail
from cosxfer.cli.hints import with_hint
from cosxfer.cli.moved import MovedFile
from cosxfer.cli.notices import show
from cosxfer.cli.object_options import option_of_header
from cosxfer.cli.output import OutputError, printable, say, say_object, tell
from cosxfer.cli.progress import Display, display
from cosxfer.cli.stdin import is_given, read_blocks
from cosxfer.cli.values import is_directory, meant_as_headers
from cosxfer.client import Client
from cosxfer.cos.requests import ObjectHeaders
from cosxfer.errors import UploadError, UsageError
from cosxfer.figures import counted, human_bytes, human_rate
from cosxfer.foreign import shown_path
from cosxfer.models import BoundBy, UploadResult, Verdict
from cosxfer.records import dataclass

VERDICT_SECONDS = 1.0
"""A shorter upload gets no line about what bounded it."""

_NAMES: dict[BoundBy, str] = {
    "client cpu": "the client's CPU",
    "connections": "the goodput of a connection",
    "link": "the link",
    "memory budget": "the memory budget",
    "rate limit": "the rate limit",
    "throttling": "the server's throttling",
    "user limit": "a limit of the caller",
}


@dataclass(frozen=True, kw_only=True)
class CopyOptions:
    """The arguments of ``cp``. None selects the client's default."""

    source: Path | None
    """None is standard input."""
    bucket: str
    key: str
    connection: Connection
    part_size: NumberOrAuto
    headers: ObjectHeaders = field(repr=False)
    """Of the object."""
    as_json: bool
    move: bool = False
    """Delete the source when the object is proven."""
    abort_on_interrupt: bool = False

    def keeps(self, client: Client) -> bool:
        """Whether uploads of files that are interrupted or fail keep their parts on the server."""
        return keeps_parts(client, abort_on_interrupt=self.abort_on_interrupt)


def run(options: CopyOptions) -> None:
    """Upload or move, and print the result. Exits with 1 if the object was stored but could not be verified."""
    moved = None if not options.move or options.source is None else MovedFile(options.source)
    if options.source is not None and is_directory(options.source):
        raise UsageError(
            f"{shown_path(str(options.source))} is a directory; use -r (--recursive) to upload its content",
            name="source",
        )
    if options.source is None and not is_given():
        raise UsageError("the file is '-', but standard input is no pipe or file; name a file", name="source")
    warn_of_headers(options.headers.get("metadata"))
    with (
        options.connection.client() as client,
        with_hint(client, options.bucket),
        cleaned_up(client, options.connection, keeps=options.source is not None and options.keeps(client)),
        display(activities=("sending",) if options.source is None else ("hashing", "sending")) as shown,
    ):
        try:
            result = _upload(client, options, shown)
        except UploadError as error:
            if remedy := options.connection.remedy(error, options.bucket, options.key):
                error.add_note(remedy)
            raise
        if moved is not None and result.verified:
            moved.remove(f"cos://{result.bucket}/{result.key}")
    figures = as_json(result) | ({"source_deleted": result.verified} if options.move else {})
    report(figures if options.as_json else None, summary=summary(result), good=result.verified)
    if not options.as_json and (line := verdict_line(result)):
        tell(f"cosxfer: {line}")
    if not result.verified:
        tell(
            "cosxfer: the object could not be verified: the server sent no CRC64, and the ETag is not the file's MD5 "
            "(normal for an encrypted object)"
        )
        raise typer.Exit(FAILED)


def _upload(client: Client, options: CopyOptions, shown: Display) -> UploadResult:
    if options.source is None:
        return client.upload_stream(
            options.bucket,
            options.key,
            read_blocks(),
            part_size=options.part_size,
            on_progress=lambda progress: shown.update("sending", progress),
            **options.headers,
        )
    return client.upload_file(
        options.bucket,
        options.key,
        options.source,
        part_size=options.part_size,
        abort_on_failure=not options.keeps(client),
        on_hash_progress=lambda progress: shown.update("hashing", progress),
        on_progress=lambda progress: shown.update("sending", progress),
        **options.headers,
    )


def warn_of_headers(metadata: Mapping[str, object] | None) -> None:
    """Warn about metadata that has the name of a header: it does not set the header."""
    for name in meant_as_headers(metadata or {}):
        option = option_of_header(name)
        instead = "To set it, use upload_file of the library (headers=…)" if option is None else f"Use {option}"
        show(f"--meta {name}=… sets the metadata x-cos-meta-{name.lower()}, not the header {name}. {instead}")


def report(figures: dict[str, object] | None, *, summary: str, good: bool) -> None:
    """Print ``figures`` as JSON if given, else ``summary``. ``good`` says that everything is verified.

    If standard output cannot be written, ``summary`` goes to standard error.
    """
    try:
        if figures is None:
            say(summary)
        else:
            say_object(figures)
    except OutputError as error:
        done = "the upload is done, but " if good else ""
        fail(f"{done}standard output cannot be written: {error}. {summary}", UNREPORTED if good else FAILED)


def as_json(result: UploadResult) -> dict[str, object]:
    """Return the object that ``--json`` prints: sizes in bytes, times in seconds, the CRC64 as a decimal string."""
    return {
        "bucket": result.bucket,
        "key": result.key,
        "bytes": result.size,
        "seconds": round(result.seconds, 6),
        "bytes_per_second": round(result.size / result.seconds, 1) if result.seconds else 0.0,
        "hash_seconds": round(result.hash_seconds, 6),
        "send_seconds": round(result.send_seconds, 6),
        "parts": result.parts,
        "part_size_bytes": result.part_size_bytes,
        "retries": result.retries,
        "hedges": result.hedges,
        "resumed_bytes": result.resumed_bytes,
        "http_version": result.http_version,
        "etag": result.etag,
        # Many JSON parsers round a number of 64 bits.
        "crc64": None if result.crc64 is None else str(result.crc64),
        "verified": result.verified,
        "verified_by": result.verified_by,
        "upload_id": result.upload_id,
        "version_id": result.version_id,
        "request_id": result.request_id,
        "location": result.location,
        "verdict": None if result.verdict is None else asdict(result.verdict),
    }


def verdict_line(result: UploadResult) -> str:
    """Return what bounded an upload of a second or more, for people; empty if nothing is known of it."""
    verdict = result.verdict
    if verdict is None or result.seconds < VERDICT_SECONDS:
        return ""
    rate = f"{human_bytes(result.size)} in {result.seconds:.1f} s ({human_rate(result.size, result.seconds)})"
    return f"{rate}; {verdict_words(verdict)}"


def verdict_words(verdict: Verdict) -> str:
    """Return what bounded a transfer and what would help, for people."""
    if verdict.bound_by == "unknown":
        return _clause(verdict.text)
    name = _NAMES.get(verdict.bound_by, verdict.bound_by)
    return f"bound by {name} ({verdict.share:.0%} of the time); {_clause(verdict.advice) or 'nothing to tune'}"


def _clause(sentence: str) -> str:
    return f"{sentence[:1].lower()}{sentence[1:]}".rstrip(".")


def summary(result: UploadResult) -> str:
    """Return the result as text for people."""
    parts = "one request"
    if result.upload_id:
        parts = f"{counted(result.parts, 'part')} of {human_bytes(result.part_size_bytes)}"
    proof = {"crc64": f"verified by CRC64 {result.crc64}", "etag": "verified by the MD5 of each part"}
    again = f", {result.retries} sent again" if result.retries else ""
    if result.resumed_bytes:
        again += f", {human_bytes(result.resumed_bytes)} of it sent before"
    return printable(
        f"{human_bytes(result.size)} to cos://{result.bucket}/{result.key} in {result.seconds:.2f} s "
        f"({human_rate(result.size - result.resumed_bytes, result.seconds)}), {parts}{again}, {result.http_version}, "
        f"{proof.get(result.verified_by, 'NOT verified')}"
    )
