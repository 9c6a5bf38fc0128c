"""What bounds the level of the tuner: walls of the user, and ceilings that a collapse or refusals have left. Pure."""

from __future__ import annotations

import math

import cosxfer.tuning_rules as rule


class Bounds:
    """The levels that are allowed, from ``least`` to ``most``, and below the ceilings."""

    def __init__(self, *, least: int, most: int, ceiling: int | None) -> None:
        self.least = max(1, least)
        self.most = max(self.least, most)
        self.ceiling = ceiling
        """More requests than this made the goodput collapse."""
        self.wall: int | None = None
        """Another limit, such as a byte budget, keeps more requests from starting."""
        self._until = 0.0 if ceiling is None else math.inf
        self._rises_at = 0.0
        self._rest_seconds = rule.CEILING_REST_SECONDS
        self._collapsed_at = 0
        self._refused: int | None = None
        self._refusal_rises_at = 0.0

    def clamp(self, level: int) -> int:
        """The allowed level that is nearest."""
        limits = [limit for limit in (self.ceiling, self.wall, self._refused) if limit is not None]
        return max(self.least, min([level, self.most, *limits]))

    def after_collapse(self, now: float, level: int, *, collapsed_at: int) -> None:
        """Make ``level`` the ceiling. Each collapse doubles the time until it rises."""
        self.ceiling, self._until = max(1, level), now + rule.CEILING_SECONDS
        self._collapsed_at = collapsed_at
        self._rises_at = now + self._rest_seconds
        self._rest_seconds *= 2

    def after_refusal(self, now: float, level: int) -> None:
        """The server refuses requests above ``level``."""
        self._refused = max(self.least, level)
        self._refusal_rises_at = now + rule.REFUSAL_MEMORY_SECONDS

    def pass_time(self, now: float) -> None:
        """Forget an old ceiling. The refused level rises by a twentieth at a time: few refusals then show it."""
        if self._until == math.inf:
            self._until = now + rule.CEILING_SECONDS
        if self.ceiling is not None and now >= self._until:
            self.ceiling = None
        if self._refused is not None and now >= self._refusal_rises_at:
            self._refused += max(1, self._refused // 20)
            self._refusal_rises_at += rule.FIRST_HOLD_SECONDS

    def rise(self, now: float) -> None:
        """Raise the ceiling after its rest: half of the way to the level that collapsed, later beyond it.

        It may be wrong: another client's start looks like a penalty.
        """
        if self.ceiling is not None and now >= self._rises_at:
            halfway = math.ceil(math.sqrt(self.ceiling * self._collapsed_at))
            beyond = math.ceil(rule.CAREFUL_STEP * self.ceiling)
            self.ceiling = halfway if halfway >= rule.SMALLEST_STEP * self.ceiling else beyond
            self._rises_at = now + self._rest_seconds / 2
