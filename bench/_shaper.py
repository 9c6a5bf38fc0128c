"""When the bytes of many connections arrive at the far end of a shared line: the rules behind `link.py`.

Pure: sizes and times in, deliveries out; nothing reads a clock or a socket. One `Line` is one direction. A chunk that
is sent passes, in this order:

- the connection's own rate. It leaves this stage at max(now, end of the chunk before) + bytes / rate;
- the bottleneck, first in, first out, in the order in which the chunks reach it, at the rate of all connections;
- the way: it is delivered half a round trip later, and acknowledged a round trip later.

A sender has a window, as TCP has: bytes that are sent and not yet acknowledged. With slow start it begins with ten
segments, grows by what is acknowledged, and begins again after a pause; otherwise it is at its maximum from the start.
The maximum keeps the connection's rate busy over a round trip and its queue. All senders together may fill the line
and its queue, no more: if they want to, they take turns, chunk by chunk, so each gets an equal share of what the others
leave. Nothing is lost: a sender waits where a router would drop.

All times are computed from the times of the events before, not from when somebody looked, so a late look delays what is
due but does not lower the rate.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any

MSS = 1460
INITIAL_WINDOW_BYTES = 10 * MSS
MAX_CHUNK_BYTES = 128 << 10
SLACK_SECONDS = 0.02
"""A relay on a busy machine wakes up late. With at least this much in the queues the line stays busy."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One line. Rates are in bytes per second, for each direction."""

    rtt_seconds: float
    capacity: float
    connection_rate: float = math.inf
    queue_seconds: float = 0.05
    """How much the bottleneck holds, in seconds of its rate."""
    slow_start: bool = False
    handshake_round_trips: float = 1.0
    """Before the first byte of a connection: 1 for TCP, 2 to stand for TLS as well."""
    penalty_beyond: int = 0
    """Connections that are sending above which all of them are penalized; 0: never."""
    penalty_factor: float = 0.02
    penalty_seconds: float = 3.0
    """How long a penalty lasts after its cause."""


class What(Enum):
    """What `Line.advance` reports of a flow."""

    DELIVERED = 1
    """Its oldest chunk on the way has arrived."""
    MAY_SEND = 2
    """It has more room than before."""


class Flow:
    """One connection's way through a `Line`. ``owner`` is the caller's."""

    __slots__ = ("closed", "held", "idle_since", "in_flight", "owner", "shaped_until", "turn", "waiting", "window")

    def __init__(self, owner: Any, window: float) -> None:
        self.owner = owner
        self.window = window
        self.in_flight = 0
        self.held = 0
        """Bytes that were delivered and that the receiver has not taken: they occupy the window, too."""
        self.idle_since = 0.0
        self.shaped_until = 0.0
        self.waiting = False
        self.turn = False
        self.closed = False


class Line:
    """One direction of a shared line."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        slack = max(shape.queue_seconds, SLACK_SECONDS)
        room = shape.rtt_seconds + slack
        self._total_limit = max(shape.capacity * room, 4.0 * MSS)
        self._max_window = max(min(self._total_limit, shape.connection_rate * room), 2.0 * MSS)
        self._chunk = int(min(MAX_CHUNK_BYTES, max(MSS, min(self._total_limit / 16, self._max_window / 8))))
        self._total = 0
        """Bytes that were sent and are not yet acknowledged."""
        self._active = 0
        self._free_at = 0.0
        """When the bottleneck has sent everything that reached it."""
        self._penalized_until = -math.inf
        self._shaped: list[tuple[float, int, Flow, int]] = []
        self._deliveries: deque[tuple[float, Flow]] = deque()
        self._acknowledgements: deque[tuple[float, Flow, int]] = deque()
        self._waiting: deque[Flow] = deque()
        self._order = 0
        self._acknowledged_at = 0.0
        self._looked_at = 0.0

    def open(self, owner: Any) -> Flow:
        """Add a connection."""
        return Flow(owner, INITIAL_WINDOW_BYTES if self.shape.slow_start else self._max_window)

    def close(self, flow: Flow) -> None:
        """The connection is gone. What it has on the way still takes its time."""
        if flow.in_flight and not flow.closed:
            self._active -= 1
        flow.closed = True

    def room(self, flow: Flow, now: float) -> int:
        """Return how many bytes ``flow`` may send now, a chunk at most; if 0, `advance` reports when to ask again.

        Ask only if there is something to send: who asks in vain may wait for a turn.
        """
        if flow.waiting:
            return 0
        turn, flow.turn = flow.turn, False
        self._start_again(flow, now)
        window = min(flow.window, self._max_window)
        own = window - flow.in_flight - flow.held
        if own < min(self._chunk, window / 16):
            return 0  # an acknowledgement or the receiver will make room; no slivers
        if not turn and (self._waiting or self._total >= self._limit(now)):
            flow.waiting = True
            self._waiting.append(flow)
            return 0
        return int(min(own, self._chunk))

    def send(self, flow: Flow, size: int, now: float) -> None:
        """Put ``size`` bytes on the way. 0 is a mark that keeps its place, such as the end of the stream."""
        if size and not flow.in_flight:
            self._active += 1
        flow.in_flight += size
        self._total += size
        flow.shaped_until = max(now, flow.shaped_until) + size / self.shape.connection_rate
        self._order += 1
        heapq.heappush(self._shaped, (flow.shaped_until, self._order, flow, size))

    def next_at(self) -> float:
        """When `advance` has something to do; in the past if a turn was not used."""
        if self._waiting and self._total < self._limit(self._looked_at):
            return -math.inf
        return min(
            self._shaped[0][0] if self._shaped else math.inf,
            self._deliveries[0][0] if self._deliveries else math.inf,
            self._acknowledgements[0][0] if self._acknowledgements else math.inf,
        )

    def advance(self, now: float) -> list[tuple[What, Flow]]:
        """Do what is due until ``now``, and report it in order."""
        self._looked_at = now
        self._pass_bottleneck(now)
        happened: list[tuple[What, Flow]] = []
        while self._deliveries and self._deliveries[0][0] <= now:
            happened.append((What.DELIVERED, self._deliveries.popleft()[1]))
        while self._acknowledgements and self._acknowledgements[0][0] <= now:
            at, flow, size = self._acknowledgements.popleft()
            self._acknowledge(flow, size, at)
            if not flow.waiting:
                happened.append((What.MAY_SEND, flow))
        self._take_turns(happened, now)
        return happened

    def _pass_bottleneck(self, now: float) -> None:
        shape = self.shape
        while self._shaped and self._shaped[0][0] <= now:
            at, _, flow, size = heapq.heappop(self._shaped)
            self._free_at = max(self._free_at, at) + size / self._capacity(at)
            self._deliveries.append((self._free_at + shape.rtt_seconds / 2, flow))
            if size:
                # Its first segment is acknowledged first. Sent on in one piece, it would be late by its length.
                early = (size - MSS) * (1 / shape.capacity + 1 / shape.connection_rate)
                self._acknowledged_at = max(self._acknowledged_at, self._free_at + shape.rtt_seconds - max(0.0, early))
                self._acknowledgements.append((self._acknowledged_at, flow, size))

    def _capacity(self, at: float) -> float:
        shape = self.shape
        if not shape.penalty_beyond:
            return shape.capacity
        busy = self._active + sum(not flow.in_flight and not flow.closed for flow in self._waiting)
        if busy > shape.penalty_beyond:
            self._penalized_until = at + shape.penalty_seconds
        return shape.capacity * self._factor(at)

    def _factor(self, at: float) -> float:
        return self.shape.penalty_factor if at < self._penalized_until else 1.0

    def _limit(self, now: float) -> float:
        """How many bytes may be on the way."""
        return max(self._total_limit * self._factor(now), 4.0 * MSS)

    def _acknowledge(self, flow: Flow, size: int, at: float) -> None:
        if flow.window < self._max_window and flow.in_flight + flow.held >= flow.window / 2:
            flow.window = min(self._max_window, flow.window + size)
        flow.in_flight -= size
        self._total -= size
        if not flow.in_flight:
            self._active -= not flow.closed
            flow.idle_since = at

    def _start_again(self, flow: Flow, now: float) -> None:
        """After a pause, the window begins anew."""
        if not self.shape.slow_start or flow.in_flight or flow.window <= INITIAL_WINDOW_BYTES:
            return
        if now - flow.idle_since > max(4 * self.shape.rtt_seconds, 1.0):
            flow.window = INITIAL_WINDOW_BYTES

    def _take_turns(self, happened: list[tuple[What, Flow]], now: float) -> None:
        """Let those that wait for the line send a chunk each, as far as there is room."""
        if not self._waiting:
            return
        room = self._limit(now) - self._total
        while self._waiting and room > 0:
            flow = self._waiting.popleft()
            flow.waiting, flow.turn = False, True
            room -= self._chunk
            happened.append((What.MAY_SEND, flow))
