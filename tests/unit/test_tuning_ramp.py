"""The ramp: when it rises, when it is over, how far a step goes, and when a look at fewer requests is left out."""

from __future__ import annotations

import pytest

from cosxfer import tuning_rules as rule
from cosxfer.tuning import Tuner
from cosxfer.tuning_pace import Pace
from cosxfer.tuning_ramp import Ramp, waits_for_latency
from cosxfer.tuning_rules import Learned

FAR = 2 * rule.FAR_SECONDS
KIB = 1024


def test_it_rises_from_the_first_window_on_and_then_by_a_tenth() -> None:
    ramp = Ramp()
    assert ramp.rises(100.0, busy=False)
    assert not ramp.rises(109.0, busy=False)
    assert ramp.rises(121.0, busy=False), "a tenth more than the best so far"


def test_it_is_over_after_two_windows_without_a_gain() -> None:
    ramp = Ramp()
    ramp.rises(100.0, busy=False)
    ramp.rises(100.0, busy=False)
    assert not ramp.is_over
    ramp.rises(100.0, busy=False)
    assert ramp.is_over
    assert ramp.rises(200.0, busy=False)
    assert not ramp.is_over, "a gain begins a new count"


def test_a_busy_thread_of_the_client_counts_as_no_gain() -> None:
    ramp = Ramp()
    assert not ramp.rises(100.0, busy=True)
    assert ramp.goodput == 100.0


def test_it_tells_the_goodput_of_the_window_before() -> None:
    ramp = Ramp()
    assert [ramp.see(goodput) for goodput in (1.0, 2.0, 3.0)] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("earlier", "to", "level", "after", "too_few"),
    [
        (100.0, 128, 128, 199.0, 64),
        (100.0, 128, 128, 150.0, None),
        (100.0, 256, 256, 399.0, 64),
        (100.0, 256, 256, 199.0, None),
        (50.0, 128, 128, 199.0, None),
        (100.0, 128, 200, 399.0, None),
    ],
    ids=[
        "twice as much",
        "less than twice",
        "four times as much",
        "less than four times",
        "it was not steady before the step",
        "the level is another one than after the step",
    ],
)
def test_fewer_are_too_few_after_a_step_in_proportion(
    earlier: float, to: int, level: int, after: float, too_few: int | None
) -> None:
    ramp = Ramp()
    assert ramp.too_few(64, 1e9) is None, "there was no step"
    ramp.begin_step(64, to, 100.0, earlier=earlier, waits_until=0.0)
    assert ramp.too_few(level, after) == too_few


@pytest.mark.parametrize(
    ("first_response", "request_bytes", "goodput", "waits"),
    [
        (FAR, 100 * KIB, 64 * 100 * KIB / 0.4, True),
        (rule.FAR_SECONDS / 2, 100 * KIB, 64 * 100 * KIB / 0.4, False),
        (FAR, 8 * 1024 * KIB, 64 * 8 * 1024 * KIB / 0.4, False),
        (FAR, 100 * KIB, 64 * 100 * KIB / 2.0, False),
    ],
    ids=["small and far", "near", "large parts", "a slow line: those in flight take long"],
)
def test_small_requests_to_a_far_server_wait_for_its_latency(
    first_response: float, request_bytes: float, goodput: float, waits: bool
) -> None:
    pace = Pace()
    pace.first_response = first_response
    assert waits_for_latency(pace, level=64, request_bytes=request_bytes, goodput=goodput) is waits


def levels(
    *,
    latency: float,
    request_bytes: float,
    requests: int,
    seconds: float,
    speeds_up_for: float = 0.0,
    learned: Learned | None = None,
) -> list[tuple[int, float]]:
    """The levels of a client whose requests take ``latency`` each, whatever their number, and when each began.

    For the time ``speeds_up_for``, its connections are not up to speed.
    """
    tuner = Tuner(learned=learned)
    done, now, found = 0.0, 0.0, [(tuner.level, 0.0)]
    while now < seconds:
        tuner.observe(
            now,
            bytes_acked=done * request_bytes,
            requests_done=done,
            in_flight=tuner.level,
            bytes_in_flight=tuner.level * request_bytes,
            waiting=True,
            bytes_left=(requests - done) * request_bytes,
            requests_left=requests - done,
        )
        if tuner.level != found[-1][0]:
            found.append((tuner.level, now))
        now += 0.05
        if now > latency:
            done += 0.05 * tuner.level / latency * min(1.0, (now / (speeds_up_for or 1e-9)) ** 2)
    return found


def test_small_requests_to_a_far_server_go_up_by_four_without_a_look_at_fewer() -> None:
    found = levels(latency=0.4, request_bytes=100 * KIB, requests=10_000, seconds=4.0)
    assert [level for level, _ in found[:2]] == [64, 256]
    assert min(level for level, _ in found[1:]) > 64, found


def test_small_requests_to_a_far_server_do_not_wait_until_goodput_is_steady() -> None:
    def second_level(request_bytes: float) -> float:
        found = levels(latency=0.3, request_bytes=request_bytes, requests=20_000, seconds=6.0, speeds_up_for=4.0)
        return found[1][1]

    assert second_level(16 * KIB) < 3.5
    assert second_level(2048 * KIB) > 4.0


def test_below_a_ceiling_the_ramp_goes_up_by_two() -> None:
    learned = Learned(level=32, stream_bytes_per_second=1e6, ceiling=250)
    found = levels(latency=0.4, request_bytes=100 * KIB, requests=10_000, seconds=2.0, learned=learned)
    assert [level for level, _ in found[:2]] == [32, 64]


def test_small_requests_to_a_near_server_look_at_fewer_first() -> None:
    found = levels(latency=0.1, request_bytes=100 * KIB, requests=100_000, seconds=4.0)
    assert [level for level, _ in found[:2]] == [64, 16]


def test_fewer_are_not_tried_after_a_step_that_brought_as_much_more() -> None:
    """Large parts on a far line that none of the levels fills: the ramp ends at the highest level."""
    found = levels(latency=0.3, request_bytes=1.2e6, requests=16_000, seconds=6.0)
    assert [level for level, _ in found] == [64, 128, 256]
