"""``cosxfer uploads export`` and ``resume --token``: takes an unfinished upload to another host or path."""

from __future__ import annotations

from pathlib import Path

from cosxfer.address import shown_key
from cosxfer.cli.connection import Connection, cleaned_up
from cosxfer.cli.cp import as_json as json_of
from cosxfer.cli.cp import report, summary
from cosxfer.cli.output import printable, say, say_object, tell
from cosxfer.cli.stdin import is_given, read_blocks
from cosxfer.client import Client
from cosxfer.config import ClientConfig
from cosxfer.errors import SourceError, UploadError, UsageError
from cosxfer.foreign import shorten, shown_path
from cosxfer.journal import Journal, Unfinished, journal_of
from cosxfer.journal_rows import JournalPart
from cosxfer.models import UploadResult
from cosxfer.resume_token import MAX_CHARACTERS, ResumeToken, TokenPart, decode, encode


def export_upload(upload_id: str | None, connection: Connection, *, as_json: bool) -> None:
    """Print the token of an unfinished upload of the journal; without an id, of the only one."""
    journal = journal_of(ClientConfig(journal=connection.journal))
    if journal is None:
        raise UsageError("there is no journal, so no unfinished upload is known", name="--journal")
    try:
        each = _chosen(journal.unfinished().result(), upload_id)
        token = _token(journal, each)
    finally:
        journal.close()
    upload = each.entry.upload
    if each.running:
        tell("cosxfer: a process sends into this upload now; end it before you go on elsewhere")
    if as_json:
        say_object({"token": token, "upload_id": upload.upload_id, "path": upload.place.path, "parts": each.parts})
    else:
        say(token)


def _chosen(found: list[Unfinished], upload_id: str | None) -> Unfinished:
    if upload_id is None and len(found) > 1:
        ids = ", ".join(each.entry.upload.upload_id for each in found[:5])
        more = ", …" if len(found) > 5 else ""
        raise UsageError(f"{len(found)} uploads are unfinished; give the id of one: {ids}{more}", name="upload_id")
    for each in found:
        if upload_id in (None, each.entry.upload.upload_id):
            return each
    which = "no upload" if upload_id is None else f"not {shorten(upload_id)}"
    raise UsageError(f"the journal has {which}; cosxfer uploads list shows what is unfinished", name="upload_id")


def _token(journal: Journal, each: Unfinished) -> str:
    upload, row = each.entry.upload, each.entry.row
    if not upload.complete:
        raise UsageError(
            "the upload has a header that is a secret, such as the customer's key, and a token has no secrets; make "
            "the same call again instead",
            name="upload_id",
        )
    nothing: list[JournalPart] = []
    known = journal.call(lambda database: nothing if row is None else database.parts(row, upload), nothing).result()
    place = upload.place
    return encode(
        ResumeToken(
            endpoint=place.endpoint,
            region=place.region,
            bucket=place.bucket,
            key=place.key,
            path=place.path,
            upload_id=upload.upload_id,
            plan=upload.plan,
            headers=upload.headers,
            parameters=upload.parameters,
            add_md5=upload.add_md5,
            parts={part.number: TokenPart(md5=part.md5, etag=part.etag) for part in known},
        )
    )


def resume_token(
    token_file: Path | None, path: Path | None, connection: Connection, *, dry_run: bool, as_json: bool
) -> None:
    """Go on with the upload of the token in a file; None is standard input. ``path`` replaces that of the token."""
    text = _read(token_file)
    token = decode(text)
    source = token.path if path is None else str(path)
    address = f"cos://{token.bucket}/{shown_key(token.key)}"
    if dry_run:
        parts = f"{len(token.parts):,} of {token.plan.count:,} parts"
        line = printable(f"would continue {address} {token.upload_id}: {parts}")
        if as_json:
            say_object({"upload_id": token.upload_id, "path": source, "parts": len(token.parts), "dry_run": True})
        else:
            say(f"{line} of {shown_path(source)}")
        return
    with connection.client() as client, cleaned_up(client, connection, keeps=True):
        result = _resumed(client, connection, text, source, token)
    report(json_of(result) if as_json else None, summary=summary(result), good=result.verified)


def _resumed(client: Client, connection: Connection, text: str, source: str, token: ResumeToken) -> UploadResult:
    try:
        return client.resume(text, source)
    except UploadError as error:
        if remedy := connection.remedy(error, token.bucket, shown_key(token.key)):
            error.add_note(remedy)
        raise


def _read(path: Path | None) -> str:
    """Return the text of a token, without its end if it is too long to be one."""
    try:
        if path is not None:
            with path.open("rb") as file:
                data = file.read(MAX_CHARACTERS + 1)
        else:
            if not is_given():
                raise UsageError("--token is '-', but standard input is no pipe or file; name a file", name="--token")
            data = b""
            for block in read_blocks():
                data += block
                if len(data) > MAX_CHARACTERS:
                    break
    except OSError as error:
        raise SourceError(
            f"cannot read the token {shown_path(str(path))}: {(error.strerror or str(error)).lower()}", path=str(path)
        ) from error
    return data.decode("ascii", "replace")
