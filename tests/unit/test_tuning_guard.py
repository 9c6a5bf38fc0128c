"""The collapse guard of the tuner: it remembers what worked, and tells a penalty from a slower link."""

from __future__ import annotations

import pytest

from cosxfer.tuning_best import Best
from cosxfer.tuning_bounds import Bounds
from cosxfer.tuning_guard import Guard, Next
from cosxfer.tuning_levels import Levels
from cosxfer.tuning_rules import (
    AGAIN_SECONDS,
    ENDURED_SECONDS,
    FEW_REQUESTS,
    FIRST_TRY_SECONDS,
    LEAST_ENDURED_SECONDS,
    PATIENCE_SECONDS,
    PATIENT_SECONDS,
    RISK_SECONDS,
    SAFE_LEVEL,
    STRIKE_FACTOR,
)


def watched(guard: Guard, level: int, since: float, seconds: float, *, low: bool = False) -> float:
    """Look each half a second; returns the time at the end. Unless it is ``low``, goodput is what it should be."""
    for number in range(round(2 * seconds)):
        guard.watch(since + number / 2, level, low=low, waits=False)
        if not low:
            guard.endure(since + number / 2)
    return since + seconds


def measured(*goodputs: tuple[int, float]) -> Levels:
    levels = Levels()
    for level, goodput in goodputs or ((8, 8.0), (64, 64.0)):
        levels.note(level, goodput)
    return levels


def fallen(level: int = 64, goodput: float = 2.0, levels: Levels | None = None) -> Guard:
    """A guard after ten seconds at a level that has collapsed. Before, each request brought 1."""
    guard = Guard()
    now = watched(guard, level, 0.0, 9.0)
    guard.fall(now + 1, goodput, level, levels or measured(), least=1, since=now)
    return guard


def after(guard: Guard, now: float, goodput: float, level: int) -> Next:
    before = Best()
    before.restart(64, 64.0)
    return guard.after_window(now, goodput, level, before)


def test_a_level_that_was_kept_for_long_is_endured_and_is_where_the_next_collapse_leads() -> None:
    guard = Guard()
    now = watched(guard, 20, 0.0, ENDURED_SECONDS + 1)
    assert guard.endured == 20
    now = watched(guard, 40, now, 3.0)
    assert guard.endured == 20
    assert guard.fall(now, 1.0, 40, measured(), least=1, since=now - 1) == 20
    assert 20 <= guard.level_to_try(1e4) < 40


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


def test_without_an_endured_level_it_waits_with_few_requests_and_stops_between() -> None:
    guard = Guard()
    now = watched(guard, 64, 0.0, 2.0)
    assert guard.fall(now, 1.0, 64, measured(), least=1, since=now - 1) == SAFE_LEVEL
    assert SAFE_LEVEL < guard.level_to_try(1e4) < 64


def test_requests_that_are_still_ending_are_blamed_too_not_the_level_of_the_moment_alone() -> None:
    guard = Guard()
    now = watched(guard, 12, 0.0, ENDURED_SECONDS + 1)
    now = watched(guard, 22, now, 3.0)
    now = watched(guard, 12, now, 1.0)
    assert guard.fall(now, 1.0, 12, measured(), least=1, since=now - 1) == 12
    assert 12 < guard.collapsed_at < 22


def test_a_brief_step_upwards_is_not_what_collapsed() -> None:
    guard = Guard()
    now = watched(guard, 256, 0.0, 0.5)
    now = watched(guard, 32, now, 5.0)
    guard.fall(now, 1.0, 32, measured(), least=1, since=now - 1)
    assert 32 <= guard.collapsed_at < 64


def test_requests_while_goodput_is_low_are_not_what_collapsed() -> None:
    guard = Guard()
    now = watched(guard, 64, 0.0, 9.0)
    now = watched(guard, 8, now, 3.0, low=True)
    guard.fall(now, 1.0, 8, measured(), least=1, since=now - 1)
    assert guard.collapsed_at > 50


def test_a_level_that_was_endured_is_not_what_collapsed_if_more_were_in_flight() -> None:
    guard = Guard()
    now = watched(guard, 20, 0.0, ENDURED_SECONDS + 1)
    now = watched(guard, 10, now, 5.0)
    now = watched(guard, 40, now, 0.5)
    assert guard.fall(now, 1.0, 10, measured(), least=1, since=now - 1) == 20
    assert guard.collapsed_at == 40


def test_an_endured_level_that_collapses_is_endured_no_longer() -> None:
    guard = Guard()
    now = watched(guard, 20, 0.0, 2 * ENDURED_SECONDS)
    assert guard.fall(now, 1.0, 20, measured(), least=1, since=now - 1) == SAFE_LEVEL
    assert guard.endured == 0


def test_an_endured_level_that_does_not_recover_was_not_safe() -> None:
    guard = Guard()
    now = watched(guard, 20, 0.0, ENDURED_SECONDS + 1)
    now = watched(guard, 40, now, 2.0)
    assert guard.fall(now, 1.0, 40, measured(), least=1, since=now - 1) == 20
    now += PATIENCE_SECONDS
    assert after(guard, now, 1.0, 20) is Next.TRY_FEWER
    assert (guard.safe_level, guard.endured) == (SAFE_LEVEL, 0)
    assert after(guard, now + 1, 1.0, SAFE_LEVEL) is Next.WAIT


def test_a_collapse_of_few_requests_is_not_about_their_number() -> None:
    """Another client may have begun."""
    guard = Guard()
    watched(guard, SAFE_LEVEL, 0.0, 5.0)
    assert not guard.is_about_number(2)
    assert guard.is_about_number(2 * SAFE_LEVEL)


def test_walls_of_the_user_are_kept() -> None:
    guard = Guard()
    now = watched(guard, 64, 0.0, 2.0)
    assert guard.fall(now, 1.0, 64, measured(), least=8, since=now - 1) == 8


def test_fewer_requests_that_bring_more_show_a_penalty_and_its_cost_is_the_risk_of_the_next() -> None:
    guard = fallen()
    assert guard.risk_seconds == RISK_SECONDS
    assert after(guard, 11.0, 1.9, 4) is Next.WAIT
    assert after(guard, 15.0, 3.0, 4) is Next.RECOVERED
    assert guard.risk_seconds == 18.0


def test_as_many_that_bring_more_after_a_while_show_it_too() -> None:
    """The penalty lets through what four requests bring, so only eight of them show when it ends."""
    guard = fallen(goodput=4.0)
    assert after(guard, 11.0, 4.0, 4) is Next.TRY_MORE
    assert after(guard, 12.0, 3.9, 8) is Next.TRY_FEWER
    assert after(guard, 13.0, 4.0, 4) is Next.WAIT
    assert after(guard, 14.0, 4.0, 4) is Next.TRY_MORE
    assert after(guard, 15.0, 8.0, 8) is Next.RECOVERED


def test_a_share_of_a_link_that_another_client_fills_too_is_no_penalty() -> None:
    """Each request brings the same again, however many there are."""
    guard = fallen(goodput=30.0, levels=measured((64, 64.0)))
    assert [after(guard, 11.0 + number, 0.8 * level, level) for number, level in enumerate((4, 8, 16, 32))] == [
        Next.TRY_MORE,
        Next.TRY_MORE,
        Next.TRY_MORE,
        Next.SLOWER,
    ]


def test_the_second_time_soon_after_it_is_blamed() -> None:
    guard = fallen(goodput=30.0, levels=measured((64, 64.0)))
    assert after(guard, 11.0, 32.0, 32) is Next.SLOWER
    guard.fall(20.0, 30.0, 64, measured((64, 64.0)), least=1, since=19.0)
    assert after(guard, 21.0, 32.0, 32) is Next.RECOVERED


@pytest.mark.parametrize(
    ("seconds", "expected"), [(AGAIN_SECONDS - 1, Next.RECOVERED), (AGAIN_SECONDS + 1, Next.SLOWER)]
)
def test_a_collapse_long_after_another_one_is_no_second_one(seconds: float, expected: Next) -> None:
    guard = fallen(goodput=30.0, levels=measured((64, 64.0)))
    assert after(guard, 11.0, 32.0, 32) is Next.SLOWER
    guard.fall(10.0 + seconds, 30.0, 64, measured((64, 64.0)), least=1, since=9.0 + seconds)
    assert after(guard, 11.0 + seconds, 32.0, 32) is expected


def test_what_the_link_can_bring_is_not_forgotten_by_a_collapse_at_a_low_level() -> None:
    """Nothing was measured at the level that has collapsed, and what was measured at four requests is not the best."""
    guard = fallen()
    assert after(guard, 12.0, 4.0, 4) is Next.RECOVERED
    guard.fall(20.0, 0.5, 24, measured((4, 2.0)), least=1, since=19.0)
    assert after(guard, 22.0, 2.0, 4) is Next.RECOVERED
    assert (guard.expected(10), guard.expected(100)) == (10.0, 64.0)
    assert 4 < guard.level_to_try(1e4) < 24


@pytest.mark.parametrize(("now", "goodput", "level"), [(11.0, 32.0, 32), (11.0 + PATIENCE_SECONDS, 1.0, 4)])
def test_if_the_link_is_slower_or_the_requests_are_other_ones_it_is_forgotten(
    now: float, goodput: float, level: int
) -> None:
    guard = fallen(goodput=30.0, levels=measured((64, 64.0)))
    assert after(guard, now, goodput, level) is Next.SLOWER
    guard.fall(20.0, 10.0, 64, measured((64, 30.0)), least=1, since=19.0)
    assert guard.expected(100) == 30.0
    guard.forget()
    assert guard.level_to_try(1e4, above=7) == 7


def test_fewer_requests_that_bring_more_each_are_no_sign() -> None:
    """A link with a limit does that, whatever the limit is."""
    guard = fallen(goodput=3.0)
    guard.safe_level = 4
    assert after(guard, 11.0, 3.95, 16) is Next.TRY_FEWER
    assert after(guard, 12.0, 3.95, 8) is Next.TRY_FEWER


def test_the_wait_shows_what_a_request_can_bring() -> None:
    """100 requests were more than enough, and only four of them show it."""
    guard = fallen(100, levels=measured((100, 100.0)))
    after(guard, 12.0, 40.0, 4)
    assert SAFE_LEVEL < guard.level_to_try(1e4) <= 13


def test_a_few_requests_are_never_above_the_ceiling() -> None:
    guard = fallen(10, levels=measured((10, 10.0)))
    after(guard, 100.0, 8.0, 2)
    assert guard.safe_level < SAFE_LEVEL <= guard.level_to_try(1.0)


def test_a_goodput_that_is_back_without_a_sign_leaves_no_ceiling() -> None:
    guard = fallen(levels=measured((64, 64.0)))
    assert after(guard, 11.0, 50.0, 60) is Next.SLOWER


def test_more_are_not_tried_if_each_brings_clearly_less() -> None:
    """The penalty lets just so much through. Twice as many could be too many."""
    guard = fallen(goodput=10.0)
    assert after(guard, 12.0, 4.0, 4) is Next.TRY_MORE
    assert after(guard, 13.0, 5.0, 8) is Next.WAIT
    assert after(guard, 14.0, 5.9, 8) is Next.TRY_MORE


def test_each_is_expected_to_bring_again_what_it_did_up_to_the_best_of_all() -> None:
    guard = fallen()
    assert guard.expected(10) == 10.0
    assert guard.expected(100) == 64.0


def test_twice_as_many_that_bring_no_more_are_taken_back_and_tried_later_each_time() -> None:
    guard = fallen(goodput=4.0)
    now, waits = 11.0, []
    for _ in range(3):
        assert after(guard, now, 3.9, 8) is Next.TRY_FEWER
        began = now
        while after(guard, now, 4.0, 4) is Next.WAIT:
            now += 0.1
        waits.append(now - began)
        guard._patience_ends = now + 100
    assert waits == pytest.approx([FIRST_TRY_SECONDS, 2 * FIRST_TRY_SECONDS, 4 * FIRST_TRY_SECONDS], abs=0.2)


def test_without_a_recovery_the_link_has_become_slower_and_the_second_time_it_was_the_number() -> None:
    guard = Guard()
    for now, expected in ((0.0, Next.SLOWER), (15.0, Next.AGAIN)):
        guard.fall(now, 5.0, 64, measured(), least=1, since=now - 1)
        assert after(guard, now + PATIENCE_SECONDS, 1.0, 4) is expected


def below_a_ceiling(*, recovered_at: float) -> tuple[Guard, Bounds]:
    """64 requests have collapsed, and 8 are the ceiling now."""
    guard = fallen()
    bounds = Bounds(least=1, most=256, ceiling=None)
    guard.watch(recovered_at, 4, low=False, waits=True)
    after(guard, recovered_at, 8.0, 4)
    bounds.after_collapse(recovered_at, 8, collapsed_at=64)
    return guard, bounds


def test_a_ceiling_rises_as_soon_as_it_was_endured() -> None:
    guard, bounds = below_a_ceiling(recovered_at=12.0)
    assert not guard.climbs(bounds, work_left=1e4)
    now = watched(guard, 8, 13.0, guard.endured_seconds - 0.5)
    assert not guard.climbs(bounds, work_left=1e4)
    watched(guard, 8, now, 2.0)
    assert guard.climbs(bounds, work_left=1e4)
    assert bounds.ceiling is not None
    assert 8 < bounds.ceiling < 64
    assert not guard.climbs(bounds, work_left=1e4)


def test_one_request_less_than_the_ceiling_is_enough_to_endure_it() -> None:
    """It was reached from there, and levels so close are not told apart."""
    guard, bounds = below_a_ceiling(recovered_at=12.0)
    watched(guard, 7, 13.0, 2 * ENDURED_SECONDS)
    assert guard.climbs(bounds, work_left=1e4)


def test_without_a_ceiling_nothing_rises() -> None:
    guard = Guard()
    bounds = Bounds(least=1, most=256, ceiling=None)
    watched(guard, 8, 0.0, 2 * ENDURED_SECONDS)
    assert not guard.climbs(bounds, work_left=1e4)
    assert bounds.ceiling is None


def test_with_little_time_left_the_ceiling_stays() -> None:
    guard, bounds = below_a_ceiling(recovered_at=30.0)
    watched(guard, 8, 31.0, ENDURED_SECONDS + 1)
    assert not guard.climbs(bounds, work_left=8.0)
    guard.raise_ceiling(100.0, bounds, work_left=8.0, goodput=8.0)
    assert bounds.ceiling == 8


# -- how long a level has to be kept -------------------------------------------------------------------------------


def struck(guard: Guard, after_seconds: float, *, now: float = 100.0) -> float:
    """A penalty strikes so long after 64 requests began; returns the time."""
    guard.watch(now, 1, low=False, waits=True)
    now = watched(guard, 64, now, after_seconds)
    guard.fall(now + 1, 1.0, 64, measured(), least=1, since=now)
    guard.watch(now + 1, SAFE_LEVEL, low=False, waits=True)
    return now + 1


def test_a_level_is_safe_if_it_was_kept_longer_than_a_penalty_needs_to_strike() -> None:
    guard = Guard()
    assert guard.endured_seconds == ENDURED_SECONDS
    now = struck(guard, 3.0)
    assert guard.endured_seconds == pytest.approx(3 * STRIKE_FACTOR)
    now = watched(guard, 20, now, 4.0)
    assert guard.endured == 0
    watched(guard, 20, now, 2.0)
    assert guard.endured == 20


def test_a_client_that_soon_knows_what_is_safe_goes_up_in_smaller_steps() -> None:
    levels = []
    for seconds in (1.0, 9.0):
        guard = Guard()
        now = struck(guard, seconds)
        after(guard, now + 1, 4.0, SAFE_LEVEL)
        levels.append(guard.level_to_try(1e3))
    assert levels[0] < levels[1]


@pytest.mark.parametrize(("seconds", "endured"), [(0.5, LEAST_ENDURED_SECONDS), (30.0, ENDURED_SECONDS)])
def test_the_time_to_endure_has_bounds(seconds: float, endured: float) -> None:
    guard = Guard()
    guard.watch(0.0, 1, low=False, waits=True)
    for tenth in range(round(10 * seconds)):
        guard.watch(tenth / 10, 64, low=False, waits=False)
    guard.fall(seconds + 1, 1.0, 64, measured(), least=1, since=seconds)
    assert guard.endured_seconds == endured


def test_the_clock_may_begin_at_any_time() -> None:
    guard = Guard()
    now = watched(guard, 64, 1e6, 3.0)
    guard.fall(now + 1, 1.0, 64, measured(), least=1, since=now)
    assert guard.endured_seconds == pytest.approx(3 * STRIKE_FACTOR)


def test_the_slowest_penalty_counts() -> None:
    """The second one strikes sooner, because the network still remembers."""
    guard = Guard()
    now = struck(guard, 4.0)
    struck(guard, 1.0, now=now)
    assert guard.endured_seconds == pytest.approx(4 * STRIKE_FACTOR)


def test_the_time_counts_from_when_there_were_more_than_is_safe() -> None:
    guard = Guard()
    now = watched(guard, 20, 0.0, ENDURED_SECONDS + 5)
    now = watched(guard, 64, now, 3.0)
    guard.fall(now + 1, 1.0, 64, measured(), least=1, since=now - 0.5)
    assert guard.endured_seconds == pytest.approx(3 * STRIKE_FACTOR)


def test_a_ceiling_that_was_learned_rises_only_after_its_rest() -> None:
    """This client knows nothing of what collapsed."""
    guard = Guard()
    bounds = Bounds(least=1, most=256, ceiling=8)
    now = watched(guard, 8, 0.0, ENDURED_SECONDS + 1)
    guard.raise_ceiling(now, bounds, work_left=8.0, goodput=8.0)
    assert bounds.ceiling == 8
    guard.raise_ceiling(now, bounds, work_left=1e4, goodput=8.0)
    assert bounds.ceiling > 8


@pytest.mark.parametrize(("above", "waits"), [(FEW_REQUESTS, False), (FEW_REQUESTS + 1, True)])
def test_fewer_than_a_few_requests_are_not_waited_for(above: int, waits: bool) -> None:
    guard = Guard()
    assert guard.waits_lower(10.0, PATIENT_SECONDS + 1, above) is waits
