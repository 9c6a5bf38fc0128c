"""Abort Multipart Upload: its parts are deleted (source: product page 436/7740)."""

from __future__ import annotations

from cosxfer.cos import responses
from cosxfer.cos.names import check_bucket, check_key, check_upload_id
from cosxfer.cos.requests import CosRequest
from cosxfer.models import MultipartAbortResult
from cosxfer.ops.session import Session


async def multipart_abort(
    session: Session, bucket: str, key: str, *, upload_id: str, region: str | None = None
) -> MultipartAbortResult:
    request = CosRequest(
        method="DELETE",
        bucket=check_bucket(bucket),
        key=check_key(key),
        params={"uploadId": check_upload_id(upload_id)},
        region=region,
    )
    response = await session.call(request, doing=f"Abort Multipart Upload {upload_id}")
    return MultipartAbortResult(**responses.common(response))
