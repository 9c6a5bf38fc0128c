"""List Multipart Uploads (source: product page 436/7736)."""

from __future__ import annotations

from cosxfer.cos import xml
from cosxfer.server import checks
from cosxfer.server.call import Call, encoded, iso_date
from cosxfer.server.http import Response, xml_response
from cosxfer.server.owner import OWNER


async def multipart_list(call: Call) -> Response:
    query = call.request.query
    encoding = checks.encoding_type(query)
    prefix, delimiter, key_marker = (query.get(name, "") for name in ("prefix", "delimiter", "key-marker"))
    # Without a key marker, COS ignores the upload id marker.
    id_marker = query.get("upload-id-marker", "") if key_marker else ""
    limit = checks.page_size(query, "max-uploads")
    page = call.store.list_uploads(
        call.bucket, prefix=prefix, delimiter=delimiter, key_marker=key_marker, id_marker=id_marker, limit=limit
    )
    content: list[tuple[str, xml.Tree]] = [
        ("Bucket", call.bucket),
        ("Encoding-Type", encoding),
        ("KeyMarker", encoded(key_marker, encoding)),
        ("UploadIdMarker", id_marker),
        ("NextKeyMarker", encoded(page.next_key, encoding)),
        ("NextUploadIdMarker", page.next_id),
        ("MaxUploads", limit),
        ("IsTruncated", str(page.is_truncated).lower()),
        ("Prefix", encoded(prefix, encoding)),
        ("Delimiter", encoded(delimiter, encoding)),
    ]
    content += [
        (
            "Upload",
            [
                ("Key", encoded(upload.key, encoding)),
                ("UploadId", upload.id),
                ("StorageClass", upload.storage_class),
                ("Initiator", OWNER),
                ("Owner", OWNER),
                ("Initiated", iso_date(upload.initiated)),
            ],
        )
        for upload in page.entries
    ]
    content += [("CommonPrefixes", [("Prefix", encoded(group, encoding))]) for group in page.common_prefixes]
    return xml_response("ListMultipartUploadsResult", content)
