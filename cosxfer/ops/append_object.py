"""APPEND Object: bytes at the end of an appendable object (source: product page 436/7741)."""

from __future__ import annotations

from collections.abc import Callable

from cosxfer.arguments import as_number
from cosxfer.cos import requests, responses
from cosxfer.cos.names import check_bucket, check_key, shorten
from cosxfer.cos.requests import Body, CosRequest, ObjectHeaders
from cosxfer.errors import IntegrityError, UsageError
from cosxfer.models import AppendObjectResult
from cosxfer.ops.mistakes import warn_if_folder
from cosxfer.ops.proof import proof
from cosxfer.ops.session import Session


async def append_object(
    session: Session,
    bucket: str,
    key: str,
    body: Body,
    *,
    position: int,
    content_length: int,
    md5: bytes | None,
    crc64: int,
    given: ObjectHeaders,
    region: str | None = None,
    on_sent: Callable[[int], None] | None = None,
) -> AppendObjectResult:
    """Send one append, once: what a lost answer means is not decided here."""
    key = check_key(key)
    doing = f"APPEND Object {shorten(key)}"
    check_position(position)
    warn_if_folder(key, content_length)
    headers = requests.object_headers(key, given)
    if md5 is not None:
        headers["content-md5"] = requests.content_md5(md5)
    request = CosRequest(
        method="POST",
        bucket=check_bucket(bucket),
        key=key,
        params={"append": "", "position": str(position)},
        headers=headers,
        body=body,
        content_length=content_length,
        region=region,
    )
    response = await session.call(request, doing=doing, on_sent=on_sent, max_attempts=1)
    theirs = responses.crc64(response, doing=doing)
    # The server's CRC64 is that of the whole object, which we know only where we wrote all of it.
    if position == 0 and theirs is not None and theirs != crc64:
        raise IntegrityError(
            f"{doing}: the server stored other bytes than were sent: its CRC64 is {theirs}, ours {crc64}",
            expected=crc64,
            actual=theirs,
        )
    after = position + content_length
    said = response.headers.get("x-cos-next-append-position", str(after)).strip()
    if said != str(after):
        raise IntegrityError(
            f"{doing}: the object ends at {shorten(said)} after {content_length} bytes were appended at {position}",
            expected=after,
            actual=said,
        )
    etag, whole = response.headers.get("etag", ""), position == 0
    return AppendObjectResult(
        **responses.common(response),
        **proof(crc64_agrees=whole and theirs is not None, etag=etag, md5=md5 if whole else None),
        etag=etag,
        crc64=theirs,
        next_append_position=after,
    )


def check_position(value: int | str) -> int:
    """Return ``value`` as a number if it is one of bytes."""
    value = as_number(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"position is {value!r}; it must be a number of bytes", name="position", value=value)
    return value
