"""The rate at which small requests start, once the server has refused some (503, SlowDown). Pure.

A server that limits requests per second refuses whatever comes beyond. No level fits such a limit: with requests of
5 ms, two in flight may be too many and one too few. So the client keeps more in flight than are needed, and starts so
many a second as the server accepts:

- At the first refusal, what was accepted in the last seconds tells the least that the limit can be, if the server
  grants a burst of what it accepts in `BURST_SECONDS`. From there the rate rises fast.
- At the next refusal, what was accepted since the one before is the limit itself. The rate stays a little below it, and
  rises slowly.
- Without a refusal for `QUIET_RATE_SECONDS` the rate rises fast again. It is forgotten when it no longer binds.

For a moment after a refusal nothing starts: the server's burst is used up.
"""

from __future__ import annotations

import math
from collections import deque

BURST_SECONDS = 1.0
LOOK_BACK_SECONDS = 10.0
PAUSE_SECONDS = 0.25
RATE_SHARE = 0.97
LEAST_SHARE = 0.5
"""A refusal keeps at least this share of the rate: few may have been accepted since the last one for another cause."""
LEAST_RATE = 1.0
FLOOR_SHARE = 0.1
"""The rate stays above this share of its first value: a server that refuses everything has another reason."""
RISE = 1.1
RISE_SECONDS = 0.6
SLOW_RISE = 1.03
SLOW_RISE_SECONDS = 10.0
TRUSTED_SECONDS = 2.0
"""What was accepted in a shorter time does not tell the limit well, and the rate goes on to rise fast."""
QUIET_RATE_SECONDS = 60.0
SHORT_LOOK_SECONDS = 0.1
"""If the first look already saw a refusal, so much time is taken to have passed."""
SPARE = 1.3
"""So many times the requests are in flight that the rate needs: their time varies."""


class RequestRate:
    """How many requests may start in a second. Times are those of the tuner."""

    def __init__(self) -> None:
        self.limit = math.inf
        """Requests per second."""
        self.pause_until = 0.0
        """Nothing starts before."""
        self._marks: deque[tuple[float, float]] = deque()
        """Time and requests done, about once a second in the last seconds."""
        self._floor = LEAST_RATE
        self._most_slots = 0
        self._service_seconds = 0.0
        self._refused_at: tuple[float, float, float] | None = None
        """Time, requests done and the end of the server's wait at the last refusal; None: the limit is infinite."""
        self._rises_at = 0.0
        self._slowly = False

    @property
    def slots(self) -> int:
        """How many requests in flight the rate needs, with some to spare; at most those that were refused."""
        return min(self._most_slots, math.ceil(SPARE * self.limit * self._service_seconds) + 1)

    @property
    def reason(self) -> str:
        """The rate in words, for the trace."""
        return f"the server accepts {self.limit:.0f} requests a second"

    def refuse(self, now: float, requests: float, *, level: int, service_seconds: float, hold_until: float) -> None:
        """The server has refused a request, when so many were done.

        ``level`` requests were in flight. One takes ``service_seconds`` if none is refused (infinite: not known).
        ``hold_until`` is the time until which the server wants none.
        """
        before, self._refused_at = self._refused_at, (now, requests, hold_until)
        self._most_slots = max(self._most_slots, level)
        marks = self._marks or [(now, 0.0)]
        if not self._service_seconds:
            began, done = marks[0]
            mean = level * max(SHORT_LOOK_SECONDS, now - began) / max(1.0, requests - done)
            self._service_seconds = service_seconds if service_seconds < math.inf else mean
        if before is None:
            self.limit = max((requests - done) / (now - at + BURST_SECONDS) for at, done in marks)
            self._floor = max(LEAST_RATE, FLOOR_SHARE * self.limit)
            self._slowly = False
        else:
            # While nothing starts, the server saves up a burst, but no more than that.
            seconds = now - before[0] - max(0.0, before[2] - before[0] - BURST_SECONDS)
            accepted = (requests - before[1]) / max(PAUSE_SECONDS, seconds)
            self.limit = RATE_SHARE * min(self.limit, max(accepted, LEAST_SHARE * self.limit))
            self._slowly = seconds >= TRUSTED_SECONDS
        self.limit = max(self._floor, self.limit)
        self.pause_until = now + PAUSE_SECONDS
        self._rises_at = max(now, hold_until) + (SLOW_RISE_SECONDS if self._slowly else 2 * RISE_SECONDS)

    def pass_time(self, now: float, requests: float) -> None:
        """Let the rate rise, and forget it if it has not bound for long. So many requests are done."""
        if not self._marks or now - self._marks[-1][0] >= 1.0:
            self._marks.append((now, requests if self._marks else 0.0))
            while now - self._marks[0][0] > LOOK_BACK_SECONDS:
                self._marks.popleft()
        if self._refused_at is None:
            return
        quiet = now - self._refused_at[0] > QUIET_RATE_SECONDS
        if self.slots >= self._most_slots:
            if quiet:
                self.forget()
        elif now >= self._rises_at:
            slowly = self._slowly and not quiet
            self.limit *= SLOW_RISE if slowly else RISE
            self._rises_at = now + (SLOW_RISE_SECONDS if slowly else RISE_SECONDS)

    def forget(self) -> None:
        """Let requests start at any rate."""
        self.limit, self._most_slots, self._service_seconds, self._refused_at = math.inf, 0, 0.0, None
