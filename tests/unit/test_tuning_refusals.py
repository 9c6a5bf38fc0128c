"""Refusals: which of them reduce the level, how long nothing starts, and which share of the level is kept."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer import tuning_rules as rule
from cosxfer.tuning_refusals import Refusals


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


def test_the_first_back_off_keeps_the_share_that_is_given() -> None:
    refusals = Refusals()
    refusals.see_service(0.0, 0.1)
    refusals.see(1.0, 1.0, retry_after_seconds=0.0)
    assert refusals.share(1.0, 100.0, 64, first=0.7) == 0.7
    assert refusals.level == 64


def test_refusals_that_go_on_keep_what_the_server_accepts() -> None:
    refusals = Refusals()
    refusals.see_service(0.0, 0.1)  # 40 slots could send 400 requests a second
    refusals.see(10.0, 1.0, retry_after_seconds=0.0)
    refusals.share(10.0, 0.0, 64, first=0.7)
    refusals.see(11.0, 101.0, retry_after_seconds=0.0)
    # 200 were accepted in a second: half of what the level could send.
    assert refusals.share(11.0, 200.0, 40, first=0.7) == pytest.approx(0.95 * 200 / 400)


def test_refusals_after_a_long_time_begin_anew() -> None:
    refusals = Refusals()
    refusals.see_service(0.0, 0.1)
    refusals.see(10.0, 1.0, retry_after_seconds=0.0)
    refusals.share(10.0, 0.0, 64, first=0.7)
    refusals.see(20.0, 2.0, retry_after_seconds=0.0)
    assert refusals.share(20.0, 5.0, 64, first=0.7) == 0.7


def test_without_a_known_duration_of_requests_the_share_is_the_one_that_is_given() -> None:
    refusals = Refusals()
    for now in (1.0, 2.0):
        refusals.see(now, now, retry_after_seconds=0.0)
        assert refusals.share(now, 10 * now, 64, first=0.7) == 0.7


def test_durations_of_windows_with_refusals_do_not_count() -> None:
    refusals = Refusals()
    refusals.see_service(0.0, 0.2)
    refusals.see(10.0, 1.0, retry_after_seconds=0.0)
    refusals.see_service(11.0, 0.001)  # a refusal is quick
    refusals.share(11.0, 0.0, 64, first=0.7)
    refusals.see(12.0, 101.0, retry_after_seconds=0.0)
    assert refusals.share(12.0, 100.0, 40, first=0.7) == pytest.approx(0.95 * 100 / (40 / 0.2))


@given(
    st.lists(
        st.tuples(st.floats(0.001, 5), st.integers(0, 500), st.integers(0, 500), st.integers(1, 256), st.floats(0, 9)),
        min_size=1,
        max_size=30,
    )
)
def test_the_share_is_always_one_of_a_level_and_time_never_goes_back(
    steps: list[tuple[float, int, int, int, float]],
) -> None:
    refusals, now, requests, refused = Refusals(), 0.0, 0.0, 0.0
    refusals.see_service(0.0, 0.05)
    for seconds, done, more, level, retry_after in steps:
        now, requests, refused, held = now + seconds, requests + done, refused + more, refusals.hold_until
        if refusals.see(now, refused, retry_after_seconds=retry_after):
            share = refusals.share(now, requests, level, first=rule.BACK_OFF)
            assert rule.SMALLEST_BACK_OFF <= share <= 0.93
            assert math.isfinite(share)
        assert refusals.count == refused
        assert refusals.hold_until >= held


@pytest.mark.parametrize(
    ("refused", "accepted", "level", "few"),
    [
        (1, 1000, rule.COARSE_LEVEL, True),
        (6, 1000, rule.COARSE_LEVEL, False),
        (1, 1000, rule.COARSE_LEVEL + 1, False),
    ],
    ids=["few", "many", "at a fine level"],
)
def test_few_refusals_are_a_small_share_of_few_requests_since_the_last_back_off(
    refused: int, accepted: int, level: int, few: bool
) -> None:
    refusals = Refusals()
    refusals.see(0.0, 100.0, retry_after_seconds=0.0)
    assert not refusals.are_few(10_000.0, level)  # there was no back-off yet
    refusals.share(0.0, 500.0, 8, first=0.7)
    refusals.see(10.0, 100.0 + refused, retry_after_seconds=0.0)
    assert refusals.are_few(500.0 + accepted, level) is few
