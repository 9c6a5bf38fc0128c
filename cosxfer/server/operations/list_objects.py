"""GET Bucket: List Objects (source: product page 436/7734)."""

from __future__ import annotations

from cosxfer.cos import xml
from cosxfer.server import checks
from cosxfer.server.call import Call, encoded, iso_date, quoted
from cosxfer.server.http import Response, xml_response
from cosxfer.server.owner import OWNER
from cosxfer.server.store import StoredObject
from cosxfer.server.store.listing import Page


async def list_objects(call: Call) -> Response:
    query = call.request.query
    encoding = checks.encoding_type(query)
    prefix, delimiter, marker = (query.get(name, "") for name in ("prefix", "delimiter", "marker"))
    limit = checks.page_size(query, "max-keys")
    page = call.store.list_objects(call.bucket, prefix=prefix, delimiter=delimiter, marker=marker, limit=limit)
    content: list[tuple[str, xml.Tree]] = [
        ("Name", call.bucket),
        *([("EncodingType", encoding)] if encoding else []),
        ("Prefix", encoded(prefix, encoding)),
        ("Marker", encoded(marker, encoding)),
        ("MaxKeys", limit),
        *([("Delimiter", encoded(delimiter, encoding))] if delimiter else []),
        ("IsTruncated", str(page.is_truncated).lower()),
    ]
    if page.is_truncated:
        content.append(("NextMarker", encoded(page.next_key, encoding)))
    content += entries(page, encoding, with_owner=True)
    response = xml_response("ListBucketResult", content)
    response.headers["x-cos-bucket-region"] = call.region
    return response


def entries(page: Page[StoredObject], encoding: str, *, with_owner: bool) -> list[tuple[str, xml.Tree]]:
    """Return the objects and common prefixes of a page."""
    owner: list[tuple[str, xml.Tree]] = [("Owner", OWNER)] if with_owner else []
    found: list[tuple[str, xml.Tree]] = [
        (
            "Contents",
            [
                ("Key", encoded(one.key, encoding)),
                ("LastModified", iso_date(one.modified)),
                ("ETag", quoted(one.etag)),
                ("Size", one.size),
                *owner,
                ("StorageClass", one.storage_class),
            ],
        )
        for one in page.entries
    ]
    return found + [("CommonPrefixes", [("Prefix", encoded(group, encoding))]) for group in page.common_prefixes]
