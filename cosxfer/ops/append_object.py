"""APPEND Object: add bytes to the end of an appendable object (source: product page 436/7741)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cosxfer.address import ObjectAddress
from cosxfer.arguments import as_number, check_count
from cosxfer.cos import requests, responses
from cosxfer.cos.requests import Body, CosRequest
from cosxfer.errors import IntegrityError
from cosxfer.foreign import shorten
from cosxfer.limits import LARGEST_NUMBER
from cosxfer.models import AppendObjectResult
from cosxfer.ops.mistakes import warn_if_folder
from cosxfer.ops.proof import check_crc64, proof
from cosxfer.ops.session import Session


async def append_object(
    session: Session,
    address: ObjectAddress,
    body: Body,
    *,
    position: int,
    content_length: int,
    md5: bytes | None,
    crc64: int,
    headers: Mapping[str, str],
    on_sent: Callable[[int], None] | None = None,
) -> AppendObjectResult:
    """Send one append, once. If its response is lost, the caller decides what to do."""
    operation = f"APPEND Object {shorten(address.key)}"
    warn_if_folder(address.key, content_length)
    if md5 is not None:
        headers = {**headers, "content-md5": requests.content_md5(md5)}
    request = CosRequest(
        method="POST",
        operation=operation,
        address=address,
        params={"append": "", "position": str(position)},
        headers=headers,
        body=body,
        content_length=content_length,
        on_sent=on_sent,
        max_attempts=1,
    )
    response = await session.call(request)
    theirs = responses.crc64(response, operation=operation)
    if position == 0:
        # The server sends the CRC64 of the whole object. We know it only if we wrote all of it.
        check_crc64(operation, local=crc64, server=theirs, retryable=False)
    after = position + content_length
    said = response.headers.get("x-cos-next-append-position", str(after)).strip()
    if said != str(after):
        raise IntegrityError(
            f"{operation}: the object ends at {shorten(said)} after {content_length} bytes were appended at {position}",
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
    """Return ``value`` as a number; raises `UsageError` if it is not a number of bytes."""
    return check_count(as_number(value), "position", maximum=LARGEST_NUMBER, unit="bytes")
