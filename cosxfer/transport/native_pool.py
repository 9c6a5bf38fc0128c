"""Which connection a request goes to, and when another one is opened. Pure: it keeps the books, others do the I/O.

HTTP/1.1 carries one request at a time. HTTP/2 carries many, but they share one congestion window and one
flow-control window; so there are several connections with few streams each, and more where a peer's flow control holds
the bodies back (``stalled``). Only when all connections are there do streams pile up on them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

STREAMS_PER_CONNECTION = 2
HTTP2_CONNECTIONS = 8
MAX_HTTP2_CONNECTIONS = 32
HTTP1_CONNECTIONS = 512
STREAMS_BEFORE_SETTINGS = 1
"""Streams that are opened before the peer has said how many it takes."""
MAX_STREAMS = 100
IDLE_SECONDS = 30.0

C = TypeVar("C")


@dataclass(eq=False)
class Slot(Generic[C]):
    """A connection in the books."""

    connection: C
    http2: bool
    active: int = 0
    max_streams: int | None = None
    """What the peer takes; None until it has said so."""
    usable: bool = True
    """Whether it takes new requests."""
    late: bool = False
    """Whether the peer should have said by now what it takes; nobody else waits for that."""
    idle_since: float = 0.0


@dataclass(eq=False)
class OriginPool(Generic[C]):
    """The connections to one origin."""

    http2: bool | None
    """None: the first connection will tell."""
    slots: set[Slot[C]] = field(default_factory=set)
    opening: int = 0
    """Connections that are being made."""
    _idle: list[Slot[C]] = field(default_factory=list)
    _streams: int = STREAMS_PER_CONNECTION
    _connections: int = HTTP2_CONNECTIONS

    def take(self) -> Slot[C] | None:
        """A connection for one more request, booked for it; None where it has to wait."""
        while self._idle:
            slot = self._idle.pop()
            if slot.usable and not slot.active:
                slot.active = 1
                return slot
        if self.http2 is False:
            return None
        slots = [slot for slot in self.slots if slot.http2 and slot.usable and slot.active < _room(slot)]
        if not slots:
            return None
        best = min(slots, key=lambda slot: slot.active)
        if best.active >= self._streams and self._may_open():
            return None
        best.active += 1
        return best

    def give_back(self, slot: Slot[C], *, now: float, reusable: bool = True) -> None:
        """A request has ended."""
        slot.active -= 1
        slot.idle_since = now
        if not slot.http2:
            if reusable and slot.usable:
                self._idle.append(slot)
            else:
                slot.usable = False

    def to_open(self, waiting: int) -> int:
        """How many connections are to be opened for the requests that wait."""
        if self.http2 is None:
            return 0 if self.opening else min(1, waiting)
        if self.http2:
            room = self._connections - sum(slot.usable for slot in self.slots) - self.opening
            # A connection whose peer has not yet said what it takes will take some of those that wait.
            coming = sum(self._streams - slot.active for slot in self.slots if slot.usable and _is_new(slot))
            wanted = -(-(waiting - coming) // self._streams)
        else:
            room = HTTP1_CONNECTIONS - len(self.slots) - self.opening
            wanted = waiting
        return max(0, min(wanted - self.opening, room))

    def opened(self, slot: Slot[C], *, now: float) -> None:
        """A connection was made."""
        self.http2 = slot.http2
        slot.idle_since = now
        self.slots.add(slot)
        if not slot.http2:
            self._idle.append(slot)

    def closed(self, slot: Slot[C]) -> None:
        """A connection ended."""
        slot.usable = False
        self.slots.discard(slot)

    def spoke(self, slot: Slot[C], max_streams: int) -> None:
        """The peer has said how many streams it takes."""
        slot.max_streams = max_streams
        slot.late = False

    def stalled(self, slot: Slot[C]) -> None:
        """Flow control holds the bodies on a connection back: use more connections, with fewer streams each.

        Or its peer has not spoken at all: then it is this connection alone on which nobody counts.
        """
        if slot.max_streams is None:
            slot.late = True
            return
        self._streams = 1
        self._connections = min(self._connections + 2, MAX_HTTP2_CONNECTIONS)

    def expired(self, now: float) -> Iterable[Slot[C]]:
        """The connections that have been idle for too long; they take no more requests."""
        old = [slot for slot in self.slots if not slot.active and now - slot.idle_since >= IDLE_SECONDS]
        for slot in old:
            slot.usable = False
        self._idle = [slot for slot in self._idle if slot.usable]
        return old

    def is_alive(self) -> bool:
        """Whether those that wait may hope: for a connection, or for the end of a request that is under way."""
        return bool(self.opening) or any(slot.active and not slot.late for slot in self.slots)

    def _may_open(self) -> bool:
        return sum(slot.usable for slot in self.slots) + self.opening < self._connections


def _is_new(slot: Slot[C]) -> bool:
    return slot.max_streams is None and not slot.late


def _room(slot: Slot[C]) -> int:
    if slot.late:
        return 0
    return STREAMS_BEFORE_SETTINGS if slot.max_streams is None else min(slot.max_streams, MAX_STREAMS)
