"""The collapse guard of the tuner: it remembers what worked, and tells a penalty from a slower link."""

from __future__ import annotations

import pytest

from cosxfer.tuning_guard import Guard, Next
from cosxfer.tuning_rules import ENDURED_SECONDS, FEW_REQUESTS, PATIENCE_SECONDS, PATIENT_SECONDS, SAFE_LEVEL


def watched(guard: Guard, level: int, since: float, seconds: float, *, low: bool = False) -> float:
    """Look each half a second; returns the time at the end."""
    for number in range(round(2 * seconds)):
        guard.watch(since + number / 2, level, low=low, waits=False)
    return since + seconds


def test_a_level_that_was_kept_for_long_is_endured_and_is_where_the_next_collapse_leads() -> None:
    guard = Guard()
    now = watched(guard, 20, 0.0, ENDURED_SECONDS + 1)
    assert guard.endured == 20
    now = watched(guard, 40, now, 3.0)
    assert guard.endured == 20
    assert guard.fall(now, 1.0, 40, least=1, since=now - 1) == 20
    assert guard.ceiling() == 20


def test_a_short_dip_of_the_requests_in_flight_is_the_level_that_counts() -> None:
    guard = Guard()
    now = watched(guard, 40, 0.0, 5.0)
    now = watched(guard, 10, now, 1.0)
    watched(guard, 40, now, 5.0)
    assert guard.endured == 0


def test_a_level_with_a_low_goodput_is_not_endured() -> None:
    guard = Guard()
    watched(guard, 20, 0.0, 3 * ENDURED_SECONDS, low=True)
    assert guard.endured == 0


def test_without_an_endured_level_it_waits_with_few_requests_and_stops_halfway() -> None:
    guard = Guard()
    now = watched(guard, 64, 0.0, 2.0)
    assert guard.fall(now, 1.0, 64, least=1, since=now - 1) == SAFE_LEVEL
    assert guard.ceiling() == 16


def test_requests_that_are_still_ending_are_blamed_not_the_level_of_the_moment() -> None:
    guard = Guard()
    now = watched(guard, 12, 0.0, ENDURED_SECONDS + 1)
    now = watched(guard, 22, now, 3.0)
    now = watched(guard, 12, now, 1.0)
    assert guard.fall(now, 1.0, 12, least=1, since=now - 1) == 12
    assert guard.collapsed_at == 22


def test_an_endured_level_that_collapses_is_endured_no_longer() -> None:
    guard = Guard()
    now = watched(guard, 20, 0.0, 2 * ENDURED_SECONDS)
    assert guard.fall(now, 1.0, 20, least=1, since=now - 1) == SAFE_LEVEL
    assert guard.endured == 0


def test_an_endured_level_that_does_not_recover_was_not_safe() -> None:
    guard = Guard()
    now = watched(guard, 20, 0.0, ENDURED_SECONDS + 1)
    now = watched(guard, 40, now, 2.0)
    assert guard.fall(now, 1.0, 40, least=1, since=now - 1) == 20
    now += PATIENCE_SECONDS
    assert guard.after_window(now, 1.0, 20, best=100.0, best_level=40) is Next.TRY_FEWER
    assert (guard.safe_level, guard.endured) == (SAFE_LEVEL, 0)
    assert guard.after_window(now + 1, 1.0, SAFE_LEVEL, best=100.0, best_level=40) is Next.WAIT


def test_a_collapse_of_few_requests_is_not_about_their_number() -> None:
    """Another client may have begun."""
    guard = Guard()
    watched(guard, SAFE_LEVEL, 0.0, 5.0)
    assert not guard.is_about_number(2)
    assert guard.is_about_number(2 * SAFE_LEVEL)


def test_walls_of_the_user_are_kept() -> None:
    guard = Guard()
    now = watched(guard, 64, 0.0, 2.0)
    assert guard.fall(now, 1.0, 64, least=8, since=now - 1) == 8


def test_more_goodput_with_fewer_requests_is_a_recovery_and_its_cost_is_the_risk_of_the_next() -> None:
    guard = Guard()
    guard.fall(10.0, 5.0, 64, least=1, since=9.0)
    assert guard.after_window(11.0, 5.0, 4, best=100.0, best_level=64) is Next.TRY_MORE
    assert guard.after_window(15.0, 7.0, 4, best=100.0, best_level=64) is Next.RECOVERED
    assert guard.risk_seconds == 18.0


def test_twice_as_many_that_bring_no_more_are_taken_back() -> None:
    guard = Guard()
    guard.fall(10.0, 5.0, 64, least=1, since=9.0)
    assert guard.after_window(12.0, 5.0, 8, best=100.0, best_level=64) is Next.TRY_FEWER
    assert guard.after_window(12.0, 1.0, 4, best=100.0, best_level=64) is Next.WAIT


def test_without_a_recovery_the_link_has_become_slower_and_the_second_time_it_was_the_number() -> None:
    guard = Guard()
    for now, expected in ((0.0, Next.SLOWER), (15.0, Next.AGAIN)):
        guard.fall(now, 5.0, 64, least=1, since=now - 1)
        assert guard.after_window(now + PATIENCE_SECONDS, 1.0, 4, best=100.0, best_level=64) is expected


@pytest.mark.parametrize(("above", "waits"), [(FEW_REQUESTS, False), (FEW_REQUESTS + 1, True)])
def test_fewer_than_a_few_requests_are_not_waited_for(above: int, waits: bool) -> None:
    guard = Guard()
    assert guard.waits_lower(10.0, PATIENT_SECONDS + 1, above) is waits
