"""PUT Object - Copy (source: product page 436/10881)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from cosxfer.address import ObjectAddress
from cosxfer.arguments import check_text, wrong_type
from cosxfer.bucket_models import CopyObjectResult, CopySource
from cosxfer.cos import responses, xml
from cosxfer.cos.requests import CosRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.cos.service import copy_source
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.ops.session import Session
from cosxfer.sdk_names import plain

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SourceInput: TypeAlias = CopySource | Mapping[str, Any]
"""The object to copy. A mapping has ``Bucket``, ``Key``, and perhaps ``Region`` and ``VersionId``."""


def checked_source(session: Session, source: SourceInput) -> tuple[ObjectAddress, str | None]:
    """Return address and version of a copy source. Raises `UsageError`."""
    if isinstance(source, Mapping):
        named = {plain(name): value for name, value in source.items() if isinstance(name, str)}
        unknown = named.keys() - {"bucket", "key", "region", "versionid"}
        if unknown or not {"bucket", "key"} <= named.keys():
            raise UsageError("source must have Bucket, Key, and perhaps Region and VersionId", name="source")
        bucket, key, region, version = (named.get(name) for name in ("bucket", "key", "region", "versionid"))
    elif isinstance(source, CopySource):
        bucket, key, region, version = source.bucket, source.key, source.region, source.version_id
    else:
        raise wrong_type("source", source, "a cosxfer.CopySource, or a mapping with Bucket and Key")
    try:
        check_text(version, "version_id")
        address = session.address(bucket, key, region)  # type: ignore[arg-type] # it checks them
        source_header(session, address, None)
    except UsageError as error:
        raise UsageError(f"source: {error}", name="source", value=error.value) from None
    return address, str(version) if version else None


def source_header(session: Session, source: ObjectAddress, version_id: str | None) -> str:
    """Return the value of ``x-cos-copy-source``."""
    return copy_source(source, version_id=version_id, endpoint=session.endpoint(source), region=session.config.region)


async def copy_object(
    session: Session,
    address: ObjectAddress,
    *,
    source: ObjectAddress,
    version_id: str | None,
    headers: Mapping[str, str],
) -> CopyObjectResult:
    """Copy an object in one request.

    COS may send status 200 at once and the outcome later. A response without an outcome is not a success.
    """
    operation = f"PUT Object - Copy {shorten(address.key)}"
    root: Element | None = None

    def check(response: HttpResponse) -> None:
        nonlocal root
        root = outcome(response, "CopyObjectResult", operation)

    request = CosRequest(
        method="PUT",
        operation=operation,
        address=address,
        headers={**headers, "x-cos-copy-source": source_header(session, source, version_id)},
        stall_timeout_seconds=max(session.config.complete_timeout_seconds, session.config.stall_timeout_seconds),
        check=check,
    )
    response = await session.call(request)
    assert root is not None
    return CopyObjectResult(
        **responses.common(response),
        etag=xml.text_of(root, "ETag"),
        crc64=crc64_of(root, response, operation),
        last_modified=xml.text_of(root, "LastModified"),
        version_id=response.headers.get("x-cos-version-id") or xml.text_of(root, "VersionId") or None,
        source_version_id=response.headers.get("x-cos-copy-source-version-id"),
    )


def outcome(response: HttpResponse, root: str, operation: str) -> Element:
    """Return the document of a copy. Raises `ProtocolError` if it is not one or has no ETag."""
    found = responses.document(response, root, operation=operation)
    if not xml.text_of(found, "ETag"):
        raise responses.malformed(operation, "it has no ETag")
    return found


def crc64_of(root: Element, response: HttpResponse, operation: str) -> int | None:
    """Return the CRC64 of a copy, from the document or from the header."""
    text = xml.text_of(root, "CRC64").strip()
    header = {"x-cos-hash-crc64ecma": text} if text else response.headers
    return responses.crc64(HttpResponse(status=200, headers=header), operation=operation)
