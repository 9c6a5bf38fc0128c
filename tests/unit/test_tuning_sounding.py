"""Sounding: when a look at a lower level is worth its cost, and what it shows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.tuning_pace import Pace
from cosxfer.tuning_sounding import Found, Sounding


def looked(level: int = 64, goodput: float = 64.0) -> Sounding:
    sounding = Sounding(needed=True)
    assert sounding.lower(level, goodput) == max(4, level // 4)
    return sounding


def test_a_client_that_knows_its_endpoint_does_not_look() -> None:
    assert not Sounding(needed=False).is_affordable(level=64, seconds_left=1e6, trip=0.01, flat=False)


def test_a_look_needs_time_and_more_of_it_if_the_round_trip_is_long() -> None:
    sounding = Sounding(needed=True)
    assert not sounding.is_affordable(level=64, seconds_left=5, trip=0.01, flat=False)
    assert sounding.is_affordable(level=64, seconds_left=15, trip=0.01, flat=False)
    assert not sounding.is_affordable(level=64, seconds_left=15, trip=0.2, flat=False)


def test_a_flat_goodput_justifies_a_look_in_less_time() -> None:
    assert Sounding(needed=True).is_affordable(level=64, seconds_left=5, trip=0.01, flat=True)


def test_few_requests_are_not_looked_below() -> None:
    assert not Sounding(needed=True).is_affordable(level=8, seconds_left=1e6, trip=0.01, flat=True)


def test_a_quarter_that_brings_as_much_is_enough() -> None:
    assert looked().judge(16, 63.0) == (Found.ENOUGH, 16)


def test_the_level_that_is_needed_follows_from_the_two_measurements() -> None:
    found, needed = looked(goodput=30.0).judge(16, 16.0)
    assert found is Found.NEEDED
    assert 30 < needed <= 33


def test_a_quarter_of_the_goodput_shows_that_more_may_be_needed() -> None:
    assert looked().judge(16, 16.0) == (Found.FAR, 64)


def test_after_a_level_that_was_enough_nothing_above_it_is_needed() -> None:
    sounding = looked()
    sounding.judge(16, 64.0)
    sounding.lower(16, 64.0)
    assert sounding.judge(4, 16.0) == (Found.ABOVE, 16)


@given(st.integers(1, 400), st.sampled_from([32, 64, 128, 256]))
def test_on_a_capped_link_what_is_needed_is_never_too_low(knee: int, level: int) -> None:
    sounding = Sounding(needed=True)
    below = sounding.lower(level, float(min(level, knee)))
    found, needed = sounding.judge(below, float(min(below, knee)))
    if found is Found.NEEDED:
        assert knee <= needed <= math.ceil(1.06 * knee)
    elif found is Found.ENOUGH:
        assert min(below, knee) >= 0.9 * min(level, knee)


@pytest.mark.parametrize("goodput", [0.5, 2.0])
def test_a_goodput_that_still_changes_is_not_judged(goodput: float) -> None:
    pace = Pace()
    pace.first_response = pace.latency = 0.01
    sounding = Sounding(needed=True)
    assert sounding.is_steady(pace, 1.0, 1.0, 1.0, level=64, request_bytes=1e6)
    assert not sounding.is_steady(pace, 1.0, goodput, 1.0, level=64, request_bytes=1e6)
    assert sounding.is_steady(pace, 4.0, goodput, 1.0, level=64, request_bytes=1e6)


def test_connections_on_a_long_way_have_time_to_start() -> None:
    pace = Pace()
    pace.first_response = pace.latency = 0.2
    assert not Sounding(needed=True).is_steady(pace, 1.0, 1e8, 1e8, level=64, request_bytes=1e6)
