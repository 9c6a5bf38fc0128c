"""Decides which connection a request goes to, and when to open another one. Pure: others do the I/O.

HTTP/1.1 carries one request at a time. HTTP/2 carries many, but they share one congestion window and one flow-control
window. So there are several connections with few streams each, and more of them if a peer's flow control blocks the
bodies (``stalled``). Connections get more streams only if no more connections may be opened.
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
"""How many streams are opened before the peer's SETTINGS arrive."""
MAX_STREAMS = 100
IDLE_SECONDS = 30.0

C = TypeVar("C")


@dataclass
class ConnectionLimits:
    """How many connections a client may have to one origin. Its limiter may change them while requests run."""

    http1: int = HTTP1_CONNECTIONS
    http2: int = HTTP2_CONNECTIONS
    max_http2: int = MAX_HTTP2_CONNECTIONS
    """Connections of HTTP/2 if flow control holds the bodies back."""
    streams: int = STREAMS_PER_CONNECTION
    """Streams of one HTTP/2 connection before another one is opened."""


@dataclass(eq=False)
class Slot(Generic[C]):
    """A connection and its state."""

    connection: C
    http2: bool
    active: int = 0
    max_streams: int | None = None
    """How many streams the peer allows; None until its SETTINGS arrive."""
    usable: bool = True
    """Whether it takes new requests."""
    late: bool = False
    """Whether the peer's SETTINGS are late. No request is assigned to the connection until they arrive."""
    idle_since: float = 0.0


@dataclass(eq=False)
class OriginPool(Generic[C]):
    """The connections to one origin."""

    http2: bool | None
    """None: not known before the first connection."""
    slots: set[Slot[C]] = field(default_factory=set)
    opening: int = 0
    """How many connections are being made."""
    _idle: list[Slot[C]] = field(default_factory=list)
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    _extra: int = 0
    """Connections of HTTP/2 beyond the usual number, because flow control held bodies back."""

    @property
    def _streams(self) -> int:
        return 1 if self._extra else self.limits.streams

    @property
    def _connections(self) -> int:
        return min(self.limits.http2 + self._extra, max(self.limits.http2, self.limits.max_http2))

    def take(self) -> Slot[C] | None:
        """Assign a connection to one more request; None if the request has to wait."""
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
        """How many connections to open for the requests that wait."""
        if self.http2 is None:
            return 0 if self.opening else min(1, waiting)
        if self.http2:
            room = self._connections - sum(slot.usable for slot in self.slots) - self.opening
            # Connections whose SETTINGS have not arrived yet will take some of the requests that wait.
            coming = sum(self._streams - slot.active for slot in self.slots if slot.usable and _is_new(slot))
            wanted = -(-(waiting - coming) // self._streams)
        else:
            room = self.limits.http1 - len(self.slots) - self.opening
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
        """The peer's SETTINGS have arrived: it allows ``max_streams``."""
        slot.max_streams = max_streams
        slot.late = False

    def stalled(self, slot: Slot[C]) -> None:
        """Flow control blocks the bodies on a connection: use more connections, with fewer streams each.

        If the peer has sent no SETTINGS at all, only this connection is marked as ``late``.
        """
        if slot.max_streams is None:
            slot.late = True
            return
        if self._connections < self.limits.max_http2 or not self._extra:
            self._extra += 2

    def expired(self, now: float) -> Iterable[Slot[C]]:
        """Return the connections that were idle for too long. They take no more requests."""
        old = [slot for slot in self.slots if not slot.active and now - slot.idle_since >= IDLE_SECONDS]
        for slot in old:
            slot.usable = False
        self._idle = [slot for slot in self._idle if slot.usable]
        return old

    def is_alive(self) -> bool:
        """Whether a request that waits can still get a connection: a new one, or one whose request ends."""
        return bool(self.opening) or any(slot.active and not slot.late for slot in self.slots)

    def _may_open(self) -> bool:
        return sum(slot.usable for slot in self.slots) + self.opening < self._connections


def _is_new(slot: Slot[C]) -> bool:
    return slot.max_streams is None and not slot.late


def _room(slot: Slot[C]) -> int:
    if slot.late:
        return 0
    return STREAMS_BEFORE_SETTINGS if slot.max_streams is None else min(slot.max_streams, MAX_STREAMS)
