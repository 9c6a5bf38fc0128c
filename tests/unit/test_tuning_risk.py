"""How many requests to risk after a collapse."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from cosxfer.tuning_risk import level_to_try


def level(*, needed: float = 64, seconds_left: float = 60, cost_seconds: float = 5) -> int:
    return level_to_try(4, 64, needed=needed, seconds_left=seconds_left, cost_seconds=cost_seconds)


def test_the_level_is_between_what_was_safe_and_what_collapsed() -> None:
    assert 8 < level() < 50


def test_a_higher_cost_makes_it_careful() -> None:
    levels = [level(cost_seconds=cost) for cost in (1, 5, 20, 80)]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] > levels[-1]


def test_with_next_to_no_time_left_it_stays_where_it_is_safe() -> None:
    assert level(seconds_left=0.1, cost_seconds=20) == 4
    assert level(seconds_left=60, cost_seconds=20) > 4


def test_no_more_are_tried_than_bring_something() -> None:
    assert level(needed=10) <= 13
    assert level(needed=3) == 4


def test_if_there_is_no_level_between_it_stays() -> None:
    assert level_to_try(6, 7, needed=30, seconds_left=1000, cost_seconds=1) == 6
    assert level_to_try(6, 5, needed=30, seconds_left=1000, cost_seconds=1) == 6


def expected_seconds(tried: int, *, needed: float, seconds_left: float, cost_seconds: float) -> float:
    """If the limit is above, the work ends at the level that was tried; else at 4, after the cost."""
    safe_chance = math.log(64 / tried) / math.log(16)
    at_tried, at_safe = (seconds_left / min(1, count / needed) for count in (tried, 4))
    return safe_chance * at_tried + (1 - safe_chance) * (cost_seconds + at_safe)


@given(st.floats(5, 100), st.floats(1, 500), st.floats(0.1, 100))
def test_it_is_not_worse_than_to_stay(needed: float, seconds_left: float, cost_seconds: float) -> None:
    """If trying this level once and never again takes less time than to stay, it is right to leave the safe level."""
    chosen = level(needed=needed, seconds_left=seconds_left, cost_seconds=cost_seconds)
    assert 4 <= chosen < 64
    stay = seconds_left / min(1, 4 / needed)
    figures = {"needed": needed, "seconds_left": seconds_left, "cost_seconds": cost_seconds}
    if any(expected_seconds(tried, **figures) < 0.98 * stay for tried in (8, 16, 32)):
        assert chosen > 4
