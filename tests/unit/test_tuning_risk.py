"""How many requests to risk after a collapse."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from cosxfer.tuning_risk import is_nearly_done, level_to_try
from cosxfer.tuning_rules import LEAST_COST_SECONDS


def level(
    safe: int = 4,
    collapsed_at: int = 64,
    *,
    needed: float = 64,
    seconds_left: float = 60,
    cost_seconds: float = 5,
    endured_seconds: float = 10,
) -> int:
    return level_to_try(
        safe,
        collapsed_at,
        needed=needed,
        seconds_left=seconds_left,
        cost_seconds=cost_seconds,
        endured_seconds=endured_seconds,
    )


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
    assert level(6, 7, needed=30, seconds_left=1000, cost_seconds=1) == 6
    assert level(6, 5, needed=30, seconds_left=1000, cost_seconds=1) == 6


def test_if_a_level_is_soon_known_to_be_safe_it_goes_up_in_smaller_steps() -> None:
    levels = [level(endured_seconds=seconds) for seconds in (0.5, 3, 10, 30)]
    assert levels == sorted(levels)
    assert levels[0] < levels[-1]


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


# -- whether to fall at all --------------------------------------------------------------------------------------


def nearly_done(goodput: float, *, left: float, sent: float) -> bool:
    return is_nearly_done(goodput, 100.0, work_left=left, sent=sent)


def test_what_is_nearly_sent_is_not_sent_again() -> None:
    """90 units were sent of each 100, and the rest takes less time than the wait alone."""
    assert nearly_done(5.0, left=10.0, sent=90.0)


def test_a_rest_that_would_take_long_is_worth_a_wait() -> None:
    assert not nearly_done(5.0, left=50.0, sent=50.0)
    assert not nearly_done(5.0, left=1000.0, sent=90.0)


def test_what_would_be_sent_again_counts() -> None:
    seconds = LEAST_COST_SECONDS + 0.5
    assert not nearly_done(10.0, left=10 * seconds, sent=0.0)
    assert nearly_done(10.0, left=10 * seconds, sent=100.0)


def test_nothing_ends_by_itself_if_nothing_moves_or_the_end_is_not_known() -> None:
    assert not nearly_done(0.0, left=10.0, sent=90.0)
    assert not nearly_done(50.0, left=math.inf, sent=90.0)
    assert not nearly_done(0.0, left=math.inf, sent=90.0)
