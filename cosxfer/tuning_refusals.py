"""What the tuner knows of refusals (503, SlowDown, time-outs), and how it answers them. Pure.

A server that refuses small requests limits their rate: see `tuning_rate.py`. Others are refused for their number, so
the level falls. If refusals go on after that, Little's law says how many slots the accepted requests keep busy.
`Retry-After` becomes `Decision.hold_until`: no request starts before.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cosxfer.tuning_rules as rule
from cosxfer.tuning_rate import RequestRate
from cosxfer.tuning_rules import accepted_share


class Answer(NamedTuple):
    """What the tuner does after a refusal."""

    phase: str
    level: int
    reason: str
    abandon: bool
    """Cancel requests beyond the level: what was refused has sent nothing. Small ones soon end by themselves."""
    ceiling: int | None
    """The level may not rise above it for some time."""


class Refusals:
    """Counts refusals. Only the first one in a dead band reduces the level."""

    def __init__(self) -> None:
        self.rate = RequestRate()
        self.level: int | None = None
        """The level that was refused last."""
        self.count = 0.0
        """Refusals so far."""
        self._hold_until = 0.0
        self._last = -math.inf
        self._dead_until = 0.0
        self._service_seconds = math.inf
        self._mark: tuple[float, float, float] | None = None
        """Time, requests done and refusals at the last back-off."""

    @property
    def hold_until(self) -> float:
        """No request starts before this time."""
        return max(self._hold_until, self.rate.pause_until)

    def is_recent(self, now: float) -> bool:
        """Whether the server has refused something in the last seconds."""
        return now - self._last < rule.QUIET_SECONDS

    def see_service(self, now: float, seconds: float) -> None:
        """A request took so long on average, in a window without refusals."""
        if seconds > 0 and now - self._last > rule.QUIET_SECONDS:
            self._service_seconds = min(self._service_seconds, seconds)

    def see(self, now: float, refused: float, *, retry_after_seconds: float) -> bool:
        """Take the number of refusals so far. Returns whether there are more than before, with no dead band."""
        if refused <= self.count:
            return False
        self.count, self._last = refused, now
        if retry_after_seconds:
            self._hold_until = max(self._hold_until, now + retry_after_seconds)
        if now < self._dead_until:
            return False
        self._dead_until = now + max(rule.DEAD_BAND_SECONDS, retry_after_seconds)
        return True

    def answer(self, now: float, requests: float, level: int, *, small: bool, in_ramp: bool) -> Answer:
        """Say what to do, when so many requests are done: keep a rate if they are ``small`` and many, else back off.

        ``in_ramp``: nothing shows that the last doublings were right.
        """
        if small or self.rate.limit < math.inf:
            self.rate.refuse(
                now,
                requests,
                level=level,
                service_seconds=self._service_seconds,
                hold_until=self._hold_until,
            )
            return Answer("paced", min(level, self.rate.slots), self.rate.reason, False, None)
        share = self._share(now, requests, level, first=rule.SMALLEST_BACK_OFF if in_ramp else rule.BACK_OFF)
        reason = f"back off: the server refuses requests at {level}"
        return Answer("recover", int(level * share), reason, in_ramp, int(0.95 * level))

    def recovery(self, now: float, level: int) -> int | None:
        """The next level on the way back after a back-off; None if ``level`` is just below what was refused."""
        if self.is_recent(now):
            return level
        back = level >= int(0.95 * (self.level or level))
        return None if back else max(level + 1, round(level * 1.1))

    def _share(self, now: float, requests: float, level: int, *, first: float) -> float:
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
