"""The first request of a download: it tells what the object is, and brings all of it if that is short."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cosxfer.address import ObjectAddress
from cosxfer.cos import responses
from cosxfer.cos.responses import HttpResponse, malformed
from cosxfer.cos.sink import BodySink
from cosxfer.engine.download.options import DownloadSettings
from cosxfer.engine.download.state import ObjectVersion
from cosxfer.engine.limiter import Share
from cosxfer.errors import ProtocolError, ServerError
from cosxfer.foreign import shorten
from cosxfer.limits import MIB
from cosxfer.models import HeadObjectResult
from cosxfer.ops.attempt import Attempt
from cosxfer.ops.get_range import get_range
from cosxfer.ops.head_object import fields_of
from cosxfer.ops.session import Session
from cosxfer.records import dataclass

FIRST_BYTES = 1 * MIB
"""An object of up to this many bytes is one request. It is also the smallest part size."""

KEPT = 32
"""Blocks of memory that are kept for the next download. More requests are in flight on fast lines."""


class FirstBlocks:
    """Memory for first requests, used from one event loop. It takes pages only where something is written."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    @contextmanager
    def block(self, taken: memoryview | None = None) -> Iterator[memoryview]:
        """Lend `FIRST_BYTES` of memory, or what was ``taken``."""
        view = self.take() if taken is None else taken
        try:
            yield view
        finally:
            self.give_back(view)

    def take(self) -> memoryview:
        """Take `FIRST_BYTES` of memory. `give_back` follows; memory that nobody holds any more is freed."""
        return self._free.pop() if self._free else memoryview(mmap.mmap(-1, FIRST_BYTES))

    def give_back(self, view: memoryview) -> None:
        """Nothing writes to the memory, or reads it, any more."""
        if len(self._free) < KEPT:
            self._free.append(view)


@dataclass(frozen=True, kw_only=True)
class FirstResponse:
    """The version of the object, and how much of its beginning is in memory."""

    version: ObjectVersion
    received: int
    crc64: int
    """Of the received bytes."""


async def fetch_first(
    session: Session,
    address: ObjectAddress,
    memory: memoryview,
    *,
    settings: DownloadSettings,
    slot: Share,
    on_received: Callable[[int], None] | None,
    tried: Attempt | None = None,
) -> FirstResponse:
    """Fetch up to `FIRST_BYTES` from the beginning of the object. ``tried`` is a failed attempt at that."""
    sink = BodySink(length=FIRST_BYTES, shorter=True, memory=memory)
    await slot.acquire(FIRST_BYTES, FIRST_BYTES)
    try:
        response = await _get(session, address, sink, settings, on_received, tried)
    finally:
        slot.release(FIRST_BYTES, FIRST_BYTES)
    return first_response(address, sink, response)


def first_response(address: ObjectAddress, sink: BodySink, response: HttpResponse) -> FirstResponse:
    """Return what the response says of the object; its content is in the sink. Raises `ProtocolError`."""
    fields = first_fields(address, sink, response)
    head, size = HeadObjectResult(**fields), fields["size"]
    if size > FIRST_BYTES and not head.etag:
        raise malformed(_operation(address), "it has no ETag")
    version = ObjectVersion(head=head, etag=head.etag, size=size, crc64=head.crc64)
    return FirstResponse(version=version, received=sink.received, crc64=sink.crc64)


def first_fields(address: ObjectAddress, sink: BodySink, response: HttpResponse) -> dict[str, Any]:
    """Return the fields of `HeadObjectResult`, with the size of the whole object. Raises `ProtocolError`."""
    headers = response.headers
    total = headers.get("content-range", "").rpartition("/")[2] or headers.get("content-length", "")
    if not (total.isascii() and total.isdigit()):  # the sink has checked the form of the headers
        raise malformed(_operation(address), "it does not say how long the object is")
    size = int(total)
    if sink.received < min(size, FIRST_BYTES):
        raise malformed(_operation(address), f"it has {sink.received} bytes of an object of {size}")
    try:
        crc64 = responses.crc64(response, operation="GET Object")
    except ProtocolError:
        crc64 = responses.crc64(response, operation=_operation(address))  # it raises again, with the name of the object
    return fields_of(response, size=size, crc64=crc64)


def _operation(address: ObjectAddress) -> str:
    return f"GET Object {shorten(address.key)}"


async def _get(
    session: Session,
    address: ObjectAddress,
    sink: BodySink,
    settings: DownloadSettings,
    on_received: Callable[[int], None] | None,
    tried: Attempt | None,
) -> HttpResponse:
    try:
        return await get_range(
            session,
            address,
            sink,
            version_id=settings.version_id,
            headers=settings.headers,
            on_received=on_received,
            tried=tried,
        )
    except ServerError as error:
        if error.status != 416:
            raise
    # An empty object has no first byte, so a server may refuse every range of it.
    sink.ranged = False
    return await get_range(session, address, sink, version_id=settings.version_id, headers=settings.headers)
