"""Sounding: the ramp of the tuner looks at a quarter of its level, to see how many requests are needed. Pure.

A client that knows nothing of its endpoint starts with many requests, because a slow start costs most on the links
that need them. If few would be enough, the many are a risk: some networks punish them after a second or more. So the
level falls to a quarter for a moment, as soon as the goodput of the first level is steady. If a quarter brings as much,
a quarter of that is tried next. If it brings less, each of its requests brings its own goodput, and the level that is
needed follows from the two measurements.

A look costs goodput if all requests are needed. It is left out if too little time is left. If goodput has stopped
rising in the ramp, the look is less likely to be in vain, and may cost more.
"""

from __future__ import annotations

import math
from enum import Enum, auto

import cosxfer.tuning_rules as rule
from cosxfer.tuning_pace import Pace
from cosxfer.tuning_rules import elasticity


class Found(Enum):
    """What a look has shown."""

    ENOUGH = auto()
    """The lower level brings as much."""
    NEEDED = auto()
    """A level between the two brings as much."""
    ABOVE = auto()
    """Nearly all requests are needed, and more than those bring nothing: a look before has shown it."""
    FAR = auto()
    """All requests are needed, and more may bring more."""


class Sounding:
    """The looks of one client. ``needed`` says whether nothing is known of the endpoint."""

    def __init__(self, *, needed: bool) -> None:
        self.is_done = not needed
        self.above = 0
        """The level before the look."""
        self.goodput_above = 0.0
        self.enough_above: int | None = None
        """A level that brought no more than a lower one."""

    def is_affordable(self, *, level: int, seconds_left: float, trip: float, flat: bool) -> bool:
        """Whether a look is worth its cost. ``flat``: more requests have brought no more goodput."""
        seconds = max(rule.SETTLE_SECONDS, trip) + max(rule.SOUND_WINDOW_SECONDS, trip / 2)
        # Connections that are idle meanwhile start slowly again.
        cost = (1 - 1 / rule.FIRST_STEP) * seconds + (rule.FLAT_SOUND_TRIPS if flat else rule.SOUND_TRIPS) * trip
        return (
            not self.is_done
            and level >= rule.SOUND_FROM
            and cost < (rule.FLAT_SOUND_COST if flat else rule.SOUND_COST) * seconds_left
        )

    def is_steady(
        self, pace: Pace, seconds: float, goodput: float, earlier: float, *, level: int, request_bytes: float
    ) -> bool:
        """Whether new connections are up to speed, so many seconds after the first request.

        ``earlier`` is the goodput of the window before.
        """
        trip = pace.trip
        seconds -= pace.first_response
        size = min(request_bytes, max(rule.WARM_BYTES, goodput * pace.first_response / level))
        rounds = 3 + math.log2(max(1.0, size / rule.FIRST_WINDOW_BYTES))
        if rule.STEADY_SHARE * earlier <= goodput <= rule.RAMP_GAIN * earlier:
            return seconds >= rounds * trip
        return seconds >= rounds * trip + rule.UNSTEADY_SECONDS

    def lower(self, level: int, goodput: float) -> int:
        """Begin a look from this level; returns the level to look at."""
        self.is_done, self.above, self.goodput_above = True, level, goodput
        return max(rule.LEAST_SOUNDED, round(level / rule.FIRST_STEP))

    def is_part(self, level: int, goodput: float) -> bool:
        """Whether the requests of the lower level bring about their part of what the higher level brought."""
        return goodput > rule.BACK_SHARE * self.goodput_above * level / self.above

    def judge(self, level: int, goodput: float) -> tuple[Found, int]:
        """Say what the lower level has shown, and how many requests are needed."""
        above = self.above
        if elasticity(goodput, level, self.goodput_above, above) < rule.LEAST_PRICE:
            self.enough_above = above
            return Found.ENOUGH, level
        needed = math.ceil(rule.ROOM * level * self.goodput_above / goodput) if goodput > 0 else above
        if needed < above / rule.SMALLEST_STEP:
            return Found.NEEDED, needed
        return (Found.ABOVE if self.enough_above else Found.FAR), above
