"""PUT Object: one object in one request, 5 GiB at most (source: product page 436/7749)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cosxfer.cos import requests, responses
from cosxfer.cos.names import check_bucket, check_key, shorten
from cosxfer.cos.requests import Body, CosRequest
from cosxfer.errors import IntegrityError
from cosxfer.models import PutObjectResult
from cosxfer.ops.mistakes import warn_if_folder
from cosxfer.ops.proof import proof
from cosxfer.ops.session import Session


async def put_object(
    session: Session,
    bucket: str,
    key: str,
    body: Body,
    *,
    content_length: int,
    md5: bytes | None,
    crc64: int | None,
    headers: Mapping[str, str],
    region: str | None = None,
    on_sent: Callable[[int], None] | None = None,
) -> tuple[PutObjectResult, str]:
    """Send ``body`` and return the result and the HTTP version.

    ``headers`` are those of the object (`requests.object_headers`).
    ``md5`` (16 bytes) goes into Content-MD5; ``crc64`` is compared with the server's. None leaves either out.
    """
    key = check_key(key)
    warn_if_folder(key, content_length)
    doing = f"PUT Object {shorten(key)}"
    if md5 is not None:
        headers = {**headers, "content-md5": requests.content_md5(md5)}
    request = CosRequest(
        method="PUT",
        bucket=check_bucket(bucket),
        key=key,
        headers=headers,
        body=body,
        content_length=content_length,
        region=region,
    )

    def check(response: responses.HttpResponse) -> None:
        theirs = responses.crc64(response, doing=doing)
        if crc64 is not None and theirs is not None and theirs != crc64:
            raise IntegrityError(
                f"{doing}: the server stored other bytes than were sent: its CRC64 is {theirs}, ours {crc64}",
                expected=crc64,
                actual=theirs,
                retryable=True,
            )

    response = await session.call(request, doing=doing, on_sent=on_sent, check=check)
    etag, theirs = responses.etag(response, doing=doing), responses.crc64(response, doing=doing)
    result = PutObjectResult(
        **responses.common(response),
        **proof(crc64_agrees=crc64 is not None and theirs is not None, etag=etag, md5=md5),
        etag=etag,
        location=session.endpoint(bucket, region).location(key),
        version_id=response.headers.get("x-cos-version-id"),
        crc64=theirs,
    )
    return result, response.http_version
