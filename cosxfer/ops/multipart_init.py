"""Initiate Multipart Upload (source: product page 436/7746)."""

from __future__ import annotations

from cosxfer.cos import requests, responses, xml
from cosxfer.cos.names import check_bucket, check_part_key, given_key, shorten
from cosxfer.cos.requests import CosRequest, ObjectHeaders
from cosxfer.errors import ConnectError, TransportError
from cosxfer.models import MultipartInitResult
from cosxfer.ops.mistakes import warn_if_folder
from cosxfer.ops.session import Session

MAY_HAVE_BEGUN = (
    "An empty multipart upload of this key may have begun on the server: multipart_list shows it, multipart_abort "
    "removes it"
)


async def multipart_init(
    session: Session, bucket: str, key: str, *, given: ObjectHeaders, region: str | None = None
) -> MultipartInitResult:
    key = check_part_key(key)
    warn_if_folder(key, None)
    doing = f"Initiate Multipart Upload {shorten(key)}"
    request = CosRequest(
        method="POST",
        bucket=check_bucket(bucket),
        key=key,
        params={"uploads": ""},
        headers=requests.object_headers(key, given),
        region=region,
    )
    try:
        response = await session.call(request, doing=doing)
        root = responses.document(response, "InitiateMultipartUploadResult", doing=doing)
        upload_id = xml.text_of(root, "UploadId")
        if not upload_id:
            raise responses.malformed(doing, "it has no UploadId")
    except TransportError as error:
        if not isinstance(error, ConnectError):
            error.add_note(MAY_HAVE_BEGUN)
        raise
    return MultipartInitResult(
        **responses.common(response),
        bucket=xml.text_of(root, "Bucket", bucket),
        key=given_key(key),
        upload_id=upload_id,
    )
