"""GET Bucket Object Versions: all versions and delete markers (source: product page 436/35521)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from cosxfer.address import ObjectAddress
from cosxfer.arguments import check_text
from cosxfer.bucket_models import DeleteMarker, ListObjectVersionsResult, ObjectVersion, VersionEntry
from cosxfer.cos import responses, xml
from cosxfer.cos.requests import CosRequest
from cosxfer.limits import MAX_LIST_ENTRIES
from cosxfer.models import CommonPrefix
from cosxfer.ops.list_objects import OwnerReader, is_true, key_reader, listed_key, page_params, size_of
from cosxfer.ops.listing import Markers, read_page
from cosxfer.ops.session import Session

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


async def list_object_versions(
    session: Session,
    address: ObjectAddress,
    *,
    prefix: str | None = None,
    delimiter: str | None = None,
    key_marker: str | None = None,
    version_id_marker: str | None = None,
    max_keys: int | str | None = None,
) -> ListObjectVersionsResult:
    operation = f"List Object Versions of {address.bucket}"
    check_text(version_id_marker, "version_id_marker")
    params = {"versions": "", **page_params(max_keys, delimiter=delimiter, prefix=prefix, key_marker=key_marker)}
    if version_id_marker is not None and key_marker:
        # An empty one is sent too: NextVersionIdMarker is empty after a key of a bucket that never had versioning.
        params["version-id-marker"] = version_id_marker
    request = CosRequest(method="GET", operation=operation, address=address, params=params)
    response = await session.call(request)

    def read(root: Element) -> ListObjectVersionsResult:
        decoded = responses.decoder(root.findtext("EncodingType", ""))
        key_of = key_reader(decoded)
        owner_of = OwnerReader()

        def version(entry: Element) -> VersionEntry:
            if entry.tag == "DeleteMarker":
                return DeleteMarker(
                    key=listed_key(entry, key_of),
                    version_id=entry.findtext("VersionId", ""),
                    is_latest=is_true(entry, "IsLatest"),
                    last_modified=entry.findtext("LastModified", ""),
                    owner=owner_of(entry),
                )
            return ObjectVersion(
                key=listed_key(entry, key_of),
                version_id=entry.findtext("VersionId", ""),
                is_latest=is_true(entry, "IsLatest"),
                size=size_of(entry),
                etag=entry.findtext("ETag", ""),
                last_modified=entry.findtext("LastModified", ""),
                storage_class=entry.findtext("StorageClass", ""),
                owner=owner_of(entry),
                storage_tier=entry.findtext("StorageTier", ""),
            )

        return ListObjectVersionsResult(
            **responses.common(response),
            bucket=root.findtext("Name") or address.bucket,
            prefix=key_of(root, "Prefix"),
            delimiter=decoded(root.findtext("Delimiter", "")),
            key_marker=key_of(root, "KeyMarker"),
            version_id_marker=root.findtext("VersionIdMarker", ""),
            next_key_marker=key_of(root, "NextKeyMarker"),
            next_version_id_marker=root.findtext("NextVersionIdMarker", ""),
            max_keys=xml.int_of(root, "MaxKeys", MAX_LIST_ENTRIES),
            is_truncated=is_true(root, "IsTruncated"),
            versions=tuple([version(entry) for entry in root if entry.tag in ("Version", "DeleteMarker")]),
            common_prefixes=tuple([key_of(group, "Prefix") for group in root.findall("CommonPrefixes")]),
        )

    return await read_page(response, "ListVersionsResult", read, operation=operation)


async def all_versions(
    session: Session,
    address: ObjectAddress,
    *,
    prefix: str | None,
    delimiter: str | None,
    key_marker: str | None,
    version_id_marker: str | None,
    max_keys: int | str | None,
) -> AsyncGenerator[VersionEntry | CommonPrefix, None]:
    """Yield the versions and delete markers of each page, then its common prefixes."""
    seen = Markers(f"List Object Versions of {address.bucket}", key_marker or "", version_id_marker or "")
    while True:
        page = await list_object_versions(
            session,
            address,
            prefix=prefix,
            delimiter=delimiter,
            key_marker=key_marker,
            version_id_marker=version_id_marker,
            max_keys=max_keys,
        )
        for entry in page.versions:
            yield entry
        for group in page.common_prefixes:
            yield CommonPrefix(prefix=group)
        if not page.is_truncated:
            return
        key_marker = seen.following(page.next_key_marker, page.next_version_id_marker)
        version_id_marker = page.next_version_id_marker
