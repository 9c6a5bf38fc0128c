"""HEAD Object: the properties of an object, without its content (source: product page 436/7745)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosxfer.address import ObjectAddress
from cosxfer.arguments import check_text
from cosxfer.cos import responses
from cosxfer.cos.requests import CosRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import ServerError
from cosxfer.foreign import shorten
from cosxfer.models import HeadObjectResult
from cosxfer.ops.session import Session


async def head_object(
    session: Session,
    address: ObjectAddress,
    *,
    version_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> HeadObjectResult:
    check_text(version_id, "version_id")
    operation = f"HEAD Object {shorten(address.key)}"
    request = CosRequest(
        method="HEAD",
        operation=operation,
        address=address,
        params={} if version_id is None else {"versionId": version_id},
        headers=headers or {},
    )
    try:
        response = await session.call(request)
    except ServerError as error:
        if error.status == 400 and not error.code:
            # The response to HEAD has no body, and little else can be wrong with such a request.
            error.add_note(
                "a response to HEAD gives no reason; an object with a customer's key needs sse_customer_key=…"
            )
        raise
    return HeadObjectResult(**object_fields(response, operation=operation))


def object_fields(response: HttpResponse, *, operation: str) -> dict[str, Any]:
    """Return the fields of `HeadObjectResult`; a response to GET Object has them too."""
    size = responses.size(response, operation=operation)
    return fields_of(response, size=size, crc64=responses.crc64(response, operation=operation))


def fields_of(response: HttpResponse, *, size: int, crc64: int | None) -> dict[str, Any]:
    """Return the fields of `HeadObjectResult` for an object of ``size`` bytes, which Content-Length may not be."""
    headers = response.headers
    return {
        "status_code": response.status,
        "headers": headers,
        "request_id": headers.get("x-cos-request-id", ""),
        "size": size,
        "etag": headers.get("etag", ""),
        "crc64": crc64,
        "content_type": headers.get("content-type", ""),
        "last_modified": headers.get("last-modified", ""),
        "storage_class": headers.get("x-cos-storage-class", "STANDARD"),
        "object_type": headers.get("x-cos-object-type", "normal"),
        "version_id": headers.get("x-cos-version-id"),
        "metadata": responses.metadata(response),
    }
