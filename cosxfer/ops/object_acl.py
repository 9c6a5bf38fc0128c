"""GET and PUT Object ACL (source: product pages 436/7744, 7748)."""

from __future__ import annotations

from collections.abc import Mapping

from cosxfer.address import ObjectAddress
from cosxfer.arguments import check_text
from cosxfer.bucket_models import GetObjectAclResult, Grant, PutObjectAclResult
from cosxfer.cos import responses, xml
from cosxfer.cos.requests import CosRequest
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.ops.session import Session


async def get_object_acl(session: Session, address: ObjectAddress, *, version_id: str | None) -> GetObjectAclResult:
    operation = f"GET Object ACL {shorten(address.key)}"
    request = CosRequest(
        method="GET", operation=operation, address=address, params=subresource("acl", version_id=version_id)
    )
    response = await session.call(request)
    root = responses.document(response, "AccessControlPolicy", operation=operation)
    return GetObjectAclResult(
        **responses.common(response),
        owner=responses.identity(root, "Owner"),
        grants=tuple(
            Grant(
                permission=xml.text_of(grant, "Permission"),
                id=grant.findtext("Grantee/ID", ""),
                uri=grant.findtext("Grantee/URI", ""),
            )
            for grant in root.findall("AccessControlList/Grant")
        ),
        is_default=response.headers.get("x-cos-acl", "") == "default",
    )


async def put_object_acl(
    session: Session, address: ObjectAddress, *, version_id: str | None, headers: Mapping[str, str]
) -> PutObjectAclResult:
    if not headers:
        raise UsageError("put_object_acl needs acl= or a grant_…=", name="acl")
    request = CosRequest(
        method="PUT",
        operation=f"PUT Object ACL {shorten(address.key)}",
        address=address,
        params=subresource("acl", version_id=version_id),
        headers=headers,
    )
    return PutObjectAclResult(**responses.common(await session.call(request)))


def subresource(name: str, *, version_id: str | None) -> dict[str, str]:
    """Return the parameters that name a sub-resource of an object, or of one version of it."""
    check_text(version_id, "version_id")
    return {name: "", **({} if version_id is None else {"versionId": version_id})}
