"""Decides which connection a request goes to, and when to open another one. Pure: others do the I/O.

HTTP/1.1 carries one request at a time. HTTP/2 carries many, but they share one congestion window and one flow-control
window. So a request gets a connection of its own as long as more connections may be opened. Only then do connections
get more streams, evenly. If a peer's flow control blocks the bodies, more connections are opened (``stalled``).
If the server refuses more connections (`cosxfer.transport.ceiling`), requests wait for those that work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from itertools import islice
from typing import Generic, TypeVar
from weakref import WeakMethod

from cosxfer.records import dataclass
from cosxfer.transport.ceiling import Ceiling

HTTP2_CONNECTIONS = 8
"""Connections of HTTP/2 before the limiter has said anything."""
OWN_CONNECTIONS = 32
"""Up to this level each request over HTTP/2 has its own connection. Beyond it, every second one brings another."""
MAX_HTTP2_CONNECTIONS = 32
HTTP1_CONNECTIONS = 512
MAX_OPENING = 64
"""Connections that are made at a time. More handshakes would hold up the event loop, and time out on slow links."""
STREAMS_BEFORE_SETTINGS = 1
"""How many streams are opened before the peer's SETTINGS arrive."""
STREAMS_MEANWHILE = 2
"""The most streams of a connection while others are coming. Else the first one to come would get all requests."""
MAX_STREAMS = 100
IDLE_SECONDS = 30.0

C = TypeVar("C")


@dataclass
class ConnectionLimits:
    """How many connections a client may have to one origin. Its limiter may change them while requests run."""

    http1: int = HTTP1_CONNECTIONS
    """Far above any level: one for each request in flight, which the limiter's slots bound. Requests without a slot
    (a HEAD, an Initiate, a `put_object` in the body of another one) must not wait for those that have one."""
    http2: int = HTTP2_CONNECTIONS
    """Requests beyond this number share the connections."""
    max_http2: int = MAX_HTTP2_CONNECTIONS
    """Connections of HTTP/2 if flow control holds the bodies back."""
    _on_change: list[WeakMethod[Callable[[], None]]] = field(default_factory=list, repr=False, compare=False)

    def resize(self, level: int) -> None:
        """Set the limits for ``level`` requests in flight.

        With fewer connections than requests, the window of one TCP connection limits what a request can reach, and a
        higher level brings nothing. So connections grow with the level, more slowly from `OWN_CONNECTIONS` on, where
        handshakes begin to cost more than a second stream.
        """
        self.http1 = max(HTTP1_CONNECTIONS, 2 * level)
        self.http2 = level if level <= OWN_CONNECTIONS else OWN_CONNECTIONS + (level - OWN_CONNECTIONS) // 2
        self.max_http2 = max(MAX_HTTP2_CONNECTIONS, level)
        for reference in self._on_change:
            if (method := reference()) is not None:
                method()

    def when_changed(self, method: Callable[[], None]) -> None:
        """Call a bound method after each change, as long as its object lives: requests that wait use the change."""
        self._on_change.append(WeakMethod(method))


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
    proven: bool = False
    """Whether the server has accepted it: there was a response, or SETTINGS."""
    idle_since: float = 0.0


@dataclass(eq=False)
class OriginPool(Generic[C]):
    """The connections to one origin."""

    http2: bool | None
    """None: not known before the first connection."""
    slots: dict[Slot[C], None] = field(default_factory=dict)
    """The oldest first."""
    opening: int = 0
    """How many connections are being made."""
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    _idle: dict[Slot[C], None] = field(default_factory=dict)
    """Connections without a request, the last used one at the end. Some of them may be busy or closed again."""
    _extra: int = 0
    """Connections of HTTP/2 beyond the usual number, because flow control held bodies back."""
    ceiling: Ceiling = field(default_factory=Ceiling)

    @property
    def _most(self) -> int:
        """How many connections may be open."""
        limits = self.limits
        most = min(limits.http2 + self._extra, max(limits.http2, limits.max_http2)) if self.http2 else limits.http1
        return self.ceiling.bounds(most)

    def _usable(self) -> Iterator[Slot[C]]:
        return (slot for slot in self.slots if slot.usable and not slot.late)

    def _count(self) -> int:
        return sum(1 for _ in self._usable())

    def take(self) -> Slot[C] | None:
        """Assign a connection to one more request; None if the request has to wait."""
        most = self._most
        surplus = self.http2 and len(self.slots) > most and self._count() > most
        if not surplus:
            slot = self._take_idle()
            if slot is not None or self.http2 is False or self._may_open():
                return slot
        # Always the same connections, so that those that are too many become idle and expire.
        working = list(islice((slot for slot in self._usable() if slot.http2), most))
        best = min((slot for slot in working if slot.active < _room(slot)), key=lambda slot: slot.active, default=None)
        if best is None:
            return None
        coming = self.opening or any(slot.max_streams is None for slot in working)
        if coming and best.active >= STREAMS_MEANWHILE:
            return None
        best.active += 1
        return best

    def _take_idle(self) -> Slot[C] | None:
        while self._idle:
            slot, _ = self._idle.popitem()
            if slot.usable and not slot.active and _room(slot):
                slot.active = 1
                return slot
        return None

    def give_back(self, slot: Slot[C], *, now: float, reusable: bool = True) -> None:
        """A request has ended."""
        slot.active -= 1
        slot.idle_since = now
        if not slot.http2 and not reusable:
            slot.usable = False
        if slot.http2 and slot.max_streams is None:
            slot.late = True  # a whole request has ended without them
        if not slot.active and slot.usable:
            self._rest(slot)

    def _rest(self, slot: Slot[C]) -> None:
        self._idle.pop(slot, None)
        self._idle[slot] = None

    def to_open(self, waiting: int) -> int:
        """How many connections to open for the requests that wait."""
        if self.http2 is None:
            return 0 if self.opening else min(1, waiting)
        open_now = self._count() + self.opening
        late = sum(slot.late and slot.usable for slot in self.slots)
        # Connections whose SETTINGS are late are replaced, but a server that sends none at all gets a bounded number.
        room = min(self._most, max(self._most, HTTP2_CONNECTIONS) - late) - open_now
        return max(0, min(waiting - self.opening, room, MAX_OPENING - self.opening))

    def opened(self, slot: Slot[C], *, now: float) -> None:
        """A connection was made."""
        self.http2 = slot.http2
        slot.idle_since = now
        self.slots[slot] = None
        self._rest(slot)
        self.ceiling.opened(self._count())

    def closed(self, slot: Slot[C]) -> None:
        """A connection ended."""
        slot.usable = False
        self.slots.pop(slot, None)
        self._idle.pop(slot, None)

    def spoke(self, slot: Slot[C], max_streams: int) -> None:
        """The peer's SETTINGS have arrived: it allows ``max_streams``."""
        slot.max_streams = max_streams
        slot.late = False
        if not slot.active and slot.usable:
            self._rest(slot)
        self.proved(slot)

    def stalled(self, slot: Slot[C]) -> None:
        """Flow control blocks the bodies on a connection: use more connections, with fewer streams each.

        If the peer has sent no SETTINGS at all, only this connection is marked as ``late``.
        """
        if slot.max_streams is None:
            slot.late = True
            return
        if self.limits.http2 + self._extra < self.limits.max_http2:
            self._extra += 2

    def refused(self) -> float | None:
        """The server refused a connection, or ended one before any response. Returns what `Ceiling.refused` does."""
        return self.ceiling.refused(works=self._count(), opening=self.opening)

    def proved(self, slot: Slot[C]) -> None:
        """The server has accepted a connection."""
        if not slot.proven:
            slot.proven = True
            self.ceiling.proved(self._count())

    def expired(self, now: float) -> Iterable[Slot[C]]:
        """Return the connections that were idle for too long. They take no more requests."""
        old = [slot for slot in self.slots if not slot.active and now - slot.idle_since >= IDLE_SECONDS]
        for slot in old:
            slot.usable = False
            self._idle.pop(slot, None)
        return old

    def is_alive(self) -> bool:
        """Whether a request that waits can still get a connection: a new one, or one whose request ends."""
        return bool(self.opening) or any(slot.active and not slot.late for slot in self.slots)

    def _may_open(self) -> bool:
        return self._count() + self.opening < self._most


def _room(slot: Slot[C]) -> int:
    if not slot.http2:
        return 1
    if slot.late:
        return 0
    return STREAMS_BEFORE_SETTINGS if slot.max_streams is None else min(slot.max_streams, MAX_STREAMS)
