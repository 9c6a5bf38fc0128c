"""What the levels of the tuner have brought."""

from __future__ import annotations

from cosxfer.tuning_levels import Levels


def test_without_a_measurement_nothing_is_known() -> None:
    levels = Levels()
    assert not levels
    assert (levels.highest, levels.of_a_request) == (0.0, 0.0)
    assert not levels.lower_bounds(None, every=True)


def test_the_best_goodput_and_the_most_of_a_request_come_from_different_levels() -> None:
    levels = Levels()
    levels.note(10, 40.0)
    levels.note(50, 100.0)
    assert levels
    assert (levels.highest, levels.of_a_request) == (100.0, 4.0)
    assert levels.best(preferred=10) == 10
    assert levels.best(preferred=20) == 50


def test_the_fewest_requests_that_are_as_good_are_found() -> None:
    levels = Levels()
    for level, goodput in ((8, 60.0), (16, 95.0), (32, 100.0)):
        levels.note(level, goodput)
    assert levels.fewest(100.0) == 16


def test_only_the_level_that_was_worse_is_a_bound_unless_all_are() -> None:
    levels = Levels()
    levels.note(8, 60.0)
    levels.note(16, 95.0)
    assert levels.lower_bounds(8, every=False) == {8: 60.0}
    assert levels.lower_bounds(4, every=False) == {}
    assert levels.lower_bounds(4, every=True) == {8: 60.0, 16: 95.0}


def test_a_level_of_the_ramp_is_outdated_if_fewer_requests_bring_clearly_more() -> None:
    levels = Levels()
    levels.note(64, 10.0, hasty=True)
    assert levels.is_outdated(64, 40, 12.0)
    assert not levels.is_outdated(64, 40, 10.5)
    assert not levels.is_outdated(64, 80, 12.0)
    assert not levels.is_outdated(None, 40, 12.0)
    levels.note(64, 10.0)
    assert not levels.is_outdated(64, 40, 12.0)


def test_what_was_measured_can_be_forgotten() -> None:
    levels = Levels()
    levels.note(64, 10.0, hasty=True)
    levels.restart(8, 3.0)
    assert (levels[8], levels.highest) == (3.0, 3.0)
    levels.note(64, 10.0)
    assert not levels.is_outdated(64, 40, 12.0)
    levels.forget()
    assert not levels
