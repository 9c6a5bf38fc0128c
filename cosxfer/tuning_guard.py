"""The collapse guard of the tuner: what was endured, what collapsed, and how to come back. Pure.

Some networks punish too many connections silently: goodput falls to a fraction, without an error, until some time after
there are fewer. What the guard knows:

- the level that was *endured*: at least so many requests were in flight for `ENDURED_SECONDS` without a collapse;
- the *peak*: the most requests in flight in the last seconds. Requests beyond a lower level take time to end, so the
  level of the moment may not be the one that collapsed.

After a collapse the client waits at the endured level, else at `SAFE_LEVEL`: goodput is next to nothing anyway, and few
requests end the penalty soonest. It has recovered if goodput is higher than during the collapse although there are
fewer requests. If a few requests would not bring more than the penalty lets through, twice as many are tried. Without a
recovery the link itself has become slower.
"""

from __future__ import annotations

import math
from enum import Enum

import cosxfer.tuning_rules as rule


class Next(Enum):
    """What to do after a window in which the client waits for its goodput, in words for the trace."""

    WAIT = "wait for the goodput"
    RECOVERED = "recovered from the collapse"
    """Fewer requests bring more: it was their number."""
    SLOWER = "the link has become slower"
    AGAIN = "collapsed again: try fewer requests"
    """The link has become slower a second time, so it may have been the number of requests after all."""
    TRY_MORE = "collapse: see whether more requests bring more again"
    """Goodput is in proportion to the level, which the penalty may allow."""
    WAIT_LOWER = "stay lower for a while: a penalty may outlast its cause"
    """Not after a collapse, but at the first lower level that was worse: see `Guard.waits_lower`."""
    TRY_FEWER = "collapse: goodput is not back yet"


class Guard:
    """What is known of collapses. Times are those of the tuner, goodput is in units of work per second."""

    def __init__(self) -> None:
        self.endured = 0
        """This level was kept for long without a collapse; 0: none is known."""
        self.collapsed_at = 0
        """The most requests in flight before the last collapse."""
        self.risk_seconds = rule.RISK_SECONDS
        """With less time left, another collapse would cost more than a higher level can bring."""
        self.safe_level = 1
        """Where the client waits."""
        self._least = 1
        self._collapse_goodput = 0.0
        self._fell_at = self._patience_ends = 0.0
        self._slower_at = -math.inf
        self._wait_lower_until: float | None = None
        self._calm_level, self._calm_since = 0, 0.0
        self._peak, self._peak_at = 0, -math.inf

    def watch(self, now: float, in_flight: int, *, low: bool, waits: bool) -> None:
        """Look at the requests in flight. ``low``: goodput is low; ``waits``: the client waits after a collapse."""
        if in_flight >= self._peak or now - self._peak_at > rule.PEAK_SECONDS:
            self._peak, self._peak_at = in_flight, now
        if waits or not in_flight or in_flight > rule.SMALLEST_STEP * self._calm_level:
            self._calm_level, self._calm_since = in_flight, now
        self._calm_level = min(self._calm_level, in_flight)
        if now - self._calm_since > rule.ENDURED_SECONDS and not low:
            self.endured = max(self.endured, self._calm_level)

    def waits_lower(self, now: float, seconds_left: float, above: int) -> bool:
        """Whether to stay at the first lower level that was worse than the level ``above``.

        If much time is left, it is kept for some seconds: the client may have been penalised from the start.
        """
        if self._wait_lower_until is None:
            much = seconds_left > rule.PATIENT_SECONDS and above > rule.FEW_REQUESTS
            self._wait_lower_until = now + (rule.FIRST_PATIENCE_SECONDS if much else 0.0)
        return now < self._wait_lower_until

    def is_about_number(self, level: int) -> bool:
        """Whether a collapse at this level may be about the number of requests: there were enough of them."""
        return max(level, self._peak) > rule.FEW_REQUESTS

    def fall(self, now: float, goodput: float, level: int, *, least: int, since: float) -> int:
        """Goodput has collapsed at this level, after the time ``since``. Returns the level at which to wait."""
        self.collapsed_at, self._least = max(level, self._peak), least
        if self.endured >= self.collapsed_at:
            self.endured = 0
        self.safe_level = max(least, self.endured or min(self.collapsed_at // 4, rule.SAFE_LEVEL))
        self._peak, self._fell_at, self._collapse_goodput = 0, since, goodput
        self._patience_ends, self._wait_lower_until = now + rule.PATIENCE_SECONDS, now
        return self.safe_level

    def after_window(self, now: float, goodput: float, level: int, *, best: float, best_level: int) -> Next:
        """Say what to do after a window with this goodput. ``best`` is the goodput before the collapse."""
        expected = best * min(1.0, level / max(1, best_level))
        if goodput > max(rule.RECOVERY * self._collapse_goodput, rule.BACK_SHARE * expected):
            self.risk_seconds = max(rule.LEAST_RISK_SECONDS, rule.RISK_FACTOR * (now - self._fell_at))
            return Next.RECOVERED
        if now >= self._patience_ends and self.endured and level > rule.SAFE_LEVEL:
            # A penalty may strike later than anything that was endured.
            self.endured, self.safe_level = 0, max(self._least, rule.SAFE_LEVEL)
            self._patience_ends = now + rule.PATIENCE_SECONDS
            return Next.TRY_FEWER
        if now >= self._patience_ends:
            again = now - self._slower_at < rule.RISK_SECONDS
            self._slower_at = now
            return Next.AGAIN if again else Next.SLOWER
        in_proportion = goodput >= rule.BACK_SHARE * best * level / max(1, self.collapsed_at)
        if in_proportion and level == self.safe_level and 2 * level <= self.ceiling():
            return Next.TRY_MORE
        return Next.TRY_FEWER if not in_proportion and level > self.safe_level else Next.WAIT

    def ceiling(self) -> int:
        """The level to stop at after a collapse: what was endured, if that is not far below, else half of the way."""
        if rule.CLOSE * self.endured >= self.collapsed_at:
            return self.endured
        return math.ceil(math.sqrt(max(self.endured, rule.SAFE_LEVEL, self.safe_level) * self.collapsed_at))
