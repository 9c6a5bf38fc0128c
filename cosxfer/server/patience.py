"""Timeouts for HTTP/2 clients that keep the server waiting, because granian has none.

A client may pause for a limited time inside the body of a request or response. A connection without a running request
is closed after a while, no matter what arrives on it: endless heads, pings or settings.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from cosxfer.server.http1 import App

PAUSE_SECONDS = 120.0
"""How long a client may send nothing of a request's body, or read nothing of a response's."""
IDLE_SECONDS = 120.0
"""How long a connection may be without a running request."""

SWEEP_SECONDS = 1.0
"""Time between two checks of the timeouts."""

Address = tuple[str, int]


class Patience:
    """An application whose requests and connections end if the client keeps them waiting for too long."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._requests: set[_Request] = set()
        self._connections: dict[Address, _Connection] = {}
        self._swept = False

    async def __call__(self, scope: Mapping[str, Any], receive: App, send: App) -> None:
        connection = self._connections.get(tuple(scope.get("client") or ()))
        request = _Request(receive, send)
        self._requests.add(request)
        if connection is not None:
            connection.under_way += 1
        self._sweep_later()
        try:
            await self._app(scope, request.receive, request.send)
        except asyncio.CancelledError:
            if not request.took_too_long():
                raise
        finally:
            self._requests.discard(request)
            if connection is not None:
                connection.under_way -= 1
                connection.since = time.monotonic()

    def watch(self, address: Address, cut: Callable[[], object]) -> Callable[[], None]:
        """Call ``cut`` when the connection of the client at ``address`` has been idle for too long.

        Returns a function that ends the watch. Both are for the event loop's thread.
        """
        connection = self._connections[address] = _Connection(cut)
        self._sweep_later()

        def forget() -> None:
            if self._connections.get(address) is connection:
                del self._connections[address]

        return forget

    def _sweep_later(self) -> None:
        # A timer for each read of a body would cost more than the read.
        if not self._swept:
            self._swept = True
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        now = time.monotonic()
        for request in self._requests:
            request.check(now)
        for connection in self._connections.values():
            connection.check(now)
        self._swept = False
        if self._requests or self._connections:
            self._sweep_later()


class _Request:
    """A running request, and since when it waits for its client."""

    __slots__ = ("_receive", "_send", "_since", "_task", "_too_long")

    def __init__(self, receive: App, send: App) -> None:
        self._receive: Callable[[], Awaitable[Any]] = receive
        self._send = send
        self._since = 0.0
        self._too_long = False
        self._task = asyncio.current_task()

    async def receive(self) -> Any:
        self._since = time.monotonic()
        try:
            return await self._receive()
        finally:
            self._since = 0.0

    async def send(self, message: Mapping[str, Any]) -> None:
        self._since = time.monotonic()
        try:
            await self._send(message)
        finally:
            self._since = 0.0

    def check(self, now: float) -> None:
        """Cancel the request if its client pauses for too long."""
        if self._since and now - self._since >= PAUSE_SECONDS and not self._too_long and self._task is not None:
            self._too_long = True
            self._task.cancel()

    def took_too_long(self) -> bool:
        """Whether this watch cancelled the request. Forgets the cancellation."""
        return self._too_long and self._task is not None and self._task.uncancel() == 0


class _Connection:
    """A connection, and since when it has no running request."""

    __slots__ = ("_cut", "since", "under_way")

    def __init__(self, cut: Callable[[], object]) -> None:
        self._cut = cut
        self.since = time.monotonic()
        self.under_way = 0

    def check(self, now: float) -> None:
        """Cut the connection if it is idle for too long."""
        if not self.under_way and now - self.since >= IDLE_SECONDS:
            self._cut()
