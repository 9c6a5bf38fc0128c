"""Upload Part (source: product page 436/7750)."""

from __future__ import annotations

from cosxfer.limits import MAX_PART_BYTES
from cosxfer.server import checks
from cosxfer.server.call import CRC64_HEADER, Call, quoted
from cosxfer.server.http import Response


async def multipart_upload(call: Call) -> Response:
    number = checks.part_number(call.request.query)
    checks.part_length(call.request)
    checks.content_md5(call.request.headers)
    call.upload()
    with call.new_blob(f"{call.key}.part{number}") as writer:
        await call.receive(writer, limit=MAX_PART_BYTES)
        # Looked up again: the upload may have been aborted or completed while this body arrived.
        call.store.put_part(call.upload(), number=number, writer=writer)
    return Response(headers={"etag": quoted(writer.md5.hex()), CRC64_HEADER: str(writer.crc64)})
