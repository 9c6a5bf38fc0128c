"""GET Object straight from the socket into memory of the caller (source: product page 436/7753)."""

from __future__ import annotations

from collections.abc import Mapping

from cosxfer.address import ObjectAddress
from cosxfer.arguments import check_text, wrong_type
from cosxfer.cos.requests import Buffer, CosRequest
from cosxfer.cos.responses import HttpResponse, malformed
from cosxfer.cos.sink import BodySink
from cosxfer.errors import IntegrityError, UsageError
from cosxfer.foreign import shorten
from cosxfer.models import GetObjectIntoResult
from cosxfer.ops.get_object import range_header
from cosxfer.ops.head_object import object_fields
from cosxfer.ops.session import Session


async def get_into(
    session: Session,
    address: ObjectAddress,
    into: Buffer,
    *,
    byte_range: tuple[int, int] | None = None,
    version_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
) -> GetObjectIntoResult:
    """Fetch an object, or a range of it, into the beginning of ``into``. Raises `UsageError` if it is too small.

    If the call fails, ``into`` holds any part of the content.
    """
    check_text(version_id, "version_id")
    operation = f"GET Object {shorten(address.key)}"
    with _writable(into) as memory:
        ranged = {} if byte_range is None else {"range": range_header(byte_range)}
        sink = _sink(memory, byte_range)

        def check(response: HttpResponse) -> None:
            if not sink.accepted:
                _check_size(response, len(memory))
                found = response.headers.get("content-range") or "no Content-Range"
                raise malformed(operation, f"it is {response.status} with {shorten(found)}, not what was requested")
            expected = object_fields(response, operation=operation)["crc64"]
            if response.status == 200 and expected is not None and sink.crc64 != expected:
                raise IntegrityError(
                    f"{operation}: checksum mismatch: server CRC64 {expected}, local {sink.crc64}",
                    expected=expected,
                    actual=sink.crc64,
                    retryable=True,
                )

        response = await session.call(
            CosRequest(
                method="GET",
                operation=operation,
                address=address,
                params={**(params or {}), **({} if version_id is None else {"versionId": version_id})},
                headers={**(headers or {}), **ranged},
                sink=sink,
                on_attempt=sink.restart,
                check=check,
            )
        )
        fields = object_fields(response, operation=operation)
        return GetObjectIntoResult(
            **{**fields, "size": sink.received},
            content_range=response.headers.get("content-range"),
            verified=response.status == 200 and fields["crc64"] is not None,
        )


def _writable(into: Buffer) -> memoryview:
    """Return a view of the bytes of ``into``. Raises `UsageError`."""
    try:
        view = memoryview(into)
    except TypeError:
        raise wrong_type("into", into, "a writable buffer, such as a bytearray or a NumPy array") from None
    if view.readonly or not view.c_contiguous or "O" in view.format:
        why = "read-only" if view.readonly else "a view of Python objects" if view.c_contiguous else "not contiguous"
        raise UsageError(f"into is {why}; give a writable, contiguous buffer", name="into", value=type(into).__name__)
    return view.cast("B") if view.nbytes else memoryview(bytearray())


def _sink(memory: memoryview, byte_range: tuple[int, int] | None) -> BodySink:
    if byte_range is None:
        return BodySink(length=len(memory), ranged=False, shorter=True, memory=memory)
    first, last = byte_range
    if last - first + 1 > len(memory):
        raise UsageError(
            f"byte_range has {last - first + 1} bytes, but into has {len(memory)}; give a larger buffer", name="into"
        )
    return BodySink(first=first, length=last - first + 1, shorter=True, memory=memory)


def _check_size(response: HttpResponse, room: int) -> None:
    announced = response.headers.get("content-length", "")
    if response.status == 200 and announced.isascii() and announced.isdigit() and int(announced) > room:
        raise UsageError(f"the object has {announced} bytes, but into has {room}; give a larger buffer", name="into")
