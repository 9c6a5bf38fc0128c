"""A client of the simulated network: what it still has to send, its slots, and its counters.

It takes its slots through the engine's own `Limiter`, with a share for each size of request: the files or parts of one
size are one transfer, and transfers take turns.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from cosxfer.engine.limiter import Limiter, Share

INFINITE = math.inf


@dataclass(frozen=True, kw_only=True)
class Item:
    """``count`` requests of ``request_bytes`` each: a part, or small files."""

    request_bytes: int
    count: int = 1


class Policy(Protocol):
    """What decides how many requests are in flight."""

    def level(self) -> int: ...

    def observe(self, now: float, client: SimulatedClient) -> bool:
        """Look at the counters; True to cancel the requests beyond the level."""
        ...


@dataclass(kw_only=True)
class Fixed:
    """Always the same number."""

    slots: int

    def level(self) -> int:
        return self.slots

    def observe(self, now: float, client: SimulatedClient) -> bool:
        return False


@dataclass(kw_only=True)
class FlowClass:
    """Flows of one client with requests of one size. ``done`` is the work of a flow that was there from the start."""

    request_bytes: int
    flows: int = 0
    rate: float = 0.0
    own_rate: float = 0.0
    """The rate that a flow would have alone, with the latency of its requests."""
    done: float = 0.0
    ends: list[tuple[float, int, int, float]] = field(default_factory=list)
    """(value of ``done`` at which a flow ends, order, requests in it, the window of its connection then)"""


@dataclass(kw_only=True)
class _Files:
    """Requests of one size that are not sent yet. It waits for one slot at a time, as a transfer does."""

    request_bytes: int
    share: Share
    granted: deque[_Files]
    left: int = 0
    asked: bool = False

    def ask(self) -> None:
        """Wait for a slot, if there is something to send."""
        if self.left and not self.asked:
            self.asked = True
            self.share.queue(self.request_bytes, self)

    def done(self) -> bool:
        return False

    def set_result(self, result: None, /) -> None:
        self.granted.append(self)


class SimulatedClient:
    """Sends items over as many slots as its policy allows."""

    def __init__(self, policy: Policy, items: Iterable[Item], *, multipart: bool = False, bundles: int = 400) -> None:
        self.policy = policy
        self.multipart = multipart
        """Whether each file needs an Initiate before its first part."""
        self.latency_seconds = 0.0
        """Time of a request without a body, on a connection that was open: the Initiate. 0: there was none yet."""
        self.limiter = Limiter(tasks=1, slots=0)
        self._granted: deque[_Files] = deque()
        self._files: dict[int, _Files] = {}
        self.total_bytes = self.total_requests = self.requests_left = 0
        for item in items:
            self.total_bytes += item.request_bytes * item.count
            self.total_requests += item.count
            self.put_back(item.request_bytes, item.count)
        self.bundle = max(1, self.total_requests // bundles)
        self.classes: dict[int, FlowClass] = {}
        self.bytes_in_flight = 0
        self.bytes_acked = 0.0
        self.requests_done = 0.0
        self.refused = 0.0
        self.refused_per_second = 0.0
        self.retry_after_seconds = 0.0
        self.idle: list[tuple[float, float]] = []
        """When each idle connection was last used, and the window in bytes that it has reached."""
        self.penalised_until = -1.0
        self.excess_seconds = 0.0
        """How long it had too many connections; time with fewer counts against it."""
        self.accepted_tokens = INFINITE
        self.finished_at: float | None = None
        self.most_in_flight = 0
        self.straggler_bytes: deque[float] = deque()
        self.given_bytes = 0.0
        self.wasted = 0.0
        """Bytes sent by requests that were cancelled."""
        self.done_bytes = 0
        """Bytes of requests that have ended."""
        self.handshakes_until = 0.0

    @property
    def waiting(self) -> bool:
        """Whether more requests wait for a slot."""
        return self.requests_left > 0

    @property
    def in_flight(self) -> int:
        """Slots that are in use."""
        return self.limiter.in_flight

    @property
    def bytes_left(self) -> float:
        """What is still to be acknowledged."""
        return max(0.0, self.total_bytes + self.wasted - self.bytes_acked)

    @property
    def sent_in_flight(self) -> float:
        """What the requests in flight have sent."""
        return min(max(0.0, self.bytes_acked - self.done_bytes - self.wasted), self.bytes_in_flight)

    def take(self) -> Iterator[tuple[int, int]]:
        """Yield (bytes of a request, requests) for each slot that the limiter gives: a part, or a bundle."""
        level = self.policy.level()
        self.limiter.resize(slots=level)
        for files in self._files.values():
            files.ask()
        while self._granted:
            files = self._granted.popleft()
            files.asked = False
            count = max(1, min(self.bundle, files.left // (4 * max(1, level)))) if files.left > 1 else 1
            self.limiter.charge(count - 1)
            files.left -= count
            self.requests_left -= count
            self.bytes_in_flight += files.request_bytes
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            files.ask()
            yield files.request_bytes, count

    def put_back(self, request_bytes: int, count: int) -> None:
        """Add requests to those that are not sent yet."""
        files = self._files.get(request_bytes)
        if files is None:
            share = self.limiter.share(1 << 30, usual=1 << 30)
            files = self._files[request_bytes] = _Files(request_bytes=request_bytes, share=share, granted=self._granted)
        files.left += count
        self.requests_left += count

    def release(self, request_bytes: int) -> None:
        """A slot is free again."""
        self._files[request_bytes].share.release(request_bytes)
