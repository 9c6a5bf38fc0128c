"""HEAD Object: what is known of an object, without its content (source: product page 436/7745)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosxfer.arguments import check_text
from cosxfer.cos import responses
from cosxfer.cos.names import check_bucket, check_key, shorten
from cosxfer.cos.requests import CosRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import ServerError
from cosxfer.models import HeadObjectResult
from cosxfer.ops.session import Session


async def head_object(
    session: Session,
    bucket: str,
    key: str,
    *,
    version_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    region: str | None = None,
) -> HeadObjectResult:
    key = check_key(key)
    check_text(version_id, "version_id")
    doing = f"HEAD Object {shorten(key)}"
    request = CosRequest(
        method="HEAD",
        bucket=check_bucket(bucket),
        key=key,
        params={} if version_id is None else {"versionId": version_id},
        headers=headers or {},
        region=region,
    )
    try:
        response = await session.call(request, doing=doing)
    except ServerError as error:
        if error.status == 400 and not error.code:
            # The answer to HEAD has no body; little else can be wrong with such a request.
            error.add_note("HEAD tells no reason; an object with a customer's key needs that one: sse_customer_key=…")
        raise
    return HeadObjectResult(**object_fields(response, doing=doing))


def object_fields(response: HttpResponse, *, doing: str) -> dict[str, Any]:
    """The fields of `HeadObjectResult`, which an answer to GET Object has too."""
    headers = response.headers
    return {
        **responses.common(response),
        "size": responses.size(response, doing=doing),
        "etag": headers.get("etag", ""),
        "crc64": responses.crc64(response, doing=doing),
        "content_type": headers.get("content-type", ""),
        "last_modified": headers.get("last-modified", ""),
        "storage_class": headers.get("x-cos-storage-class", "STANDARD"),
        "object_type": headers.get("x-cos-object-type", "normal"),
        "version_id": headers.get("x-cos-version-id"),
        "metadata": responses.metadata(response),
    }
