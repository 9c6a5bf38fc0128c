"""DELETE Object: one object, or one version of it (source: product page 436/7743)."""

from __future__ import annotations

from cosxfer.address import ObjectAddress
from cosxfer.arguments import check_text
from cosxfer.cos import responses
from cosxfer.cos.requests import CosRequest
from cosxfer.foreign import shorten
from cosxfer.models import DeleteObjectResult
from cosxfer.ops.session import Session


async def delete_object(
    session: Session, address: ObjectAddress, *, version_id: str | None = None
) -> DeleteObjectResult:
    """Delete an object. A missing one is no error: COS returns the same."""
    assert address.key, "without a key the request would delete the bucket"
    check_text(version_id, "version_id")
    request = CosRequest(
        method="DELETE",
        operation=f"DELETE Object {shorten(address.key)}",
        address=address,
        params={} if version_id is None else {"versionId": version_id},
    )
    response = await session.call(request)
    return DeleteObjectResult(
        **responses.common(response),
        version_id=response.headers.get("x-cos-version-id"),
        delete_marker=response.headers.get("x-cos-delete-marker", "").lower() == "true",
    )
