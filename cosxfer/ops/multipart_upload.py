"""Upload Part: 1 MiB to 5 GiB; the last part may be smaller (source: product page 436/7750)."""

from __future__ import annotations

from collections.abc import Callable

from cosxfer.address import ObjectAddress
from cosxfer.cos import requests, responses
from cosxfer.cos.identifiers import bare_etag
from cosxfer.cos.requests import AttemptFollower, Body, CosRequest
from cosxfer.errors import CosxferError
from cosxfer.models import MultipartUploadResult
from cosxfer.ops.multipart_list_part import multipart_list_part
from cosxfer.ops.proof import check_crc64, mismatch, proof
from cosxfer.ops.session import Session


async def multipart_upload(
    session: Session,
    address: ObjectAddress,
    body: Body,
    *,
    upload_id: str,
    part_number: int,
    content_length: int,
    md5: bytes | None,
    crc64: int | None,
    etag_is_md5: bool | None,
    headers: dict[str, str] | None = None,
    on_sent: Callable[[int], None] | None = None,
    follower: AttemptFollower | None = None,
    max_attempts: int | None = None,
) -> tuple[MultipartUploadResult, str]:
    """Send one part and return the result and the HTTP version.

    ``md5`` (16 bytes) is sent as Content-MD5 and compared with the ETag; ``crc64`` is compared with the server's. None
    omits the comparison. The ETag of a part that is encrypted with a key of the KMS or of the customer need not be its
    MD5. ``etag_is_md5`` states whether it is; None means unknown, and then a matching CRC64 is enough. If the response
    shows that such a key was used, the ETag is not compared. ``follower`` and ``max_attempts`` are those of
    `CosRequest`.

    409 means that an earlier attempt at this part, whose response was lost, is still running. The call then lists the
    parts. If ours is stored, the call succeeds with that response, and the HTTP version is empty.
    """
    operation = f"Upload Part {part_number}"
    all_headers = dict(headers or {})
    if md5 is not None:
        all_headers["content-md5"] = requests.content_md5(md5)

    def check(response: responses.HttpResponse) -> None:
        etag = bare_etag(responses.etag(response, operation=operation))
        theirs = responses.crc64(response, operation=operation)
        compared = etag_is_md5 if etag_is_md5 is not None else theirs is None
        if md5 is not None and etag != md5.hex() and compared and responses.etag_is_md5(response):
            raise mismatch(operation, "ETag", local=md5.hex(), server=etag)
        check_crc64(operation, local=crc64, server=theirs)

    async def stored_after_all() -> responses.HttpResponse | None:
        if md5 is None:
            return None
        try:
            listed = await multipart_list_part(
                session,
                address,
                upload_id=upload_id,
                max_parts=1,
                part_number_marker=part_number - 1,
            )
        except CosxferError:
            return None  # unknown, so send it again: that replaces the part
        for part in listed.parts:
            if (part.part_number, part.size, bare_etag(part.etag)) == (part_number, content_length, md5.hex()):
                if on_sent is not None:
                    on_sent(content_length)
                headers = {**listed.headers, "etag": part.etag}
                return responses.HttpResponse(status=listed.status_code, headers=headers, http_version="")
        return None

    request = CosRequest(
        method="PUT",
        operation=operation,
        address=address,
        params={"partNumber": str(part_number), "uploadId": upload_id},
        headers=all_headers,
        body=body,
        content_length=content_length,
        on_sent=on_sent,
        follower=follower,
        max_attempts=max_attempts,
        check=check,
        on_conflict=stored_after_all,
    )
    response = await session.call(request)
    etag, stored = responses.etag(response, operation=operation), responses.crc64(response, operation=operation)
    result = MultipartUploadResult(
        **responses.common(response),
        **proof(crc64_agrees=crc64 is not None and stored is not None, etag=etag, md5=md5),
        part_number=part_number,
        etag=etag,
        crc64=stored,
        size=content_length,
    )
    return result, response.http_version
