"""Upload Part: 1 MiB to 5 GiB, the last one may be smaller (source: product page 436/7750)."""

from __future__ import annotations

from collections.abc import Callable

from cosxfer.arguments import check_text
from cosxfer.cos import requests, responses
from cosxfer.cos.names import check_bucket, check_key
from cosxfer.cos.requests import Body, CosRequest
from cosxfer.errors import IntegrityError, UsageError
from cosxfer.limits import MAX_PART_NUMBER, MIN_PART_NUMBER
from cosxfer.models import MultipartUploadResult
from cosxfer.ops.session import Session


async def multipart_upload(
    session: Session,
    bucket: str,
    key: str,
    body: Body,
    *,
    upload_id: str,
    part_number: int,
    content_length: int,
    md5: bytes | None,
    crc64: int | None,
    etag_is_md5: bool = True,
    headers: dict[str, str] | None = None,
    region: str | None = None,
    on_sent: Callable[[int], None] | None = None,
) -> tuple[MultipartUploadResult, str]:
    """Send one part and return the result and the HTTP version.

    ``md5`` (16 bytes) goes into Content-MD5 and is compared with the ETag (unless the server encrypts with a key of
    its own, where ``etag_is_md5`` is False), ``crc64`` with the server's; None leaves either out.
    """
    key = check_key(key)
    check_part_number(part_number)
    doing = f"Upload Part {part_number}"
    check_upload_id(upload_id)
    all_headers = dict(headers or {})
    if md5 is not None:
        all_headers["content-md5"] = requests.content_md5(md5)
    request = CosRequest(
        method="PUT",
        bucket=check_bucket(bucket),
        key=key,
        params={"partNumber": str(part_number), "uploadId": upload_id},
        headers=all_headers,
        body=body,
        content_length=content_length,
        region=region,
    )

    def check(response: responses.HttpResponse) -> None:
        etag = responses.etag(response, doing=doing).strip('"').lower()
        if md5 is not None and etag_is_md5 and etag != md5.hex():
            raise _differs(doing, "ETag", md5.hex(), etag)
        theirs = responses.crc64(response, doing=doing)
        if crc64 is not None and theirs is not None and theirs != crc64:
            raise _differs(doing, "CRC64", crc64, theirs)

    response = await session.call(request, doing=doing, on_sent=on_sent, check=check)
    result = MultipartUploadResult(
        **responses.common(response),
        part_number=part_number,
        etag=responses.etag(response, doing=doing),
        crc64=responses.crc64(response, doing=doing),
    )
    return result, response.http_version


def check_upload_id(value: str) -> str:
    """Return ``value`` if it can be one: without it, the request would be one for the object itself."""
    if not isinstance(value, str) or not value:
        raise UsageError(f"upload_id is {value!r}; it comes from multipart_init", name="upload_id", value=value)
    check_text(value, "upload_id")
    return value


def check_part_number(value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not MIN_PART_NUMBER <= value <= MAX_PART_NUMBER:
        raise UsageError(
            f"part_number is {value!r}; it must be from {MIN_PART_NUMBER} to {MAX_PART_NUMBER}",
            name="part_number",
            value=value,
        )


def _differs(doing: str, what: str, ours: object, theirs: object) -> IntegrityError:
    # A second attempt may succeed: the bytes were damaged between here and the disk of the server.
    return IntegrityError(
        f"{doing}: the server stored other bytes than were sent: its {what} is {theirs}, ours {ours}",
        expected=ours,
        actual=theirs,
        retryable=True,
    )
