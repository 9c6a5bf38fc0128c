"""ListObjectsV2, which only the S3 face has (source: the API reference of Amazon S3)."""

from __future__ import annotations

import base64
import binascii

from cosxfer.cos import xml
from cosxfer.server import checks
from cosxfer.server.call import Call, encoded
from cosxfer.server.http import CosError, Response, xml_response
from cosxfer.server.operations.list_objects import entries


async def list_objects_v2(call: Call) -> Response:
    query = call.request.query
    encoding = checks.encoding_type(query)
    prefix, delimiter, after = (query.get(name, "") for name in ("prefix", "delimiter", "start-after"))
    limit = checks.page_size(query, "max-keys")
    token = query.get("continuation-token", "")
    marker = _decoded(token) if token else after
    page = call.store.list_objects(call.bucket, prefix=prefix, delimiter=delimiter, marker=marker, limit=limit)
    content: list[tuple[str, xml.Tree]] = [
        ("Name", call.bucket),
        *([("EncodingType", encoding)] if encoding else []),
        ("Prefix", encoded(prefix, encoding)),
        *([("Delimiter", encoded(delimiter, encoding))] if delimiter else []),
        *([("StartAfter", encoded(after, encoding))] if after else []),
        *([("ContinuationToken", token)] if token else []),
        ("MaxKeys", limit),
        ("KeyCount", len(page.entries) + len(page.common_prefixes)),
        ("IsTruncated", str(page.is_truncated).lower()),
    ]
    if page.is_truncated:
        content.append(("NextContinuationToken", base64.urlsafe_b64encode(page.next_key.encode()).decode()))
    content += entries(page, encoding, with_owner=query.get("fetch-owner") == "true")
    return xml_response("ListBucketResult", content)


def _decoded(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise CosError("InvalidArgument", "The continuation token provided is incorrect.") from error
