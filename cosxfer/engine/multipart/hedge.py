"""Which parts of a transfer straggle: one to send a second time, one to end and retry. Pure: sizes and times in.

**Late.** A part is late if its attempt has taken twice the time within which nine of ten recent parts ended, and at
least one second. Parts that differ by chance alone rarely take that long, and a second copy usually ends within half of
that time. The time of a smaller part counts in proportion for a larger one. That of a larger part is never scaled down,
because each request costs a round trip too.

**All slow.** If the link itself slows down, its parts are slow together. So the parts in flight that exceed the usual
time count among the recent ones. More than one slow part in ten moves the limit beyond them all.

**Cost.** A part is hedged once. The hedged parts have at most a twentieth of the bytes that this transfer has begun to
send. A transfer of less than 20 full parts is thus never hedged. An attempt that failed and waits for its retry is not
late: a server that refuses requests must not get more of them.

**Overdue.** An attempt that makes progress can still take for ever, for example at 1 KiB/s. It is ended if it has taken
ten times as long as the recent parts, at least the stall timeout, and three parts that began after it have finished.
Their times count as well. So a link that is slow for all parts ends none of them. The last parts of a transfer, after
which nothing begins, are not ended either. Each time that a part is ended doubles the limit of its next attempt.

Source: J. Dean and L. A. Barroso, "The Tail at Scale" (CACM 2013): hedged requests.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Generic, NamedTuple, TypeVar

from cosxfer.cos.requests import etag_may_be_md5
from cosxfer.records import dataclass

RECENT_PARTS = 50
FEWEST_PARTS = 10
"""Finished parts without which nothing is late."""
USUAL_SHARE = 0.9
LATE_FACTOR = 2.0
SHORTEST_SECONDS = 1.0
"""No part is late before this time."""
EXTRA_SHARE = 0.05
"""The bytes of hedged parts, as a share of the bytes that the transfer has begun to send."""

OVERDUE_FACTOR = 10.0
OVERTAKEN = 3
"""Parts that began later and have finished, without which no attempt is overdue."""

HEDGED_CLASSES = frozenset({"STANDARD", "MAZ_STANDARD"})
"""Storage classes without a minimum storage time, which COS bills for data that is replaced earlier."""

K = TypeVar("K", bound=Hashable)


def may_hedge(headers: Mapping[str, str]) -> bool:
    """Whether parts of an object with these headers may be sent twice.

    Both copies must get the same ETag, because Complete names it, and the second copy may arrive last.
    """
    storage_class = headers.get("x-cos-storage-class", "STANDARD")
    return storage_class.upper() in HEDGED_CLASSES and etag_may_be_md5(headers)


class Overdue(NamedTuple, Generic[K]):
    """An attempt that is to be ended and retried."""

    part: K
    seconds: float
    """How long it has taken."""
    usual_seconds: float
    """How long it should have taken."""


@dataclass(frozen=True, kw_only=True)
class Stragglers(Generic[K]):
    """What to do now."""

    late: Sequence[K]
    """Parts to send a second time if there is room, the latest first."""
    overdue: Sequence[Overdue[K]]
    next_at: float | None
    """The earliest time at which another part may be late or overdue; None if nothing in flight can become so."""


class _Sample(NamedTuple):
    size: int
    seconds: float

    def scaled(self, size: int) -> float:
        return self.seconds * max(1.0, size / self.size)


@dataclass
class _Part:
    size: int
    began: float | None = None
    """When the attempt under way began; None if none is."""
    last: tuple[float, float] | None = None
    """When the last attempt began and how long it took; None while one is under way."""
    hedged: bool = False
    timeouts: int = 0
    overtakers: deque[_Sample] = field(default_factory=lambda: deque(maxlen=OVERTAKEN))
    """The last parts that began after this attempt and have finished."""


class HedgePolicy(Generic[K]):
    """Follows the parts of one transfer. The caller names each part by a key."""

    def __init__(self, *, hedging: bool, stall_seconds: float) -> None:
        """Without ``hedging`` no part is late. No attempt is overdue before ``stall_seconds``."""
        self._hedging = hedging
        self._stall_seconds = stall_seconds
        self._parts: dict[K, _Part] = {}
        self._recent: deque[_Sample] = deque(maxlen=RECENT_PARTS)
        self._begun_bytes = 0
        self._hedged_bytes = 0
        self.hedges = 0
        """Parts of which a second copy was sent."""

    def begin(self, part: K, size: int, now: float) -> None:
        """An attempt at ``part`` begins."""
        known = self._parts.get(part)
        if known is None:
            known = self._parts[part] = _Part(size)
            self._begun_bytes += size
        known.began, known.last = now, None
        known.overtakers.clear()

    def rest(self, part: K, now: float) -> None:
        """The attempt at ``part`` has ended. `finish` or another attempt follows."""
        known = self._parts.get(part)
        if known is not None and known.began is not None:
            known.last, known.began = (known.began, now - known.began), None

    def finish(self, part: K, now: float) -> None:
        """The server has ``part``."""
        self.rest(part, now)
        known = self._parts.pop(part, None)
        if known is None or known.last is None:
            return
        began, seconds = known.last
        sample = _Sample(max(1, known.size), seconds)
        self._recent.append(sample)
        for other in self._parts.values():
            if other.began is not None and other.began < began:
                other.overtakers.append(sample)

    def hedge(self, part: K) -> None:
        """A second copy of ``part`` is sent."""
        known = self._parts[part]
        known.hedged = True
        self.hedges += 1
        self._hedged_bytes += known.size

    def time_out(self, part: K) -> None:
        """The attempt at ``part`` is ended, because it is overdue."""
        self._parts[part].timeouts += 1

    def stop_hedging(self) -> None:
        """From now on no part is late. Attempts can still be overdue."""
        self._hedging = False

    def decide(self, now: float) -> Stragglers[K]:
        """Return what is late or overdue."""
        if len(self._recent) < FEWEST_PARTS:
            return Stragglers(late=(), overdue=(), next_at=None)
        usual = self._usual(now)
        late: list[tuple[float, K]] = []
        overdue: list[Overdue[K]] = []
        times: list[float] = []
        for key, part in self._parts.items():
            if part.began is None:
                continue
            elapsed = now - part.began
            expected = usual[part.size]
            if self._hedging and not part.hedged:
                limit = max(SHORTEST_SECONDS, LATE_FACTOR * expected)
                if elapsed >= limit:
                    late.append((elapsed / limit, key))
                else:
                    times.append(part.began + limit)
            if len(part.overtakers) == OVERTAKEN:
                expected = max(expected, *(sample.scaled(part.size) for sample in part.overtakers))
                limit = max(self._stall_seconds, OVERDUE_FACTOR * 2.0**part.timeouts * expected)
                if elapsed >= limit:
                    overdue.append(Overdue(key, elapsed, expected))
                else:
                    times.append(part.began + limit)
        late.sort(key=lambda entry: entry[0], reverse=True)
        return Stragglers(
            late=self._affordable([key for _, key in late]), overdue=overdue, next_at=min(times, default=None)
        )

    def _usual(self, now: float) -> dict[int, float]:
        """For each size in flight: the time within which nine of ten parts end, slow ones in flight included."""
        attempts = [(part.size, now - part.began) for part in self._parts.values() if part.began is not None]
        sizes = {size for size, _ in attempts}
        finished = {size: _percentile(sample.scaled(size) for sample in self._recent) for size in sizes}
        slow = [_Sample(max(1, size), elapsed) for size, elapsed in attempts if elapsed > finished[size]]
        if not slow:
            return finished
        return {size: _percentile(sample.scaled(size) for sample in (*self._recent, *slow)) for size in sizes}

    def _affordable(self, late: Sequence[K]) -> list[K]:
        chosen: list[K] = []
        room = EXTRA_SHARE * self._begun_bytes - self._hedged_bytes
        for key in late:
            if self._parts[key].size <= room:
                room -= self._parts[key].size
                chosen.append(key)
        return chosen


def _percentile(values: Iterable[float]) -> float:
    """The nearest rank: at least nine of ten values are at most the result."""
    ordered = sorted(values)
    return ordered[math.ceil(USUAL_SHARE * len(ordered)) - 1]
