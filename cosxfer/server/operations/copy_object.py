"""PUT Object - Copy (source: product page 436/10881)."""

from __future__ import annotations

from cosxfer.cos import xml
from cosxfer.cos.header_values import META_PREFIX
from cosxfer.limits import MAX_PUT_BYTES
from cosxfer.server import checks, copying, encryption, tags, versions
from cosxfer.server.call import Call, iso_date, quoted
from cosxfer.server.http import CosError, Response, xml_response


async def copy_object(call: Call) -> Response:
    """Copy an object. Class, ACL and encryption are those of the request, never those of the source."""
    request = call.request
    checks.refuse_conditions(request.headers)
    found, named = copying.source_of(call)
    storage_class = checks.storage_class(request.headers)
    if found.size > MAX_PUT_BYTES and storage_class != found.storage_class:
        raise CosError("MethodNotAllowed", "The source is larger than 5 GB; use Upload Part - Copy.")
    own = call.object_headers(request.headers)
    replaced = copying.is_replaced(call, "x-cos-metadata-directive")
    if not replaced and not named and (found.bucket, found.key) == (call.bucket, call.key):
        raise CosError("InvalidRequest", "A copy of an object onto itself needs x-cos-metadata-directive: Replaced.")
    described = own if replaced else found.headers
    tagged = own if copying.is_replaced(call, "x-cos-tagging-directive") else found.headers
    headers = {
        **{name: value for name, value in described.items() if _describes(name)},
        **{name: value for name, value in own.items() if not _describes(name) and name != tags.TAGGING},
        **{name: value for name, value in tagged.items() if name == tags.TAGGING},
    }
    call.check_overwrite(request.headers)
    etag = encryption.copied_etag(found.etag, headers)
    version = call.store.copy(
        found, bucket=call.bucket, key=call.key, etag=etag, storage_class=storage_class, headers=headers
    )
    named_version = versions.headers(call, version)
    content: list[tuple[str, xml.Tree]] = [
        ("ETag", quoted(etag)),
        *([] if found.crc64 is None else [("CRC64", str(found.crc64))]),
        ("LastModified", f"{iso_date(request.now)[:-5]}Z"),
        *[("VersionId", value) for value in named_version.values()],
    ]
    response = xml_response("CopyObjectResult", content)
    response.headers |= named | named_version | encryption.response_headers(headers)
    return response


def _describes(name: str) -> bool:
    """Whether the header is metadata, which the metadata directive is about."""
    return name in checks.STORED_HEADERS or name.startswith(META_PREFIX)
