"""Totals: what a tick counts for, and that a transfer can subtract its begin from its end."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.observation import CAUSES, SILENT_SECONDS, THROTTLED_SECONDS, Observation, Totals

TICK = 0.125  # exact in binary, so that sums can be compared


def busy(**changes: Any) -> Observation:
    """A tick in which all slots are busy and nothing but sending takes time."""
    seen = Observation(
        at=TICK, seconds=TICK, level=8, in_flight=8, waiting=True, bytes_acked=1_000_000, requests_done=1, connections=8
    )
    return replace(seen, **changes)


def totals_of(*ticks: Observation, cores: float = 4) -> Totals:
    totals = Totals(cores=cores)
    for number, seen in enumerate(ticks, 1):
        totals.add(replace(seen, at=number * TICK))
    return totals


def causes(totals: Totals) -> dict[str, float]:
    return {cause: seconds for cause, seconds in totals.causes.items() if seconds}


ticks = st.builds(
    Observation,
    at=st.just(0.0),
    seconds=st.floats(0.0, 2.0),
    level=st.integers(1, 512),
    in_flight=st.integers(0, 600),
    waiting=st.booleans(),
    bytes_acked=st.floats(-1e9, 1e12),
    requests_done=st.integers(0, 10**6),
    refused=st.integers(0, 5),
    retries=st.integers(0, 5),
    cpu_seconds=st.floats(0, 100),
    busiest_thread_seconds=st.floats(0, 2),
    source_wait_seconds=st.floats(0, 1000),
    hashing_seconds=st.floats(0, 100),
    limited_by=st.sampled_from(["", "user", "memory", "rate", "connections", "server"]),
    connections=st.integers(0, 300),
)


@given(st.lists(ticks, max_size=40))
def test_the_causes_share_the_whole_time(seen: list[Observation]) -> None:
    totals = totals_of(*seen)
    assert math.isclose(sum(totals.causes.values()), totals.seconds, abs_tol=1e-9)
    assert all(seconds >= 0 for seconds in totals.causes.values())
    assert sum(band.seconds for band in totals.bands) <= totals.steady_seconds + 1e-9


@given(st.lists(ticks, max_size=20), st.lists(ticks, max_size=20))
def test_a_difference_is_what_was_added_since_the_copy(before: list[Observation], after: list[Observation]) -> None:
    totals = totals_of(*before)
    begin = totals.copy()
    for number, seen in enumerate(after, len(before) + 1):
        totals.add(replace(seen, at=number * TICK))
    spent = totals - begin
    assert spent.seconds == pytest.approx(sum(seen.seconds for seen in after), abs=1e-9)
    counted = [seen for seen in after if seen.seconds > 0]
    assert spent.requests_done == sum(seen.requests_done for seen in counted)
    assert spent.refused == sum(seen.refused for seen in counted)
    assert sum(spent.causes.values()) == pytest.approx(spent.seconds, abs=1e-9)
    assert begin.seconds == pytest.approx(sum(seen.seconds for seen in before), abs=1e-9)


def test_a_copy_does_not_change_with_its_original() -> None:
    totals = totals_of(busy())
    copied = totals.copy()
    totals.add(busy())
    assert copied.seconds == TICK
    assert sum(copied.causes.values()) == TICK


def test_memory_does_not_grow_with_the_ticks() -> None:
    def size(totals: Totals) -> int:
        return len(totals.causes) + len(totals.bands)

    assert size(totals_of(busy())) == size(totals_of(*[busy(level=level) for level in range(1, 400)]))
    assert not hasattr(totals_of(), "__dict__")


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({}, "sending"),
        ({"cpu_seconds": 4 * TICK}, "client cpu"),
        ({"cpu_seconds": 4 * TICK, "hashing_seconds": 3 * TICK}, "hashing"),
        ({"busiest_thread_seconds": TICK}, "client cpu"),
        ({"source_wait_seconds": 4 * TICK}, "reading"),
        ({"source_wait_seconds": 4 * TICK, "hashing_seconds": TICK, "cpu_seconds": TICK}, "hashing"),
        # A thread that hashes without using the CPU waits for pages of the file.
        ({"source_wait_seconds": 4 * TICK, "hashing_seconds": TICK, "cpu_seconds": TICK / 5}, "reading"),
        ({"limited_by": "memory"}, "memory budget"),
        ({"limited_by": "rate"}, "rate limit"),
        ({"limited_by": "user"}, "user limit"),
        ({"limited_by": "connections"}, "connections"),
        ({"refused": 1}, "throttling"),
        ({"in_flight": 2, "waiting": False}, "too few parts"),
        ({"in_flight": 0, "waiting": False}, "silent"),
    ],
)
def test_a_tick_counts_for_its_cause(changes: dict[str, Any], cause: str) -> None:
    assert causes(totals_of(busy(**changes))) == {cause: TICK}


def test_a_few_idle_slots_count_in_proportion() -> None:
    few = totals_of(busy(in_flight=7, waiting=False))
    assert causes(few) == {"too few parts": TICK / 2, "sending": TICK / 2}
    # A slot that waits for the source has not too few parts as well.
    source = totals_of(busy(in_flight=7, waiting=False, source_wait_seconds=TICK))
    assert causes(source) == {"reading": TICK / 2, "sending": TICK / 2}


def test_silence_is_not_sending_after_a_while() -> None:
    count = int(SILENT_SECONDS / TICK) + 4
    totals = totals_of(*[busy(bytes_acked=0, requests_done=0)] * count)
    assert causes(totals) == {"sending": SILENT_SECONDS, "silent": 4 * TICK}


def test_a_level_at_or_below_a_refused_one_stays_throttled_for_a_while() -> None:
    refused = busy(level=6, in_flight=6, refused=3)  # the level has been reduced from 8 at once
    totals = totals_of(busy(), refused, *[busy(level=8)] * 10)
    assert causes(totals) == {"sending": TICK, "throttling": 11 * TICK}
    higher = totals_of(busy(), refused, busy(level=9, in_flight=9))
    assert causes(higher) == {"sending": 2 * TICK, "throttling": TICK}
    late = totals_of(busy(refused=3), *[busy()] * int(THROTTLED_SECONDS / TICK + 1))
    assert causes(late)["sending"] == TICK


def test_a_band_leaves_out_new_levels_and_what_was_held_back() -> None:
    steady = [busy()] * 12
    totals = totals_of(*steady)
    [band] = [band for band in totals.bands if band.seconds]
    assert band.in_flight == 8
    assert band.seconds == totals.steady_seconds < totals.seconds
    assert not any(band.seconds for band in totals_of(*[busy(level=level) for level in (8, 16) * 20]).bands)
    slow = totals_of(*[busy(source_wait_seconds=4 * TICK)] * 12)
    assert not any(band.seconds for band in slow.bands)
    assert set(causes(slow)) <= set(CAUSES)
