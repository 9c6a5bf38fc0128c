"""Initiate Multipart Upload (source: product page 436/7746)."""

from __future__ import annotations

from cosxfer.cos import requests, responses, xml
from cosxfer.cos.names import check_bucket, check_key, shorten
from cosxfer.cos.requests import CosRequest, ObjectHeaders
from cosxfer.models import MultipartInitResult
from cosxfer.ops.mistakes import warn_if_folder
from cosxfer.ops.session import Session


async def multipart_init(
    session: Session, bucket: str, key: str, *, given: ObjectHeaders, region: str | None = None
) -> MultipartInitResult:
    key = check_key(key)
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
    response = await session.call(request, doing=doing)
    root = responses.document(response, "InitiateMultipartUploadResult", doing=doing)
    upload_id = xml.text_of(root, "UploadId")
    if not upload_id:
        raise responses.malformed(doing, "it has no UploadId")
    return MultipartInitResult(
        **responses.common(response),
        bucket=xml.text_of(root, "Bucket", bucket),
        key=xml.text_of(root, "Key", key),
        upload_id=upload_id,
    )
