"""A request of the native transport that an asyncio task waits for."""

from __future__ import annotations

import asyncio

from cosxfer.cos.requests import HttpRequest
from cosxfer.transport.native_origin import Origin, WireSlot


class Call:
    """One request on one connection: the owner of an exchange, which the I/O thread's events refer to."""

    __slots__ = ("ended", "failure", "origin", "over", "request", "room", "sent", "slot")

    def __init__(self, request: HttpRequest, origin: Origin, slot: WireSlot, ended: asyncio.Future[None]) -> None:
        self.request = request
        self.origin = origin
        self.slot = slot
        self.ended = ended
        self.sent = 0
        self.failure: BaseException | None = None
        self.room: asyncio.Event | None = None
        """Set when `feed` may read more of the body."""
        self.over: asyncio.Future[None] | None = None
        """Done when the I/O thread writes to the request's sink no more."""
