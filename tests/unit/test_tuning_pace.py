"""The pace of a link: round trips, how long windows last, when connections are at full speed, and slow ends."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer import tuning_rules as rule
from cosxfer.tuning_pace import Drain, Pace


def pace(first_response: float, latency: float = 0.0) -> Pace:
    found = Pace()
    found.first_response, found.latency = first_response, latency
    return found


@pytest.mark.parametrize(
    ("first_response", "latency", "trip"),
    [(0.3, 0.0, 0.1), (0.3, 0.08, 0.08), (0.05, 0.08, 0.05), (0.0, 0.08, 0.0), (0.0, 0.0, 0.0)],
    ids=["a handshake is left out", "a request before", "the shorter one", "nothing sent yet", "nothing known"],
)
def test_the_round_trip_is_that_of_an_open_connection(first_response: float, latency: float, trip: float) -> None:
    assert pace(first_response, latency).trip == pytest.approx(trip)


@pytest.mark.parametrize(
    ("phase", "ramp_seconds", "first_response", "seconds"),
    [
        ("ramp", 0.0, 0.0, rule.RAMP_WINDOW_SECONDS),
        ("ramp", 0.15, 0.0, 0.15),
        ("ramp", 60.0, 0.0, rule.RAMP_LONGEST_SECONDS),
        ("ramp", 60.0, 1.0, 0.5),
        ("sound", 60.0, 0.0, rule.SOUND_WINDOW_SECONDS),
        ("sound", 60.0, 1.0, 0.5),
        ("hold", 60.0, 0.0, rule.WINDOW_SECONDS),
        ("hold", 60.0, 1.0, 2.0),
    ],
)
def test_a_window_is_long_enough_to_see_a_round_trip(
    phase: str, ramp_seconds: float, first_response: float, seconds: float
) -> None:
    assert pace(first_response).window_seconds(phase, ramp_seconds=ramp_seconds) == seconds


def test_a_window_of_the_ramp_is_not_shorter_than_a_round_trip() -> None:
    link = pace(0.25, latency=0.25)  # a request was made before: the first part took no handshake
    assert link.window_seconds("ramp", ramp_seconds=0.0) == pytest.approx(0.25)


def test_connections_are_at_full_speed_after_the_doublings_of_their_windows() -> None:
    link = pace(0.3, latency=0.1)
    # Each of ten connections has eight first windows in flight: three doublings and a handshake.
    goodput = 8 * rule.FIRST_WINDOW_BYTES * 10 / 0.3
    assert link.start_seconds(10, goodput=goodput, request_bytes=1e9) == pytest.approx(5 * 0.1)
    # A request that is smaller than the window needs no more than itself.
    assert link.start_seconds(10, goodput=goodput, request_bytes=100) == pytest.approx(0.3)


@given(st.floats(0, 5), st.floats(0, 5), st.integers(1, 256), st.floats(0, 1e10), st.floats(1, 5e9))
def test_the_start_takes_a_finite_time_of_at_least_the_first_response(
    first: float, latency: float, level: int, goodput: float, request_bytes: float
) -> None:
    link = pace(first, latency)
    seconds = link.start_seconds(level, goodput=goodput, request_bytes=request_bytes)
    assert first <= seconds < math.inf


def drained(seconds: float, work: float, left: float, *, best: float, cheap: bool) -> bool:
    drain = Drain(is_running=True)
    assert not drain.is_slow(5.0, 1000.0, left, best=best, cheap=cheap)
    return drain.is_slow(5.0 + seconds, 1000.0 + work, left, best=best, cheap=cheap)


@pytest.mark.parametrize(
    ("seconds", "work", "left", "cheap", "slow"),
    [
        (rule.DRAIN_SECONDS, 100.0, 100.0, False, False),
        (rule.DRAIN_SECONDS / 2, 0.0, 1e9, True, False),
        (rule.DRAIN_SECONDS, 20.0, 100.0, False, True),
        (rule.DRAIN_SECONDS, 100.0, 2000.0, True, True),
        (rule.DRAIN_SECONDS, 100.0, 2000.0, False, False),
        (rule.DRAIN_SECONDS, 100.0, 1400.0, True, False),
    ],
    ids=["it goes on", "too early to say", "goodput has collapsed", "long and cheap", "long and dear", "short"],
)
def test_requests_beyond_the_level_are_cancelled_if_waiting_costs_more(
    seconds: float, work: float, left: float, cheap: bool, slow: bool
) -> None:
    assert drained(seconds, work, left, best=100.0, cheap=cheap) is slow


def test_each_look_at_the_end_of_requests_is_of_its_own_time() -> None:
    drain = Drain()
    for now in range(0, 20, 2):  # fast at first, then nothing; every second look ends a time
        work = min(now, 10) * 100.0
        slow = drain.is_slow(float(now), work, 1.0, best=100.0, cheap=False)
        assert slow is (now in (14, 18)), now
