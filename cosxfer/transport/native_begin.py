"""Sending a request with the native transport by callbacks: without an asyncio task, for many small requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from cosxfer._native import wire
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import CosxferError
from cosxfer.records import from_fields
from cosxfer.transport.base import MAX_RESPONSE_BYTES
from cosxfer.transport.native_body import check_length, take_received
from cosxfer.transport.native_head import head_of
from cosxfer.transport.native_origin import Origin, WireSlot

Outcome: TypeAlias = "HttpResponse | Exception | None"
"""A response; why there is none (a `CosxferError`, or what ``on_sent`` raised); or None if the server has not acted."""


class Quiet:
    """The I/O threads that sleep although there are requests for them. They are woken once in a turn of the event loop.

    Each waking is a system call, which costs as much as all other steps of a small request.
    """

    def __init__(self) -> None:
        self._asleep: set[wire.IoThread] = set()

    def add(self, io_thread: wire.IoThread) -> None:
        """It has a request. On the event loop."""
        if not self._asleep:
            asyncio.get_running_loop().call_soon(self._announce)
        self._asleep.add(io_thread)

    def _announce(self) -> None:
        while self._asleep:
            self._asleep.pop().announce()


class _WireResponse(HttpResponse):
    """A response whose headers are made when they are read: most of those to small uploads are only checked."""

    def __getattr__(self, name: str) -> Any:
        if name != "headers":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        headers = self.__dict__["headers"] = self.__dict__["exchange"].headers
        return headers

    def header(self, name: str) -> str:
        value: str = self.__dict__["exchange"].header(name)
        return value

    def proves(self, crc64: int, md5: bytes) -> bool:
        proves: bool = self.__dict__["exchange"].proves(crc64, md5)
        return proves

    def packed_headers(self) -> bytes:
        fields: bytes = self.__dict__["exchange"].fields
        return fields


def _response_of(exchange: wire.Exchange) -> HttpResponse:
    fields = {
        "status": exchange.status,
        "exchange": exchange,
        "body": exchange.body,
        "http_version": "HTTP/2" if exchange.http2 else "HTTP/1.1",
        "connection_seconds": 0.0,
    }
    return from_fields(_WireResponse, fields)


def outcome_of(
    exchange: wire.Exchange, request: HttpRequest, *, failed: Callable[[wire.Exchange, HttpRequest], CosxferError]
) -> Outcome:
    """Return the outcome of an exchange that has ended. ``failed`` returns its error."""
    if exchange.result in (wire.OK, wire.UNWANTED):
        return _response_of(exchange)
    return None if exchange.result in (wire.UNSENT, wire.NEEDS_H1) else failed(exchange, request)


def proven(exchange: wire.Exchange, crc64: int, md5: bytes) -> HttpResponse | None:
    """Return the response if there is one that proves the content, by the rules of `HttpResponse.proves`."""
    return _response_of(exchange) if exchange.result == wire.OK and exchange.proves(crc64, md5) else None


class BegunCall:
    """A request on one connection. The transport takes it for the owner of the exchange, and for the future of its end.

    ``then`` is called once, on the event loop, when the I/O thread no longer writes to the sink.
    """

    __slots__ = ("_exchange", "_failed", "_then", "failure", "origin", "request", "sent", "slot")

    room = None
    over = None

    def __init__(
        self,
        request: HttpRequest,
        origin: Origin,
        slot: WireSlot,
        quiet: Quiet,
        *,
        failed: Callable[[wire.Exchange, HttpRequest], CosxferError],
        then: Callable[[Outcome], None],
    ) -> None:
        """Submit the request. ``failed`` returns its error. Raises ValueError if the I/O thread has stopped."""
        self._failed = failed
        self._then: Callable[[Outcome], None] | None = then
        self.request = request
        self.origin = origin
        self.slot = slot
        self.sent = 0
        self.failure: BaseException | None = None
        io_thread = slot.connection.io_thread
        assert io_thread is not None
        sink, head = request.sink, request.head or head_of(request)
        self._exchange: wire.Exchange | None
        if sink is None:
            body = request.body
            assert isinstance(body, bytes | memoryview), "the body has no address"
            check_length(request, len(body))
            self._exchange = io_thread.store(
                slot.connection,
                head,
                body,
                request.stall_timeout_seconds,
                MAX_RESPONSE_BYTES,
                request.on_sent is not None,
                self,
            )
        else:
            assert sink.memory is not None
            self._exchange = io_thread.fetch(
                slot.connection,
                head,
                sink.memory,
                sink.length,
                request.stall_timeout_seconds,
                MAX_RESPONSE_BYTES,
                self,
            )
        quiet.add(io_thread)

    def cancel(self) -> None:
        """End the request. ``then`` is called all the same."""
        io_thread = self.slot.connection.io_thread
        if io_thread is not None and self._exchange is not None:
            io_thread.cancel(self._exchange)

    # -- what the transport asks of a future ------------------------------------------------------------------------

    @property
    def ended(self) -> BegunCall:
        """The object that gets `set_result` at the end: this one."""
        return self

    def done(self) -> bool:
        """Whether ``then`` was called."""
        return self._then is None

    def set_result(self, _: None) -> None:
        """The request has ended, or a callback has failed. The I/O thread may still write then."""
        exchange, request, then = self._exchange, self.request, self._then
        if exchange is None or then is None or not exchange.done:
            return
        self._exchange = self._then = None  # no cycle
        if request.sink is not None:
            take_received(exchange, request.sink)
        result = exchange.result
        if result != wire.OK:
            self._take_back()
        elif request.on_sent is not None and exchange.received > self.sent:
            try:
                request.on_sent(exchange.received - self.sent)
            except Exception as error:
                then(error)
                return
        then(outcome_of(exchange, request, failed=self._failed))

    def _take_back(self) -> None:
        """Take back the progress that was reported, because the bytes must be sent again."""
        sent, self.sent = self.sent, 0
        if sent and self.request.on_sent is not None:
            self.request.on_sent(-sent)
