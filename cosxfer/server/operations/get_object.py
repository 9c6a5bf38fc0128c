"""GET Object and HEAD Object (source: product pages 436/7753, 7745)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from cosxfer.limits import KIB, MIB
from cosxfer.server import access, checks, encryption, restoring, tags, versions
from cosxfer.server.call import CRC64_HEADER, Call, http_date, quoted
from cosxfer.server.http import CosError, Response
from cosxfer.server.store import StoredObject
from cosxfer.server.store.files import read_blob
from cosxfer.threads import finished

_CHUNK_BYTES = 1 * MIB
_CHUNK_BYTES_HTTP2 = 128 * KIB
"""Over HTTP/2 granian keeps about ten pieces of each response that its client does not take."""
_OVERRIDES = "response-"
"""Query parameters such as ``response-content-type`` replace the stored header."""


_HIDDEN = frozenset({access.ACL, access.GRANTS, tags.TAGGING, restoring.RESTORE})
"""What is stored with the headers of an object, but returned in other forms."""


async def head_object(call: Call) -> Response:
    found = _find(call)
    status = checks.precondition_status(call.request.headers, etag=found.etag, modified=found.modified)
    if status != 200:
        return _unmet(status, found)
    return Response(headers=_headers(call, found), content_length=found.size)


async def get_object(call: Call) -> Response:
    found = _find(call)
    status = checks.precondition_status(call.request.headers, etag=found.etag, modified=found.modified)
    if status != 200:
        return _unmet(status, found)
    restoring.check_readable(found, call.request.now)
    wanted = checks.byte_range(call.request.headers, found.size)
    headers = _headers(call, found)
    start, end = wanted or (0, found.size)
    if wanted is not None:
        headers["content-range"] = f"bytes {start}-{end - 1}/{found.size}"
    return Response(
        status=200 if wanted is None else 206,
        headers=headers,
        body=_send(call, found, start, end),
        content_length=end - start,
    )


def _find(call: Call) -> StoredObject:
    found = versions.requested(call)
    encryption.check_reading(call.request.headers, found.headers, scheme=call.request.scheme)
    return found


def _unmet(status: int, found: StoredObject) -> Response:
    if status == 412:
        raise CosError("PreconditionFailed", "A precondition of the request does not hold.")
    return Response(status=status, headers={"etag": quoted(found.etag), "last-modified": http_date(found.modified)})


def _headers(call: Call, found: StoredObject) -> dict[str, str]:
    headers = {
        "content-type": "application/octet-stream",
        **{name: value for name, value in found.headers.items() if name not in _HIDDEN},
        "etag": quoted(found.etag),
        "last-modified": http_date(found.modified),
        "accept-ranges": "bytes",
        "x-cos-object-type": found.object_type,
    }
    if found.object_type == "appendable":
        headers["x-cos-next-append-position"] = str(found.size)
    if found.crc64 is not None:
        headers[CRC64_HEADER] = str(found.crc64)
    if found.storage_class != "STANDARD":
        headers["x-cos-storage-class"] = found.storage_class
    headers |= versions.headers(call, found.version) | tags.count_header(found.headers)
    headers |= restoring.headers(found.headers, call.request.now)
    for name in checks.STORED_HEADERS:
        if (value := call.request.query.get(_OVERRIDES + name)) is not None:
            checks.check_header(name, value)
            headers[name] = value
    return headers


async def _send(call: Call, found: StoredObject, start: int, end: int) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    chunk_bytes = _CHUNK_BYTES_HTTP2 if call.request.http_version == "2" else _CHUNK_BYTES
    with call.store.reading(found) as segments:
        for path, offset, size in pieces_between(segments, start, end):
            chunks = read_blob(path, offset=offset, size=size, chunk_bytes=chunk_bytes)
            try:
                while chunk := await finished(loop.run_in_executor(call.executor, next, chunks, b"")):
                    yield chunk
            finally:
                chunks.close()


def pieces_between(segments: Sequence[tuple[Path, int]], start: int, end: int) -> list[tuple[Path, int, int]]:
    """Return file, offset and size of each piece between ``start`` and ``end`` of the object."""
    pieces = []
    position = 0
    for path, size in segments:
        first, last = max(start, position), min(end, position + size)
        if first < last:
            pieces.append((path, first - position, last - first))
        position += size
    return pieces
