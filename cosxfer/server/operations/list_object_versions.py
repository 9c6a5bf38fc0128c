"""GET Bucket Object Versions (source: product page 436/35521)."""

from __future__ import annotations

from cosxfer.cos import xml
from cosxfer.server import checks
from cosxfer.server.call import Call, encoded, iso_date, quoted
from cosxfer.server.http import Response, xml_response
from cosxfer.server.owner import OWNER
from cosxfer.server.store import StoredObject


async def list_object_versions(call: Call) -> Response:
    query = call.request.query
    encoding = checks.encoding_type(query)
    prefix, delimiter, key_marker = (query.get(name, "") for name in ("prefix", "delimiter", "key-marker"))
    version_marker = query.get("version-id-marker", "") if key_marker else ""
    limit = checks.page_size(query, "max-keys")
    page = call.store.list_versions(
        call.bucket,
        prefix=prefix,
        delimiter=delimiter,
        key_marker=key_marker,
        version_marker=version_marker,
        limit=limit,
    )
    is_versioned = bool(call.store.versioning(call.bucket))

    def version_id(found: StoredObject) -> str:
        return found.version if is_versioned else ""

    content: list[tuple[str, xml.Tree]] = [
        ("Name", call.bucket),
        *([("EncodingType", encoding)] if encoding else []),
        ("Prefix", encoded(prefix, encoding)),
        ("KeyMarker", encoded(key_marker, encoding)),
        ("VersionIdMarker", version_marker),
        ("MaxKeys", limit),
        *([("Delimiter", encoded(delimiter, encoding))] if delimiter else []),
        ("IsTruncated", str(page.is_truncated).lower()),
    ]
    if page.is_truncated:
        last = version_id(page.entries[-1].found) if page.next_id else ""
        content += [("NextKeyMarker", encoded(page.next_key, encoding)), ("NextVersionIdMarker", last)]
    for entry in page.entries:
        found = entry.found
        head: list[tuple[str, xml.Tree]] = [
            ("Key", encoded(found.key, encoding)),
            ("VersionId", version_id(found)),
            ("IsLatest", str(found.latest).lower()),
            ("LastModified", iso_date(found.modified)),
        ]
        if found.marker:
            content.append(("DeleteMarker", [*head, ("Owner", OWNER)]))
        else:
            more: list[tuple[str, xml.Tree]] = [
                ("ETag", quoted(found.etag)),
                ("Size", found.size),
                ("StorageClass", found.storage_class),
            ]
            content.append(("Version", [*head, *more, ("Owner", OWNER)]))
    content += [("CommonPrefixes", [("Prefix", encoded(group, encoding))]) for group in page.common_prefixes]
    return xml_response("ListVersionsResult", content)
