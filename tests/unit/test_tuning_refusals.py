"""Refusals: which of them reduce the level, how long nothing starts, and which share of the level is kept."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer import tuning_rules as rule
from cosxfer.tuning_refusals import Answer, Refusals


def test_only_the_first_refusal_of_a_dead_band_reduces_the_level() -> None:
    refusals = Refusals()
    assert not refusals.see(0.0, 0.0, retry_after_seconds=0.0)
    assert refusals.see(1.0, 3.0, retry_after_seconds=0.0)
    assert not refusals.see(1.1, 5.0, retry_after_seconds=0.0)
    assert not refusals.see(2.0, 5.0, retry_after_seconds=0.0)  # no more than before
    assert refusals.see(2.0, 6.0, retry_after_seconds=0.0)
    assert refusals.count == 6.0


def test_nothing_starts_before_the_server_allows_it_and_the_dead_band_lasts_as_long() -> None:
    refusals = Refusals()
    assert refusals.see(10.0, 1.0, retry_after_seconds=4.0)
    assert refusals.hold_until == 14.0
    assert not refusals.see(11.0, 2.0, retry_after_seconds=1.0)
    assert refusals.hold_until == 14.0  # a shorter wait does not end a longer one
    assert not refusals.see(13.0, 3.0, retry_after_seconds=0.0)
    assert refusals.see(14.0, 4.0, retry_after_seconds=0.0)


def test_refusals_are_recent_for_some_seconds() -> None:
    refusals = Refusals()
    assert not refusals.is_recent(0.0)
    refusals.see(5.0, 1.0, retry_after_seconds=0.0)
    assert refusals.is_recent(5.0 + rule.QUIET_SECONDS - 0.1)
    assert not refusals.is_recent(5.0 + rule.QUIET_SECONDS)


def back_off(refusals: Refusals, now: float, requests: float, level: int, *, in_ramp: bool = False) -> Answer:
    return refusals.answer(now, requests, level, small=False, in_ramp=in_ramp)


@pytest.mark.parametrize(("in_ramp", "share"), [(False, rule.BACK_OFF), (True, rule.SMALLEST_BACK_OFF)])
def test_the_first_back_off_of_large_requests_keeps_a_fixed_share(in_ramp: bool, share: float) -> None:
    refusals = Refusals()
    refusals.see_service(0.0, 0.1)
    refusals.see(1.0, 1.0, retry_after_seconds=0.0)
    answer = back_off(refusals, 1.0, 100.0, 64, in_ramp=in_ramp)
    assert (answer.phase, answer.level, answer.ceiling) == ("recover", int(share * 64), 60)
    assert answer.abandon is in_ramp
    assert refusals.level == 64
    assert refusals.rate.limit == math.inf


def test_refusals_that_go_on_keep_what_the_server_accepts() -> None:
    refusals = Refusals()
    refusals.see_service(0.0, 0.1)  # 40 slots could send 400 requests a second
    refusals.see(10.0, 1.0, retry_after_seconds=0.0)
    back_off(refusals, 10.0, 0.0, 64)
    refusals.see(11.0, 101.0, retry_after_seconds=0.0)
    # 200 were accepted in a second: half of what the level could send.
    assert back_off(refusals, 11.0, 200.0, 40).level == int(40 * 0.95 * 200 / 400)


def test_refusals_after_a_long_time_begin_anew() -> None:
    refusals = Refusals()
    refusals.see_service(0.0, 0.1)
    refusals.see(10.0, 1.0, retry_after_seconds=0.0)
    back_off(refusals, 10.0, 0.0, 64)
    refusals.see(20.0, 2.0, retry_after_seconds=0.0)
    assert back_off(refusals, 20.0, 5.0, 64).level == int(rule.BACK_OFF * 64)


def test_without_a_known_duration_of_requests_the_fixed_share_is_kept() -> None:
    refusals = Refusals()
    for now in (1.0, 2.0):
        refusals.see(now, now, retry_after_seconds=0.0)
        assert back_off(refusals, now, 10 * now, 64).level == int(rule.BACK_OFF * 64)


@pytest.mark.parametrize(("at", "seconds"), [(11.0, 0.001), (0.0, 0.0)], ids=["a refusal is quick", "none in flight"])
def test_durations_that_say_nothing_do_not_count(at: float, seconds: float) -> None:
    refusals = Refusals()
    refusals.see_service(0.0, 0.2)
    refusals.see(10.0, 1.0, retry_after_seconds=0.0)
    refusals.see_service(at, seconds)
    back_off(refusals, 11.0, 0.0, 64)
    refusals.see(12.0, 101.0, retry_after_seconds=0.0)
    assert back_off(refusals, 12.0, 100.0, 40).level == int(40 * 0.95 * 100 / (40 / 0.2))


def test_after_a_back_off_the_level_rises_to_just_below_what_was_refused() -> None:
    refusals, level, levels = Refusals(), 16, []
    refusals.see(10.0, 1.0, retry_after_seconds=0.0)
    back_off(refusals, 10.0, 0.0, 23)
    assert refusals.recovery(11.0, level) == level  # it waits
    while (higher := refusals.recovery(20.0, level)) is not None:
        level = higher
        levels.append(level)
    assert levels == [18, 20, 22]


def test_small_requests_keep_a_rate_and_leave_no_ceiling() -> None:
    refusals = Refusals()
    refusals.see_service(0.0, 0.1)
    refusals.rate.pass_time(0.0, 0.0)
    refusals.see(3.0, 1.0, retry_after_seconds=2.0)
    answer = refusals.answer(3.0, 400.0, 64, small=True, in_ramp=True)
    assert (answer.phase, answer.ceiling, answer.abandon) == ("paced", None, False)
    assert answer.level == 14  # 100 requests a second, 0.1 s each, and some to spare
    assert answer.reason == "the server accepts 100 requests a second"
    assert refusals.rate.limit == 100.0
    assert refusals.hold_until == 5.0


@given(
    st.lists(
        st.tuples(st.floats(0.001, 5), st.integers(0, 500), st.integers(0, 500), st.floats(0, 9), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_the_answer_is_never_a_higher_level_and_time_never_goes_back(
    steps: list[tuple[float, int, int, float, bool]],
) -> None:
    refusals, now, requests, refused, level = Refusals(), 0.0, 0.0, 0.0, 256
    refusals.see_service(0.0, 0.05)
    for seconds, done, more, retry_after, small in steps:
        now, requests, refused, held = now + seconds, requests + done, refused + more, refusals.hold_until
        if refusals.see(now, refused, retry_after_seconds=retry_after):
            answer = refusals.answer(now, requests, level, small=small, in_ramp=False)
            assert 0 <= answer.level <= level
            assert (refusals.rate.limit < math.inf) or not small
            level = max(1, answer.level)
        assert refusals.count == refused
        assert refusals.hold_until >= held
