"""Abort Multipart Upload: delete its parts (source: product page 436/7740)."""

from __future__ import annotations

from cosxfer.address import ObjectAddress
from cosxfer.cos import responses
from cosxfer.cos.identifiers import check_upload_id
from cosxfer.cos.requests import CosRequest
from cosxfer.models import MultipartAbortResult
from cosxfer.ops.session import Session


async def multipart_abort(session: Session, address: ObjectAddress, *, upload_id: str) -> MultipartAbortResult:
    request = CosRequest(
        method="DELETE",
        operation=f"Abort Multipart Upload {check_upload_id(upload_id)}",
        address=address,
        params={"uploadId": upload_id},
    )
    response = await session.call(request)
    return MultipartAbortResult(**responses.common(response))
