"""PUT Object (source: product page 436/7749)."""

from __future__ import annotations

from cosxfer.limits import MAX_PUT_BYTES
from cosxfer.server import checks
from cosxfer.server.call import CRC64_HEADER, Call, quoted
from cosxfer.server.http import Response


async def put_object(call: Call) -> Response:
    request = call.request
    checks.put_length(request)
    checks.content_md5(request.headers)
    storage_class = checks.storage_class(request.headers)
    headers = checks.stored_headers(request.headers)
    with call.new_blob(call.key) as writer:
        await call.receive(writer, limit=MAX_PUT_BYTES)
        call.store.put(bucket=call.bucket, key=call.key, writer=writer, storage_class=storage_class, headers=headers)
    answer = {"etag": quoted(writer.md5.hex()), CRC64_HEADER: str(writer.crc64)}
    if "x-cos-server-side-encryption" in headers:
        answer["x-cos-server-side-encryption"] = headers["x-cos-server-side-encryption"]
    return Response(headers=answer)
