"""PUT Object: send one object of at most 5 GiB in one request (source: product page 436/7749)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from cosxfer.address import ObjectAddress
from cosxfer.cos import requests, responses
from cosxfer.cos.requests import Body, CosRequest
from cosxfer.errors import ServerError
from cosxfer.foreign import shorten
from cosxfer.models import PutObjectResult
from cosxfer.ops.attempt import Attempt
from cosxfer.ops.head_object import head_object
from cosxfer.ops.mistakes import warn_if_folder
from cosxfer.ops.proof import check_proof, proof
from cosxfer.ops.session import Session

EXISTS = "FileAlreadyExists"
"""The code of a request with ``x-cos-forbid-overwrite`` for an object that exists."""


async def put_object(
    session: Session,
    address: ObjectAddress,
    body: Body,
    *,
    content_length: int,
    md5: bytes | None,
    crc64: int | None,
    headers: Mapping[str, str],
    on_sent: Callable[[int], None] | None = None,
    before_retry: Callable[[], Awaitable[None]] | None = None,
    tried: Attempt | None = None,
) -> tuple[PutObjectResult, str]:
    """Send ``body`` and return the result and the HTTP version. ``tried`` is a failed attempt of `Session.begin`.

    ``headers`` are those of the object (`requests.object_headers`).
    ``md5`` (16 bytes) is sent as Content-MD5; ``crc64`` is compared with the server's. None omits either.
    """
    attempts = 0

    def begins() -> None:
        nonlocal attempts
        attempts += 1

    request = put_request(
        address,
        body,
        content_length=content_length,
        md5=md5,
        crc64=crc64,
        headers=headers,
        on_sent=on_sent,
        on_attempt=begins,
        before_retry=before_retry,
    )
    try:
        response = await session.call(request, tried=tried)
    except ServerError as error:
        response = await _stored_before(session, address, error, attempts, size=content_length, crc64=crc64)
    location = session.endpoint(address).location(address.key)
    return PutObjectResult(**put_fields(address.key, location, response, md5=md5, crc64=crc64)), response.http_version


def put_request(
    address: ObjectAddress,
    body: Body,
    *,
    content_length: int,
    md5: bytes | None,
    crc64: int | None,
    headers: Mapping[str, str],
    on_sent: Callable[[int], None] | None = None,
    on_attempt: Callable[[], None] | None = None,
    before_retry: Callable[[], Awaitable[None]] | None = None,
) -> CosRequest:
    """Return the request of `put_object`. It is refused if the response proves that other bytes are stored."""
    warn_if_folder(address.key, content_length)
    operation = f"PUT Object {shorten(address.key)}"
    if md5 is not None:
        headers = {**headers, "content-md5": requests.content_md5(md5)}

    def check(response: responses.HttpResponse) -> None:
        check_proof(operation, response, md5=md5, crc64=crc64)

    return CosRequest(
        method="PUT",
        operation=operation,
        address=address,
        headers=headers,
        body=body,
        content_length=content_length,
        on_sent=on_sent,
        on_attempt=on_attempt,
        before_retry=before_retry,
        check=check,
    )


def put_fields(
    key: str, location: str, response: responses.HttpResponse, *, md5: bytes | None, crc64: int | None
) -> dict[str, Any]:
    """Return the fields of a result. ``crc64`` is in it as the server has sent it."""
    operation = f"PUT Object {shorten(key)}"
    etag, theirs = responses.etag(response, operation=operation), responses.crc64(response, operation=operation)
    return dict(
        **responses.common(response),
        **proof(crc64_agrees=crc64 is not None and theirs is not None, etag=etag, md5=md5),
        etag=etag,
        location=location,
        version_id=response.headers.get("x-cos-version-id"),
        crc64=theirs,
    )


async def _stored_before(
    session: Session, address: ObjectAddress, error: ServerError, attempts: int, *, size: int, crc64: int | None
) -> responses.HttpResponse:
    """Return the object if an earlier attempt has stored it, whose response was lost. Raises ``error`` otherwise.

    With ``x-cos-forbid-overwrite`` the next attempt is refused because of the own object.
    """
    if error.code != EXISTS or attempts < 2 or crc64 is None:
        raise error
    head = await head_object(session, address)
    if (head.size, head.crc64) != (size, crc64):
        raise error
    return responses.HttpResponse(status=head.status_code, headers=head.headers)
