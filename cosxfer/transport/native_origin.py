"""One server of the native transport: its connections and the requests that wait for one."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import replace
from typing import TypeAlias

from cosxfer._native import wire
from cosxfer.config import ClientConfig
from cosxfer.cos.endpoint import Endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.errors import TransportError, TransportTimeoutError
from cosxfer.transport.base import copy_of
from cosxfer.transport.native_connect import Target
from cosxfer.transport.native_pool import ConnectionLimits, OriginPool, Slot
from cosxfer.transport.tls import preferred_suites

WireSlot: TypeAlias = "Slot[wire.Connection]"


class Origin:
    """One scheme, host and port."""

    def __init__(
        self, endpoint: Endpoint, config: ClientConfig, context: ssl.SSLContext | None, limits: ConnectionLimits
    ) -> None:
        version = config.http_version
        self.target = Target(
            host=endpoint.host,
            port=endpoint.port,
            context=context,
            protocols={"1.1": ("http/1.1",), "2": ("h2",)}.get(
                version, ("http/1.1",) if context is None else ("h2", "http/1.1")
            ),
            # A caller's context is used as it is.
            suites="" if context is None or context is config.verify else preferred_suites(context),
        )
        known = {"1.1": False, "2": True}.get(version, False if context is None else None)
        self.pool: OriginPool[wire.Connection] = OriginPool(http2=known, limits=limits)
        self.waiting: deque[asyncio.Future[WireSlot]] = deque()
        self.moves = 0
        """Counts the events that show progress of its requests."""
        self.refusal: TransportError | None = None
        """Why the last connection failed that was not made because others work. None after a success."""
        self.round_trip_seconds = 0.0
        """The shortest one of TCP; 0: none was measured."""

    def note_round_trip(self, seconds: float) -> None:
        """A connection measured this round trip; 0: none."""
        if seconds:
            self.round_trip_seconds = min(seconds, self.round_trip_seconds or seconds)

    def only_http1(self) -> None:
        """Use HTTP/1.1 from now on, because the server requires it."""
        self.target = replace(self.target, protocols=("http/1.1",))
        self.pool.http2 = False
        for slot in self.pool.slots:
            if slot.http2:
                slot.usable = False


class Patience:
    """Ends the wait for a connection after a timeout, unless a request or a new connection may still end it.

    If the server refuses more connections, requests must make progress meanwhile: the body of one of them may itself
    wait for the request that has no connection.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, origin: Origin, turn: asyncio.Future[WireSlot], request: HttpRequest
    ) -> None:
        self._loop = loop
        self._origin = origin
        self._turn = turn
        self._seconds = request.stall_timeout_seconds
        self._moves = origin.moves
        self._timer = loop.call_later(self._seconds, self._out)

    def _out(self) -> None:
        origin = self._origin
        moved, self._moves = origin.moves != self._moves, origin.moves
        if origin.pool.is_alive() and (moved or origin.refusal is None):
            self._timer = self._loop.call_later(self._seconds, self._out)
        elif not self._turn.done():
            origin.waiting.remove(self._turn)
            silent = TransportTimeoutError(f"{origin.target.where} takes no requests for {self._seconds:g} s")
            self._turn.set_exception(silent if origin.refusal is None else copy_of(origin.refusal))

    def end(self) -> None:
        self._timer.cancel()
