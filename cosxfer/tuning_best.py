"""The best goodput that the tuner has seen, and whether goodput stays far below it. Pure.

Goodput is in units of work per second.
"""

from __future__ import annotations

import cosxfer.tuning_rules as rule


class Best:
    """The best goodput since the link or the requests were other ones."""

    def __init__(self) -> None:
        self.goodput = 0.0
        """0: none is known."""
        self.level = 1
        """The level that brought it."""
        self.low_windows = 0
        """How many windows in a row were far below it."""
        self.low_since = 0.0
        """When the first of them began."""
        self._request_rate = 0.0
        """Requests per second that it came with."""

    def forget(self) -> None:
        """The link or the requests are other ones."""
        self.goodput, self.low_windows = 0.0, 0

    def restart(self, level: int, goodput: float) -> None:
        """Forget all but this goodput, which is that of ``level``, or is expected of it."""
        self.goodput, self.level, self.low_windows = goodput, level, 0

    def see(self, level: int, goodput: float, request_rate: float, *, trust: float = 1.0) -> None:
        """Take a window. It counts for a share of ``trust``."""
        if trust * goodput > self.goodput:
            self.goodput, self.level, self._request_rate = trust * goodput, level, trust * request_rate

    def is_part(self, level: int, goodput: float) -> bool:
        """Whether this is about what so many requests should bring, if each brings what it did."""
        return goodput > rule.BACK_SHARE * self.goodput * min(1.0, level / self.level)

    def is_far(self, goodput: float, request_rate: float, share: float) -> bool:
        """Whether this is less than such a share of the best. If as many requests end, they are only smaller ones."""
        other_work = 0 < share * self._request_rate < request_rate
        return goodput < share * self.goodput and not other_work

    def stays_low(self, now: float, seconds: float) -> bool:
        """Count a window of so many seconds that was far below. Returns whether it has been so for long."""
        self.low_windows += 1
        if self.low_windows == 1:
            self.low_since = now - seconds
        return self.low_windows >= rule.COLLAPSE_WINDOWS and now - self.low_since >= rule.COLLAPSE_SECONDS
