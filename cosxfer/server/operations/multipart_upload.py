"""Upload Part (source: product page 436/7750)."""

from __future__ import annotations

from cosxfer.limits import MAX_PART_BYTES
from cosxfer.server import checks, encryption
from cosxfer.server.call import CRC64_HEADER, Call, quoted
from cosxfer.server.http import Response


async def multipart_upload(call: Call) -> Response:
    number = checks.part_number(call.request.query)
    checks.part_length(call.request)
    checks.content_md5(call.request.headers)
    headers = call.upload().headers
    encryption.check_part(call.request.headers, headers, scheme=call.request.scheme)
    with call.new_blob(f"{call.key}.part{number}") as writer:
        await call.receive(writer, limit=MAX_PART_BYTES)
        # Look it up again: the upload may have been aborted or completed while this body arrived.
        etag = encryption.etag_of(writer.md5, headers)
        call.store.put_part(call.upload(), number=number, writer=writer, etag=etag)
    return Response(
        headers={"etag": quoted(etag), CRC64_HEADER: str(writer.crc64), **encryption.response_headers(headers)},
    )
