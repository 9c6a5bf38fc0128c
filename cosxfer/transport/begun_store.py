"""A request of many that store a body in memory and differ in head and body alone. It needs no native code itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosxfer.transport.base import MAX_RESPONSE_BYTES

if TYPE_CHECKING:
    from cosxfer._native import wire
    from cosxfer.transport.native_origin import Origin, WireSlot


class BegunStore:
    """Such a request on one connection. The native transport takes it for the owner of the exchange.

    It has no `HttpRequest`, because that costs as much as sending it. A subclass says what follows.
    """

    __slots__ = ("exchange", "failure", "origin", "slot")

    room = None
    over = None

    exchange: wire.Exchange
    """A subclass deletes it at the end, so that no cycle is left."""
    origin: Origin
    slot: WireSlot

    def submit(self, origin: Origin, slot: WireSlot, head: bytes, body: bytes, stall_seconds: float) -> wire.IoThread:
        """Send it, and return the I/O thread that does. For the transport."""
        connection = slot.connection
        io_thread = connection.io_thread
        assert io_thread is not None
        self.origin, self.slot = origin, slot
        self.exchange = io_thread.store(connection, head, body, stall_seconds, MAX_RESPONSE_BYTES, False, self)
        return io_thread

    def cancel(self) -> None:
        """End the request. `has_ended` is called all the same."""
        io_thread = self.slot.connection.io_thread
        if io_thread is not None:
            io_thread.cancel(self.exchange)

    def has_ended(self, exchange: wire.Exchange) -> None:
        """The request has ended. On the event loop."""
        raise NotImplementedError
