"""List Parts (source: product page 436/7747)."""

from __future__ import annotations

from cosxfer.cos import xml
from cosxfer.server import checks
from cosxfer.server.call import Call, encoded, iso_date, quoted
from cosxfer.server.http import Response, xml_response
from cosxfer.server.owner import OWNER


async def multipart_list_part(call: Call) -> Response:
    query = call.request.query
    encoding = checks.encoding_type(query)
    marker = checks.part_number_marker(query)
    limit = checks.page_size(query, "max-parts")
    upload = call.upload()
    # Fetch one more, to learn whether more parts follow.
    parts = call.store.parts(upload, after=marker, limit=limit + 1)
    truncated = len(parts) > limit > 0
    parts = parts[:limit]
    content: list[tuple[str, xml.Tree]] = [
        ("Bucket", call.bucket),
        ("Encoding-type", encoding),
        ("Key", encoded(call.key, encoding)),
        ("UploadId", upload.id),
        ("Initiator", OWNER),
        ("Owner", OWNER),
        ("StorageClass", upload.storage_class),
        ("PartNumberMarker", marker),
    ]
    if truncated:
        content.append(("NextPartNumberMarker", parts[-1].number))
    content += [("MaxParts", limit), ("IsTruncated", str(truncated).lower())]
    content += [
        (
            "Part",
            [
                ("PartNumber", part.number),
                ("LastModified", iso_date(part.modified)),
                ("ETag", quoted(part.etag)),
                ("Size", part.size),
            ],
        )
        for part in parts
    ]
    return xml_response("ListPartsResult", content)
