"""The best goodput that the tuner has seen."""

from __future__ import annotations

import pytest

from cosxfer.tuning_best import Best
from cosxfer.tuning_rules import BACK_SHARE, COLLAPSE_SECONDS


def best(level: int = 32, goodput: float = 100.0, request_rate: float = 10.0) -> Best:
    result = Best()
    result.see(level, goodput, request_rate)
    return result


def test_only_a_higher_goodput_is_kept() -> None:
    known = best()
    known.see(64, 90.0, 50.0)
    assert (known.level, known.goodput) == (32, 100.0)
    known.see(64, 110.0, 50.0)
    assert (known.level, known.goodput) == (64, 110.0)


def test_a_window_that_is_trusted_less_counts_for_less() -> None:
    known = best()
    known.see(64, 150.0, 50.0, trust=0.6)
    assert known.level == 32
    known.see(64, 200.0, 50.0, trust=0.6)
    assert (known.level, known.goodput) == (64, 120.0)
    assert known.is_far(10.0, 14.0, 0.5)
    assert not known.is_far(10.0, 16.0, 0.5), "half of 30 requests per second"


def test_so_many_requests_should_bring_their_part_and_more_of_them_all() -> None:
    known = best()
    part = BACK_SHARE * 100.0 / 4
    assert known.is_part(8, part + 1)
    assert not known.is_part(8, part - 1)
    assert known.is_part(64, BACK_SHARE * 100.0 + 1)
    assert not known.is_part(64, BACK_SHARE * 100.0 - 1)


@pytest.mark.parametrize(("goodput", "requests", "far"), [(10.0, 1.0, True), (30.0, 1.0, False), (10.0, 3.0, False)])
def test_a_share_of_the_best_is_far_below_unless_as_many_requests_end(
    goodput: float, requests: float, far: bool
) -> None:
    assert best().is_far(goodput, requests, 0.2) is far


def test_without_requests_that_end_goodput_alone_counts() -> None:
    """Large parts do not end within a window."""
    assert best(request_rate=0.0).is_far(10.0, 0.0, 0.2)


def test_it_is_low_after_several_windows_and_some_time() -> None:
    known = best()
    assert not known.stays_low(10.0, 5.0)
    assert known.low_since == 5.0
    assert known.stays_low(11.0, 1.0)
    known.low_windows = 0
    assert not known.stays_low(20.0, 0.1)
    assert not known.stays_low(20.1, 0.1)
    assert known.stays_low(20.0 + COLLAPSE_SECONDS, 0.1)


def test_what_is_forgotten_is_no_measure() -> None:
    known = best()
    known.stays_low(10.0, 1.0)
    known.forget()
    assert (known.goodput, known.low_windows) == (0.0, 0)
    assert not known.is_far(1.0, 0.0, 0.2)


def test_a_new_beginning_keeps_one_goodput() -> None:
    known = best()
    known.stays_low(10.0, 1.0)
    known.restart(4, 20.0)
    assert (known.level, known.goodput, known.low_windows) == (4, 20.0, 0)
