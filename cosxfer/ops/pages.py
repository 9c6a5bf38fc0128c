"""Iterating over whole listings. A page is requested only when the entries before it were taken."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from cosxfer.address import ObjectAddress
from cosxfer.arguments import as_number
from cosxfer.cos import responses
from cosxfer.models import CommonPrefix, Part, Upload
from cosxfer.ops.listing import Markers
from cosxfer.ops.multipart_list import multipart_list
from cosxfer.ops.multipart_list_part import multipart_list_part
from cosxfer.ops.session import Session


async def all_uploads(
    session: Session,
    address: ObjectAddress,
    *,
    prefix: str | None,
    delimiter: str | None,
    encoding_type: str | None,
    max_uploads: int | str | None,
    key_marker: str | None,
    upload_id_marker: str | None,
) -> AsyncGenerator[Upload | CommonPrefix, None]:
    """Yield the uploads of each page, then its common prefixes."""
    seen = Markers(f"List Multipart Uploads of {address.bucket}", key_marker or "", upload_id_marker or "")
    while True:
        page = await multipart_list(
            session,
            address,
            prefix=prefix,
            delimiter=delimiter,
            encoding_type=encoding_type,
            max_uploads=max_uploads,
            key_marker=key_marker,
            upload_id_marker=upload_id_marker,
        )
        for upload in page.uploads:
            yield upload
        for group in page.common_prefixes:
            yield CommonPrefix(prefix=group)
        if not page.is_truncated:
            return
        key_marker = seen.following(page.next_key_marker, page.next_upload_id_marker)
        upload_id_marker = page.next_upload_id_marker or None


async def all_parts(
    session: Session,
    address: ObjectAddress,
    *,
    upload_id: str,
    max_parts: int | str | None = None,
    part_number_marker: int | str | None = None,
    encoding_type: str | None = None,
) -> AsyncGenerator[Part, None]:
    """Yield the parts in the order of their numbers."""
    part_number_marker = as_number(part_number_marker)
    while True:
        page = await multipart_list_part(
            session,
            address,
            upload_id=upload_id,
            max_parts=max_parts,
            part_number_marker=part_number_marker,
            encoding_type=encoding_type,
        )
        for part in page.parts:
            yield part
        if not page.is_truncated:
            return
        after = page.next_part_number_marker
        if after is None or after <= (part_number_marker or 0):
            raise responses.malformed(f"List Parts of {upload_id}", "it is truncated but has no new marker")
        part_number_marker = after
