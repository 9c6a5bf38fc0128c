"""Upload Part - Copy (source: product page 436/8287)."""

from __future__ import annotations

import asyncio

from cosxfer.limits import MAX_PART_BYTES, MIB
from cosxfer.server import checks, copying, encryption
from cosxfer.server.call import Call, iso_date, quoted
from cosxfer.server.http import Response, xml_response
from cosxfer.server.operations.get_object import pieces_between
from cosxfer.server.store import BlobWriter, StoredObject
from cosxfer.server.store.files import read_blob
from cosxfer.threads import finished


async def upload_part_copy(call: Call) -> Response:
    number = checks.part_number(call.request.query)
    headers = call.upload().headers
    encryption.check_part(call.request.headers, headers, scheme=call.request.scheme)
    found, named = copying.source_of(call)
    start, end = copying.part_range(call, found.size)
    checks.check_size(end - start, limit=MAX_PART_BYTES)
    with call.new_blob(f"{call.key}.part{number}") as writer:
        await _copy(call, found, start, end, writer)
        etag = encryption.etag_of(writer.md5, headers)
        # Look it up again: the upload may have been aborted or completed meanwhile.
        call.store.put_part(call.upload(), number=number, writer=writer, etag=etag)
    response = xml_response(
        "CopyPartResult", [("ETag", quoted(etag)), ("LastModified", iso_date(call.request.now)[:-5])]
    )
    response.headers |= named | encryption.response_headers(headers)
    return response


async def _copy(call: Call, found: StoredObject, start: int, end: int, writer: BlobWriter) -> None:
    """Write the bytes of the source in a thread."""
    loop = asyncio.get_running_loop()
    with call.store.reading(found) as segments:
        for path, offset, size in pieces_between(segments, start, end):
            chunks = read_blob(path, offset=offset, size=size, chunk_bytes=MIB)
            try:
                while chunk := await finished(loop.run_in_executor(call.executor, next, chunks, b"")):
                    await finished(loop.run_in_executor(call.executor, writer.write, [chunk]))
            finally:
                chunks.close()
