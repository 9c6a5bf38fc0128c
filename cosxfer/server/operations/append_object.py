"""APPEND Object (source: product page 436/7741)."""

from __future__ import annotations

from cosxfer.limits import GIB, MAX_PUT_BYTES
from cosxfer.server import access, checks, encryption
from cosxfer.server.call import CRC64_HEADER, Call, quoted
from cosxfer.server.http import CosError, Response
from cosxfer.server.store import StoredObject


async def append_object(call: Call) -> Response:
    request = call.request
    position = checks.append_position(request.query)
    length = checks.put_length(request)
    checks.content_md5(request.headers)
    encryption.refuse_any(request.headers)
    storage_class = checks.storage_class(request.headers)
    headers = checks.stored_headers(request.headers) | access.given(request.headers)
    _check(call.store.object(call.bucket, call.key), position, length or 0)
    with call.new_blob(call.key) as writer:
        await call.receive(writer, limit=MAX_PUT_BYTES)
        # Look it up again: another append may have finished while this body arrived.
        found = call.store.object(call.bucket, call.key)
        _check(found, position, writer.size)
        etag, crc64 = call.store.append(
            bucket=call.bucket, key=call.key, writer=writer, to=found, storage_class=storage_class, headers=headers
        )
    return Response(
        headers={
            "etag": quoted(etag),
            CRC64_HEADER: str(crc64),
            "x-cos-next-append-position": str(position + writer.size),
        }
    )


def _check(found: StoredObject | None, position: int, length: int) -> None:
    if found is not None and found.object_type != "appendable":
        raise CosError("ObjectNotAppendable", "The object is not appendable.")
    size = 0 if found is None else found.size
    if position != size:
        raise CosError(
            "AppendPositionErr",
            f"The position {position} is not the object's size, {size}.",
            headers={"x-cos-next-append-position": str(size)},
        )
    if size + length > MAX_PUT_BYTES:
        raise CosError("EntityTooLarge", f"An appendable object is at most {MAX_PUT_BYTES // GIB} GiB large.")
