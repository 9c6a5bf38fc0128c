"""The rate at which small requests start: what a refusal tells of it, how it rises, and when it is forgotten."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.tuning_rate import (
    FLOOR_SHARE,
    LEAST_RATE,
    PAUSE_SECONDS,
    QUIET_RATE_SECONDS,
    RATE_SHARE,
    RISE,
    SLOW_RISE,
    SPARE,
    RequestRate,
)

SERVICE = 0.05


def refuse(rate: RequestRate, now: float, requests: float, *, level: int = 64, hold_until: float = 0.0) -> None:
    rate.refuse(now, requests, level=level, service_seconds=SERVICE, hold_until=hold_until)


def refused(now: float, requests: float, *more: tuple[float, float]) -> RequestRate:
    """A rate after these refusals, as (time, requests done)."""
    rate = RequestRate()
    rate.pass_time(0.0, 0.0)
    for at, done in ((now, requests), *more):
        refuse(rate, at, done)
    return rate


def test_without_a_refusal_requests_start_at_any_rate() -> None:
    rate = RequestRate()
    rate.pass_time(1000.0, 5.0)
    assert rate.limit == math.inf


def test_the_first_refusal_tells_the_least_that_the_limit_can_be() -> None:
    # 600 in two seconds, 200 of them in a burst: 200 a second.
    assert refused(2.0, 600.0).limit == pytest.approx(200.0)


def test_what_was_accepted_long_ago_says_nothing_of_the_limit() -> None:
    rate, requests = RequestRate(), 0.0
    for second in range(1_000):
        rate.pass_time(float(second), requests)
        requests += 1.0 if second < 990 else 300.0
    refuse(rate, 1000.0, requests)
    assert 250.0 < rate.limit < 300.0


def test_a_rate_that_was_accepted_long_ago_says_nothing_either() -> None:
    rate, requests = RequestRate(), 0.0
    for second in range(100):
        rate.pass_time(float(second), requests)
        requests += 1_000.0 if second < 80 else 50.0
    refuse(rate, 100.0, requests)
    assert rate.limit < 50.0


def test_the_next_refusal_tells_the_limit_itself() -> None:
    rate = refused(2.0, 600.0)
    rate.limit = 300.0  # it has risen
    refuse(rate, 6.0, 600.0 + 4 * 250.0)
    assert rate.limit == pytest.approx(RATE_SHARE * 250.0)


def test_while_the_server_wants_nothing_it_saves_up_no_more_than_a_burst() -> None:
    rate = RequestRate()
    rate.pass_time(0.0, 0.0)
    refuse(rate, 2.0, 600.0, hold_until=7.0)
    rate.limit = 500.0
    refuse(rate, 10.0, 600.0 + 4 * 250.0)  # of eight seconds, four were lost
    assert rate.limit == pytest.approx(RATE_SHARE * 250.0)


def test_one_refusal_takes_at_most_half_of_the_rate_and_all_together_leave_a_floor() -> None:
    rate = refused(2.0, 600.0, (3.0, 601.0))
    assert rate.limit == pytest.approx(RATE_SHARE * 100.0)
    for at in range(4, 40):
        refuse(rate, float(at), 601.0)
    assert rate.limit == pytest.approx(FLOOR_SHARE * 200.0)
    assert refused(2.0, 0.0).limit == LEAST_RATE


def test_nothing_starts_for_a_moment_after_a_refusal() -> None:
    assert refused(2.0, 600.0).pause_until == 2.0 + PAUSE_SECONDS


def test_it_keeps_as_many_requests_in_flight_as_it_needs_and_no_more_than_were_refused() -> None:
    rate = refused(2.0, 600.0)
    assert rate.slots == math.ceil(SPARE * 200.0 * SERVICE) + 1
    rate.limit = 1e6
    assert rate.slots == 64


@pytest.mark.parametrize("now", [0.0, 2.0])
def test_without_a_known_duration_of_requests_it_is_that_of_all_until_now(now: float) -> None:
    rate = RequestRate()
    rate.pass_time(0.0, 0.0)
    rate.refuse(now, 400.0, level=40, service_seconds=math.inf, hold_until=0.0)
    seconds = 40 * max(0.1, now) / 400.0
    assert rate.slots == math.ceil(SPARE * rate.limit * seconds) + 1


@pytest.mark.parametrize(("next_at", "rise"), [(2.7, RISE), (8.0, SLOW_RISE)], ids=["a short time", "a long time"])
def test_it_rises_slowly_if_the_limit_is_known_well(next_at: float, rise: float) -> None:
    rate = refused(2.0, 600.0, (next_at, 600.0 + 200 * (next_at - 2.0)))
    before, at = rate.limit, next_at
    while rate.limit == before:
        at += 0.1
        rate.pass_time(at, 0.0)
    assert rate.limit == pytest.approx(rise * before)
    assert (at - next_at > 5.0) is (rise == SLOW_RISE)


def test_it_rises_fast_after_a_long_time_without_a_refusal_and_is_forgotten_when_it_no_longer_binds() -> None:
    rate = refused(2.0, 600.0, (8.0, 1800.0))
    now = 8.0
    while now < 8.0 + QUIET_RATE_SECONDS:
        now += 0.1
        rate.pass_time(now, 10 * now)
    assert rate.limit < 300.0
    for _ in range(200):
        now += 0.1
        rate.pass_time(now, 10 * now)
    assert rate.limit == math.inf
    refuse(rate, now, 10 * now)
    assert rate.limit == pytest.approx(10.0, rel=0.2), "it begins anew"


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 10_000), st.floats(0, 20), st.booleans()), max_size=40))
def test_it_is_never_nothing_and_its_slots_are_at_least_one(steps: list[tuple[float, int, float, bool]]) -> None:
    rate, now, requests = RequestRate(), 0.0, 0.0
    for seconds, done, hold, refuses in steps:
        now, requests = now + seconds, requests + done
        if refuses:
            refuse(rate, now, requests, hold_until=now + hold)
        else:
            rate.pass_time(now, requests)
        assert rate.limit >= LEAST_RATE
        if rate.limit < math.inf:
            assert 1 <= rate.slots <= 64
