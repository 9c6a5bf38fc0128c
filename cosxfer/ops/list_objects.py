"""GET Bucket: List Objects (source: product page 436/7734).

The names are always requested percent-encoded, because a key may have characters that XML cannot hold.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from typing import TYPE_CHECKING

from cosxfer.address import ObjectAddress, shown_key
from cosxfer.arguments import check_text
from cosxfer.bucket_models import ListedObject, ListObjectsResult
from cosxfer.cos import responses, xml
from cosxfer.cos.requests import CosRequest
from cosxfer.cos.xml_page import Row, parse_object_page
from cosxfer.limits import MAX_LIST_ENTRIES
from cosxfer.models import CommonPrefix, Identity
from cosxfer.ops.listing import Markers, read_with
from cosxfer.ops.multipart_list_part import check_page_size
from cosxfer.ops.session import Session

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


async def list_objects(
    session: Session,
    address: ObjectAddress,
    *,
    prefix: str | None = None,
    delimiter: str | None = None,
    marker: str | None = None,
    max_keys: int | str | None = None,
) -> ListObjectsResult:
    operation = f"List Objects of {address.bucket}"
    params = page_params(max_keys, delimiter=delimiter, prefix=prefix, marker=marker)
    request = CosRequest(method="GET", operation=operation, address=address, params=params)
    response = await session.call(request)

    def read(body: bytes) -> ListObjectsResult:
        root, rows = parse_object_page(body, root="ListBucketResult")
        decoded = responses.decoder(root.findtext("EncodingType", ""))
        key_of = key_reader(decoded)
        return ListObjectsResult(
            **responses.common(response),
            bucket=root.findtext("Name") or address.bucket,
            prefix=key_of(root, "Prefix"),
            delimiter=decoded(root.findtext("Delimiter", "")),
            marker=key_of(root, "Marker"),
            next_marker=key_of(root, "NextMarker"),
            max_keys=xml.int_of(root, "MaxKeys", MAX_LIST_ENTRIES),
            is_truncated=is_true(root, "IsTruncated"),
            objects=_of_rows(rows, decoded) if rows else _of_elements(root, key_of),
            common_prefixes=tuple([key_of(group, "Prefix") for group in root.findall("CommonPrefixes")]),
        )

    return await read_with(response, read, operation=operation)


def _of_rows(rows: Iterable[Row], decoded: Callable[[str], str]) -> tuple[ListedObject, ...]:
    owner_of = OwnerReader()
    return tuple(
        [
            ListedObject(
                key=shown_key(decoded(key)),
                size=int(size),
                etag=etag,
                last_modified=modified,
                storage_class=storage_class,
                owner=owner_of.of(owner_id, owner_name),
                storage_tier=tier,
                restore_status=restore,
            )
            for key, modified, etag, size, owner_id, owner_name, storage_class, tier, restore in rows
        ]
    )


def _of_elements(root: Element, key_of: Callable[[Element, str], str]) -> tuple[ListedObject, ...]:
    owner_of = OwnerReader()
    return tuple(
        [
            ListedObject(
                key=listed_key(entry, key_of),
                size=size_of(entry),
                etag=entry.findtext("ETag", ""),
                last_modified=entry.findtext("LastModified", ""),
                storage_class=entry.findtext("StorageClass", ""),
                owner=owner_of(entry),
                storage_tier=entry.findtext("StorageTier", ""),
                restore_status=entry.findtext("RestoreStatus", ""),
            )
            for entry in root.findall("Contents")
        ]
    )


async def all_objects(
    session: Session,
    address: ObjectAddress,
    *,
    prefix: str | None,
    delimiter: str | None,
    marker: str | None,
    max_keys: int | str | None,
) -> AsyncGenerator[ListedObject | CommonPrefix, None]:
    """Yield the objects of each page, then its common prefixes."""
    seen = Markers(f"List Objects of {address.bucket}", marker or "")
    while True:
        page = await list_objects(
            session, address, prefix=prefix, delimiter=delimiter, marker=marker, max_keys=max_keys
        )
        for entry in page.objects:
            yield entry
        for group in page.common_prefixes:
            yield CommonPrefix(prefix=group)
        if not page.is_truncated:
            return
        marker = seen.following(page.next_marker)


def page_params(max_keys: int | str | None, *, delimiter: str | None, **keys: str | None) -> dict[str, str]:
    """Return the parameters of a page. ``keys`` drop one leading slash, as all keys of calls do."""
    for name, text in (*keys.items(), ("delimiter", delimiter)):
        check_text(text, name)
    params = {name.replace("_", "-"): text.removeprefix("/") for name, text in keys.items() if text is not None}
    if delimiter is not None:
        params["delimiter"] = delimiter
    if max_keys is not None:
        params["max-keys"] = str(check_page_size(max_keys, "max_keys"))
    params["encoding-type"] = "url"
    # COS treats an empty value like an absent one, and a bare name could be taken for a sub-resource.
    return {name: value for name, value in params.items() if value}


def key_reader(decoded: Callable[[str], str]) -> Callable[[Element, str], str]:
    """Return the function that reads a key in the form that calls take."""
    return lambda element, name: shown_key(decoded(element.findtext(name, "")))


def listed_key(entry: Element, key_of: Callable[[Element, str], str]) -> str:
    """Return the key of an entry. Raises `XmlError` if it has none."""
    key = key_of(entry, "Key")
    if not key:
        raise xml.XmlError("an entry has no Key")
    return key


def size_of(entry: Element) -> int:
    """Return the size of an entry. Raises `XmlError` if it is not a number."""
    text = entry.findtext("Size", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else xml.int_of(entry, "Size")


def is_true(element: Element, name: str) -> bool:
    return element.findtext(name, "").strip().lower() == "true"


class OwnerReader:
    """Reads owners. Entries of one owner share a record."""

    def __init__(self) -> None:
        self._last = Identity(id="", display_name="")

    def __call__(self, entry: Element) -> Identity | None:
        owner = entry.find("Owner")
        if owner is None:
            return None
        return self.of(owner.findtext("ID", ""), owner.findtext("DisplayName", ""))

    def of(self, owner_id: str, name: str) -> Identity:
        """Return the record of an owner."""
        if owner_id != self._last.id or name != self._last.display_name:
            self._last = Identity(id=owner_id, display_name=name)
        return self._last
