"""GET, PUT and DELETE Object tagging (source: product page 436/42997)."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.arguments import check_mapping, check_text
from cosxfer.bucket_models import DeleteObjectTaggingResult, GetObjectTaggingResult, PutObjectTaggingResult
from cosxfer.cos import requests, responses, xml
from cosxfer.cos.requests import CosRequest
from cosxfer.errors import NotFoundError, UsageError
from cosxfer.foreign import shorten
from cosxfer.limits import MAX_TAGS
from cosxfer.ops.object_acl import subresource
from cosxfer.ops.session import Session


async def get_object_tagging(
    session: Session, address: ObjectAddress, *, version_id: str | None
) -> GetObjectTaggingResult:
    operation = f"GET Object tagging {shorten(address.key)}"
    params = subresource("tagging", version_id=version_id)
    request = CosRequest(method="GET", operation=operation, address=address, params=params)
    try:
        response = await session.call(request)
    except NotFoundError as error:
        if error.code != "NoSuchTagSet":
            raise
        return GetObjectTaggingResult(
            status_code=error.status, headers=error.headers, request_id=error.request_id, tags={}, version_id=None
        )
    root = responses.document(response, "Tagging", operation=operation)
    return GetObjectTaggingResult(
        **responses.common(response),
        tags={xml.text_of(tag, "Key"): xml.text_of(tag, "Value") for tag in root.findall("TagSet/Tag")},
        version_id=response.headers.get("x-cos-version-id"),
    )


async def put_object_tagging(
    session: Session, address: ObjectAddress, *, tags: Mapping[str, str], version_id: str | None
) -> PutObjectTaggingResult:
    """Replace all tags of an object."""
    pairs = checked_tags(tags)
    body = xml.build("Tagging", [("TagSet", [("Tag", [("Key", key), ("Value", value)]) for key, value in pairs])])
    request = CosRequest(
        method="PUT",
        operation=f"PUT Object tagging {shorten(address.key)}",
        address=address,
        params=subresource("tagging", version_id=version_id),
        headers={"content-type": "application/xml", "content-md5": requests.content_md5(hashing.md5(body))},
        body=body,
        content_length=len(body),
    )
    return PutObjectTaggingResult(**responses.common(await session.call(request)))


async def delete_object_tagging(
    session: Session, address: ObjectAddress, *, version_id: str | None
) -> DeleteObjectTaggingResult:
    request = CosRequest(
        method="DELETE",
        operation=f"DELETE Object tagging {shorten(address.key)}",
        address=address,
        params=subresource("tagging", version_id=version_id),
    )
    return DeleteObjectTaggingResult(**responses.common(await session.call(request)))


def checked_tags(tags: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the tags as pairs. Raises `UsageError` for what is no mapping of text, and for too many."""
    check_mapping({} if tags is None else tags, "tags", example='{"project": "apollo"}')
    if tags is None:
        raise UsageError("tags is None; it must be a mapping; delete_object_tagging removes all tags", name="tags")
    for name, value in tags.items():
        for text in (name, value):
            try:
                check_text(text, "tags", optional=False)
            except UsageError as error:
                raise UsageError(f"tags holds a name or value of a wrong type: {error}", name="tags") from None
        if bad := xml.NOT_XML.search(name + value):
            raise UsageError(f"tags holds the character {bad.group()!r}, which XML cannot hold", name="tags")
    if len(tags) > MAX_TAGS:
        raise UsageError(f"tags has {len(tags)} entries; an object has at most {MAX_TAGS}", name="tags")
    return list(tags.items())


def tagging_header(tags: Mapping[str, str]) -> str:
    """Return the value of ``x-cos-tagging``."""
    return "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in tags.items())
