"""PUT Object (source: product page 436/7749)."""

from __future__ import annotations

from cosxfer.limits import MAX_PUT_BYTES
from cosxfer.server import checks, encryption, versions
from cosxfer.server.call import CRC64_HEADER, Call, quoted
from cosxfer.server.http import Response


async def put_object(call: Call) -> Response:
    request = call.request
    checks.refuse_conditions(request.headers)
    checks.put_length(request)
    checks.content_md5(request.headers)
    storage_class = checks.storage_class(request.headers)
    headers = call.object_headers(request.headers)
    call.check_overwrite(request.headers)
    with call.new_blob(call.key) as writer:
        await call.receive(writer, limit=MAX_PUT_BYTES)
        call.check_overwrite(request.headers)  # again: another request may have been faster
        etag = encryption.etag_of(writer.md5, headers)
        version = call.store.put(
            bucket=call.bucket, key=call.key, writer=writer, etag=etag, storage_class=storage_class, headers=headers
        )
    return Response(
        headers={
            "etag": quoted(etag),
            CRC64_HEADER: str(writer.crc64),
            **encryption.response_headers(headers),
            **versions.headers(call, version),
        },
    )
