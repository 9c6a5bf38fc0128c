"""What the tuner knows of refusals (503, SlowDown, time-outs), and by how much it backs off. Pure.

If refusals go on after a back-off, Little's law says how many slots the accepted requests keep busy. `Retry-After`
becomes `Decision.hold_until`: no request starts before.
"""

from __future__ import annotations

import math

import cosxfer.tuning_rules as rule
from cosxfer.tuning_rules import accepted_share


class Refusals:
    """Counts refusals. Only the first one in a dead band reduces the level."""

    def __init__(self) -> None:
        self.hold_until = 0.0
        """No request starts before this time (Retry-After)."""
        self.level: int | None = None
        """The level that was refused last."""
        self.count = 0.0
        """Refusals so far."""
        self._last = -math.inf
        self._dead_until = 0.0
        self._service_seconds = math.inf
        self._mark: tuple[float, float, float] | None = None
        """Time, requests done and refusals at the last back-off."""

    def is_recent(self, now: float) -> bool:
        """Whether the server has refused something in the last seconds."""
        return now - self._last < rule.QUIET_SECONDS

    def see_service(self, now: float, seconds: float) -> None:
        """A request took so long on average, in a window without refusals."""
        if now - self._last > rule.QUIET_SECONDS:
            self._service_seconds = min(self._service_seconds, seconds)

    def see(self, now: float, refused: float, *, retry_after_seconds: float) -> bool:
        """Take the number of refusals so far. Returns whether there are more than before, with no dead band."""
        if refused <= self.count:
            return False
        self.count, self._last = refused, now
        if retry_after_seconds:
            self.hold_until = max(self.hold_until, now + retry_after_seconds)
        if now < self._dead_until:
            return False
        self._dead_until = now + max(rule.DEAD_BAND_SECONDS, retry_after_seconds)
        return True

    def are_few(self, requests: float, level: int) -> bool:
        """Whether those since the last back-off are so few that a lower level would cost more."""
        if self._mark is None or level > rule.COARSE_LEVEL:
            return False
        return self.count - self._mark[2] < rule.TOLERATED_REFUSALS * (requests - self._mark[1])

    def share(self, now: float, requests: float, level: int, *, first: float) -> float:
        """The share of the level to keep: ``first``, unless refusals go on after a back-off."""
        share, mark = first, self._mark
        if mark is not None and now - mark[0] < 4 * rule.DEAD_BAND_SECONDS and self._service_seconds < math.inf:
            share = accepted_share(
                accepted=requests - mark[1],
                refused=self.count - mark[2],
                seconds=now - mark[0],
                wanted_per_second=level / self._service_seconds,
            )
        self._mark, self.level = (now, requests, self.count), level
        return share
