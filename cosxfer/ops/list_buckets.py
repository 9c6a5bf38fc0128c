"""GET Service: the buckets of the account (source: product page 436/8291)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from cosxfer.address import ObjectAddress
from cosxfer.arguments import as_number, check_count, check_text
from cosxfer.bucket_models import Bucket, ListBucketsResult
from cosxfer.cos import responses
from cosxfer.cos.identifiers import check_region
from cosxfer.cos.requests import CosRequest
from cosxfer.limits import MAX_LIST_BUCKETS
from cosxfer.ops.list_objects import is_true
from cosxfer.ops.listing import Markers, read_page
from cosxfer.ops.session import Session

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

OPERATION = "GET Service"


async def list_buckets(
    session: Session, *, region: str | None = None, marker: str | None = None, max_keys: int | str | None = None
) -> ListBucketsResult:
    check_text(marker, "marker")
    params: dict[str, str] = {}
    if region is not None:
        params["region"] = check_region(region)
    if marker:
        params["marker"] = marker
    if max_keys is not None:
        params["max-keys"] = str(check_count(as_number(max_keys), "max_keys", minimum=1, maximum=MAX_LIST_BUCKETS))
    # Without a bucket, the request goes to the service.
    request = CosRequest(method="GET", operation=OPERATION, address=ObjectAddress(""), params=params)
    response = await session.call(request)

    def read(root: Element) -> ListBucketsResult:
        return ListBucketsResult(
            **responses.common(response),
            owner=responses.identity(root, "Owner"),
            marker=root.findtext("Marker", ""),
            next_marker=root.findtext("NextMarker", ""),
            is_truncated=is_true(root, "IsTruncated"),
            buckets=tuple(
                [
                    Bucket(
                        name=entry.findtext("Name", ""),
                        region=entry.findtext("Location", ""),
                        created=entry.findtext("CreationDate", "") or entry.findtext("CreateDate", ""),
                        type=entry.findtext("BucketType", "") or entry.findtext("Type", ""),
                    )
                    for entry in root.findall("Buckets/Bucket")
                ]
            ),
        )

    return await read_page(response, "ListAllMyBucketsResult", read, operation=OPERATION)


async def all_buckets(
    session: Session, *, region: str | None, marker: str | None, max_keys: int | str | None
) -> AsyncGenerator[Bucket, None]:
    """Yield the buckets of each page."""
    seen = Markers(OPERATION, marker or "")
    while True:
        page = await list_buckets(session, region=region, marker=marker, max_keys=max_keys)
        for bucket in page.buckets:
            yield bucket
        if not page.is_truncated:
            return
        marker = seen.following(page.next_marker)
