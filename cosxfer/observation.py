"""What the scheduler sees in each tick, and sums of it that a transfer can subtract. Pure.

The scheduler makes one `Observation` for each tick of about 100 ms and adds it to the client's `Totals`. A transfer
takes ``begin = totals.copy()`` before its first part and ``totals - begin`` after its last one. `verdict.judge` turns
the difference into a verdict. The memory of `Totals` does not grow.

`Totals.add` gives the time of a tick to causes, so that a verdict can say for which share of the time a cause held:

1. **client cpu, hashing**: the process uses nearly all cores, or one of its threads is always busy. It is hashing if
   most of the CPU time is.
2. **reading, hashing**: slots are idle because the window waits for data. A source that is faster than the network
   fills all slots. So a tick counts in full if `ENOUGH_IDLE` of the slots are idle, and in proportion if fewer are. It
   is hashing if threads hash and compute meanwhile. A thread that hashes without using the CPU waits for pages of the
   file: that is reading.
3. **throttling**: the server has refused requests, and the level is still at or below the level that was refused, or
   requests start at the rate that the server accepts.
4. **rate limit, memory budget, connections, user limit**: requests wait, and a wall other than the level holds them.
5. **too few parts**: slots are idle, and nothing waits for them.
6. **silent**: nothing was acknowledged for a while, or nothing is in flight (as during Initiate and Complete).
7. **sending**: all slots are busy. What bounds it (link, connections, a fixed level) is a matter of several levels.

For the last point, `Totals` keeps the goodput by requests in flight, in *bands* of half octaves. It leaves out what
another cause has held back, and the time after a change of the level, in which new connections start. The causes
are also kept by the band of the *level*: the tuner gives up slots that a cause keeps idle, and then nothing is idle.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

from cosxfer.records import dataclass
from cosxfer.tuning_rules import MAX_LEVEL, REQUEST_WORK_BYTES

Wall: TypeAlias = Literal["", "user", "memory", "rate", "connections", "server"]

Cause: TypeAlias = Literal[
    "client cpu",
    "hashing",
    "reading",
    "throttling",
    "rate limit",
    "memory budget",
    "connections",
    "user limit",
    "too few parts",
    "sending",
    "silent",
]
CAUSES: tuple[Cause, ...] = get_args(Cause)

BUSY_CORES = 0.9
"""A client that uses this share of its cores, or of one thread's time, is bound by them."""
ENOUGH_IDLE = 0.25
"""If this share of the slots is idle for a cause, the cause holds for the whole tick."""
SETTLED_SECONDS = 0.5
"""How long after a change of the level its goodput is not counted in a band."""
SILENT_SECONDS = 0.5
THROTTLED_SECONDS = 60.0
"""How long after a refusal the level counts as throttled. The tuner's memory of a refusal is shorter."""

_WALLS: dict[Wall, Cause] = {
    "user": "user limit",
    "memory": "memory budget",
    "rate": "rate limit",
    "connections": "connections",
    "server": "throttling",
}
_SAYS_NOTHING: tuple[Cause, ...] = ("client cpu", "hashing", "reading", "rate limit", "silent")
"""What has these causes says nothing about the goodput of a level."""
_BANDS = 2 * math.ceil(math.log2(MAX_LEVEL)) + 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What the scheduler saw in one tick. Counts and sums are those of this tick alone."""

    at: float
    """End of the tick, in seconds since the client's first request."""
    seconds: float
    """Length of the tick."""
    level: int
    """Slots: how many requests may be in flight."""
    reason: str = ""
    """Why the tuner chose this level."""
    in_flight: int = 0
    """Requests in flight at the end of the tick."""
    waiting: bool = False
    """Whether more requests would start if slots were free."""
    bytes_acked: float = 0
    """Bytes that the peer has acknowledged. Negative if a failed attempt is taken back."""
    requests_done: int = 0
    refused: int = 0
    """Requests that the server refused (503, SlowDown) or that timed out."""
    retries: int = 0
    cpu_seconds: float = 0.0
    """CPU time of this process, user and system."""
    busiest_thread_seconds: float = 0.0
    """CPU time of the busiest thread that the scheduler can measure, such as the event loop's (``time.thread_time``);
    0 if it measures none."""
    source_wait_seconds: float = 0.0
    """Slot-seconds in which slots were idle because the window waited for reading or hashing."""
    hashing_seconds: float = 0.0
    """Thread-seconds of hashing. Reading the pages of a mapped file is part of it."""
    limited_by: Wall = ""
    """The wall other than the level that held requests back."""
    connections: int = 0
    requests_per_second: float = 0.0
    """So many requests may start in a second, because the server has refused some; 0: any number."""


@dataclass(slots=True)
class Band:
    """The goodput of a range of requests in flight."""

    seconds: float = 0.0
    work: float = 0.0
    """Bytes, and `REQUEST_WORK_BYTES` for each request."""
    request_seconds: float = 0.0
    """The integral of the requests in flight."""

    @property
    def in_flight(self) -> float:
        """Mean of the requests in flight."""
        return self.request_seconds / self.seconds if self.seconds else 0.0

    @property
    def goodput(self) -> float:
        """Work per second."""
        return self.work / self.seconds if self.seconds else 0.0

    def add(self, other: Band) -> None:
        """Add the sums of ``other``."""
        for name in Band.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def _band(count: int) -> int:
    return min(_BANDS - 1, round(2 * math.log2(max(1, count))))


class Totals:
    """Running sums of observations. ``cores`` is the number of cores that the process may use.

    Subtract an earlier `copy` to get the sums of the time between.
    """

    _SUMS = (
        "bytes_acked",
        "connection_seconds",
        "cpu_seconds",
        "hashing_seconds",
        "held_seconds",
        "level_seconds",
        "refused",
        "request_seconds",
        "requests_done",
        "retries",
        "seconds",
        "source_wait_seconds",
        "steady_seconds",
    )
    __slots__ = (
        *_SUMS,
        "_level",
        "_level_age",
        "_refused_level",
        "_silent",
        "_throttled_until",
        "bands",
        "causes",
        "cores",
        "levels",
    )

    def __init__(self, *, cores: float) -> None:
        self.cores = cores
        self.seconds = 0.0
        self.bytes_acked = 0.0
        self.requests_done = 0.0
        self.refused = 0.0
        self.retries = 0.0
        self.cpu_seconds = 0.0
        self.hashing_seconds = 0.0
        self.source_wait_seconds = 0.0
        self.held_seconds = 0.0
        """Time after a refusal in which nothing was in flight (Retry-After)."""
        self.level_seconds = 0.0
        """The integral of the level; divide this and the next two by ``seconds`` for the mean."""
        self.request_seconds = 0.0
        self.connection_seconds = 0.0
        self.steady_seconds = 0.0
        """Time in which the level had settled."""
        self.causes: dict[Cause, float] = dict.fromkeys(CAUSES, 0.0)
        """Seconds in which each cause held. Their sum is ``seconds``."""
        self.bands = [Band() for _ in range(_BANDS)]
        """Goodput by requests in flight: band *i* is around 2**(i/2) of them."""
        self.levels: list[dict[Cause, float]] = [{} for _ in range(_BANDS)]
        """Seconds in which each cause held, by the level."""
        self._level = 0
        self._level_age = 0.0
        self._silent = 0.0
        self._refused_level = 0
        self._throttled_until = -math.inf

    def add(self, seen: Observation) -> None:
        """Add one tick. Ticks of no length add nothing."""
        if seen.seconds <= 0:
            return
        self._level_age = self._level_age + seen.seconds if seen.level == self._level else 0.0
        self._note_refusals(seen)
        self._level = seen.level
        moved = seen.bytes_acked > 0 or seen.requests_done > 0
        self._silent = 0.0 if moved else self._silent + seen.seconds
        self.seconds += seen.seconds
        self.bytes_acked += seen.bytes_acked
        self.requests_done += seen.requests_done
        self.refused += seen.refused
        self.retries += seen.retries
        self.cpu_seconds += seen.cpu_seconds
        self.hashing_seconds += seen.hashing_seconds
        self.source_wait_seconds += seen.source_wait_seconds
        self.level_seconds += seen.level * seen.seconds
        self.request_seconds += seen.in_flight * seen.seconds
        self.connection_seconds += seen.connections * seen.seconds
        settled = self._level_age >= SETTLED_SECONDS
        if settled:
            self.steady_seconds += seen.seconds
        held_back = self._share_out(seen)
        if settled and not held_back and seen.in_flight:
            self.bands[_band(seen.in_flight)].add(
                Band(
                    seconds=seen.seconds,
                    work=seen.bytes_acked + REQUEST_WORK_BYTES * seen.requests_done,
                    request_seconds=seen.in_flight * seen.seconds,
                )
            )

    def copy(self) -> Totals:
        """Return the sums as they are now."""
        copied = Totals(cores=self.cores)
        for name in self._SUMS:
            setattr(copied, name, getattr(self, name))
        copied.causes.update(self.causes)
        copied.levels = [dict(seconds) for seconds in self.levels]
        for mine, theirs in zip(copied.bands, self.bands, strict=True):
            mine.add(theirs)
        return copied

    def __sub__(self, begin: Totals) -> Totals:
        """Return the sums of the time since ``begin``, an earlier `copy` of these totals."""
        rest = Totals(cores=self.cores)
        for name in self._SUMS:
            # Differences of large sums may be a rounding error below 0.
            setattr(rest, name, max(0.0, getattr(self, name) - getattr(begin, name)))
        for cause, seconds in self.causes.items():
            rest.causes[cause] = max(0.0, seconds - begin.causes[cause])
        for held, at_end, at_begin in zip(rest.levels, self.levels, begin.levels, strict=True):
            held.update({cause: max(0.0, seconds - at_begin.get(cause, 0.0)) for cause, seconds in at_end.items()})
        for mine, end, start in zip(rest.bands, self.bands, begin.bands, strict=True):
            for name in Band.__slots__:
                setattr(mine, name, max(0.0, getattr(end, name) - getattr(start, name)))
        return rest

    def _note_refusals(self, seen: Observation) -> None:
        if seen.refused:
            # The level of this tick may be the tuner's answer to the refusal.
            self._refused_level = max(self._level, seen.level)
            self._throttled_until = seen.at + THROTTLED_SECONDS
        elif seen.level > self._refused_level:
            self._throttled_until = -math.inf

    def _share_out(self, seen: Observation) -> bool:
        """Give the time of the tick to its causes; return whether its goodput says nothing about the level."""
        shares = self._shares(seen)
        at_level = self.levels[_band(seen.level)]
        for cause, share in shares.items():
            self.causes[cause] += share * seen.seconds
            at_level[cause] = at_level.get(cause, 0.0) + share * seen.seconds
        return sum(shares.get(cause, 0.0) for cause in _SAYS_NOTHING) >= 0.5

    def _shares(self, seen: Observation) -> dict[Cause, float]:
        all_cores = seen.cpu_seconds >= BUSY_CORES * self.cores * seen.seconds
        if all_cores or seen.busiest_thread_seconds >= BUSY_CORES * seen.seconds:
            hashes = all_cores and seen.hashing_seconds >= seen.cpu_seconds / 2
            return {"hashing" if hashes else "client cpu": 1.0}
        idle = max(0.0, seen.source_wait_seconds) / (max(1, seen.level) * seen.seconds)
        hashes = seen.hashing_seconds >= seen.seconds / 2 and seen.cpu_seconds >= seen.hashing_seconds / 2
        source = min(1.0, idle / ENOUGH_IDLE)
        shares: dict[Cause, float] = {"hashing" if hashes else "reading": source}
        left, cause = 1.0 - source, self._without_source(seen)
        if cause == "too few parts":
            idle = max(0.0, 1 - seen.in_flight / seen.level - idle)
            shares[cause] = left * min(1.0, idle / ENOUGH_IDLE)
            left, cause = left - shares[cause], "sending"
        shares[cause] = left
        return shares

    def _without_source(self, seen: Observation) -> Cause:
        """The cause of the time in which the sources were fast enough."""
        throttled = self._throttled_until > -math.inf
        if throttled and seen.waiting and not seen.in_flight:
            self.held_seconds += seen.seconds
            return "throttling"
        if seen.at <= self._throttled_until:
            return "throttling"
        if seen.limited_by:
            return _WALLS[seen.limited_by]
        if self._silent > SILENT_SECONDS or not (seen.in_flight or seen.waiting):
            return "silent"
        if seen.in_flight < seen.level and not seen.waiting:
            return "too few parts"
        return "sending"
