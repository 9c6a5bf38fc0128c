"""The collapse guard of the tuner: what was endured, what collapsed, and how to come back. Pure.

Some networks punish too many connections silently: goodput falls to a fraction, without an error, until some time after
there are fewer. What the guard knows:

- the level that was *endured*: at least so many requests were in flight for some time, and brought what they should.
  The time is one and a half times as long as the slowest penalty took to strike;
- the level that *collapsed*: how many requests were in flight in the last seconds. Requests beyond a lower level take
  time to end, so the level of the moment may not be the one that collapsed.

After a collapse the client waits at the endured level, else at `SAFE_LEVEL`: goodput is next to nothing anyway, and few
requests end the penalty soonest. As long as all requests bring about what they brought before, twice as many are tried.

Goodput also falls if another client begins or the link becomes slower, and then fewer requests are no help. So their
number is blamed, and there is a ceiling, only if goodput shows it: it rises in the wait without more requests, or
fewer bring more than those that collapsed. A second collapse soon after the first is blamed on it, too. How high the
ceiling is: `tuning_risk.py`. When that level was endured, the next one is chosen in the same way.
"""

from __future__ import annotations

import math
from enum import Enum

import cosxfer.tuning_rules as rule
from cosxfer.tuning_best import Best
from cosxfer.tuning_bounds import Bounds
from cosxfer.tuning_levels import Levels
from cosxfer.tuning_risk import level_to_try


class Next(Enum):
    """What to do after a window in which the client waits for its goodput, in words for the trace."""

    WAIT = "wait for the goodput"
    RECOVERED = "recovered from the collapse"
    """Fewer requests bring more: it was their number."""
    SLOWER = "nothing shows that it was the number of requests"
    AGAIN = "collapsed again: try fewer requests"
    """Nothing shows it a second time, so it may have been the number of requests after all."""
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
        """How many requests were in flight before the last collapse: their mean, or the level of the moment."""
        self.safe_level = 1
        """Where the client waits."""
        self._least = 1
        self._cost_seconds = 0.0
        """What the last collapse has cost."""
        self._collapse_goodput = self._request_goodput = self._best_goodput = 0.0
        self._waited: list[tuple[int, float]] = []
        """The windows of the wait: level, and goodput of a request."""
        self._try_from = self._try_seconds = 0.0
        self._fell_at = self._patience_ends = 0.0
        self._slower_at = -math.inf
        self._wait_lower_until: float | None = None
        self._calm_level, self._calm_since = 0, 0.0
        self._risen_at = self._strike_seconds = 0.0
        """When more requests began than were safe (0: not yet), and the longest that a penalty took to strike then."""
        self._peak, self._peak_at = 0, -math.inf
        self._mean = self._watched_at = 0.0

    @property
    def risk_seconds(self) -> float:
        """With less time left, another collapse would cost more than a higher level can bring."""
        cost = self._cost_seconds
        return max(rule.LEAST_RISK_SECONDS, rule.RISK_FACTOR * cost) if cost else rule.RISK_SECONDS

    @property
    def endured_seconds(self) -> float:
        """How long a level has to be kept until it is safe."""
        if not self._strike_seconds:
            return rule.ENDURED_SECONDS
        return min(rule.ENDURED_SECONDS, max(rule.LEAST_ENDURED_SECONDS, rule.STRIKE_FACTOR * self._strike_seconds))

    def watch(self, now: float, in_flight: int, *, low: bool, waits: bool) -> None:
        """Look at the requests in flight. ``low``: goodput is low; ``waits``: the client waits after a collapse."""
        passed, self._watched_at = now - self._watched_at, now
        if not low and not waits:
            self._mean += (in_flight - self._mean) * (1 - math.exp(-passed / rule.MEAN_SECONDS))
        if in_flight >= self._peak or now - self._peak_at > rule.PEAK_SECONDS:
            self._peak, self._peak_at = in_flight, now
        if waits or in_flight <= self.endured or not self._risen_at:
            self._risen_at = now
        if waits or not in_flight or in_flight > rule.SMALLEST_STEP * self._calm_level:
            self._calm_level, self._calm_since = in_flight, now
        self._calm_level = min(self._calm_level, in_flight)

    def endure(self, now: float) -> None:
        """A window has brought what it should. If the level was kept for long, it is safe."""
        if now - self._calm_since > self.endured_seconds:
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
        return max(level, math.ceil(self._mean)) > rule.FEW_REQUESTS

    def fall(self, now: float, goodput: float, level: int, levels: Levels, *, least: int, since: float) -> int:
        """Goodput has collapsed at this level, after the time ``since``. Returns the level at which to wait."""
        self._strike_seconds = max(self._strike_seconds, since - self._risen_at)
        self.collapsed_at, self._least = max(level, math.ceil(self._mean)), least
        if self.endured >= self.collapsed_at:
            self.collapsed_at = max(level, self._peak)
        if self.endured >= self.collapsed_at:
            self.endured = 0
        self.safe_level = max(least, self.endured or min(self.collapsed_at // 4, rule.SAFE_LEVEL))
        self._peak, self._mean, self._waited = 0, 0.0, []
        self._fell_at, self._collapse_goodput = since, goodput
        # Since the last collapse, no level may have been high enough, or lasted, to show what the link can bring.
        self._request_goodput = max(self._request_goodput, levels.of_a_request)
        self._best_goodput = max(self._best_goodput, levels.highest)
        self._try_from, self._try_seconds = now, rule.FIRST_TRY_SECONDS
        self._patience_ends, self._wait_lower_until = now + rule.PATIENCE_SECONDS, now
        return self.safe_level

    def after_window(self, now: float, goodput: float, level: int, best: Best) -> Next:
        """Say what to do after a window with this goodput. ``best`` is the goodput before the collapse."""
        self._cost_seconds = now - self._fell_at
        # Few requests show what one can bring, if the level that collapsed was the only one before.
        self._request_goodput = max(self._request_goodput, goodput / level)
        fallen, before = self._collapse_goodput, self._request_goodput * level
        again = now - self._slower_at < rule.AGAIN_SECONDS
        blamed = again or self._shows_penalty(goodput, level)
        self._waited.append((level, goodput / level))
        if blamed and goodput > rule.RECOVERY * fallen:
            return Next.RECOVERED
        if goodput > rule.RECOVERY * fallen and best.is_part(level, goodput):
            return self._not_blamed(now)
        if now >= self._patience_ends and self.endured and level > rule.SAFE_LEVEL:
            # A penalty may strike later than anything that was endured.
            self.endured, self.safe_level = 0, max(self._least, rule.SAFE_LEVEL)
            self._patience_ends = now + rule.PATIENCE_SECONDS
            return Next.TRY_FEWER
        if now >= self._patience_ends:
            if not again:
                return self._not_blamed(now)
            self._slower_at = now
            return Next.AGAIN
        if goodput < rule.BACK_SHARE * before:
            if level <= self.safe_level:
                return Next.WAIT
            self._try_from, self._try_seconds = now + self._try_seconds, 2 * self._try_seconds
            return Next.TRY_FEWER
        if 2 * level > self.collapsed_at // 2:
            return Next.RECOVERED if blamed else self._not_blamed(now)
        return Next.TRY_MORE if now >= self._try_from and goodput >= rule.SAME_SHARE * before else Next.WAIT

    def expected(self, level: int) -> float:
        """What so many requests bring if each brings what it did before the collapse."""
        return min(self._best_goodput, self._request_goodput * level)

    def level_to_try(self, work_left: float, *, above: int = 0) -> int:
        """The level to stop at after a collapse, or the next one after ``above`` was endured."""
        best, each = self._best_goodput, self._request_goodput
        if not best:
            return above
        few = min(rule.SAFE_LEVEL, self.collapsed_at // 2)
        return level_to_try(
            max(1, above, few, self.endured or self.safe_level),
            self.collapsed_at,
            needed=best / each,
            seconds_left=rule.seconds_left(work_left, best),
            cost_seconds=self._cost_seconds,
            endured_seconds=self.endured_seconds,
        )

    def climbs(self, bounds: Bounds, *, work_left: float) -> bool:
        """Raise the ceiling once it was endured, if a higher one is worth its risk; returns whether it is."""
        ceiling = bounds.ceiling
        if ceiling is None or rule.SMALLEST_STEP * self.endured < ceiling:
            return False
        bounds.ceiling = self.level_to_try(work_left, above=ceiling)
        return bounds.ceiling > ceiling

    def raise_ceiling(self, now: float, bounds: Bounds, *, work_left: float, goodput: float) -> None:
        """A hold below the ceiling has ended well: raise it, if there is time for what that may cost."""
        if rule.seconds_left(work_left, goodput) > self.risk_seconds:
            bounds.rise(now)

    def forget(self) -> None:
        """The link has become slower, or the requests have another size: their goodput is another one."""
        self._request_goodput = self._best_goodput = 0.0

    def _shows_penalty(self, goodput: float, level: int) -> bool:
        """Whether fewer requests bring more than those that collapsed, or more than as many did in this wait."""
        if level <= self.safe_level and goodput > rule.RECOVERY * self._collapse_goodput:
            return True
        return any(known <= level and goodput / level > rule.RECOVERY * each for known, each in self._waited)

    def _not_blamed(self, now: float) -> Next:
        self.forget()
        self._slower_at = now
        return Next.SLOWER
