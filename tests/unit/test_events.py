"""Progress begins at once, is reported at a limited rate, never falls, and ends at the total."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.events import ProgressMeter

steps = st.lists(st.tuples(st.integers(-500, 1500), st.floats(0, 2)), max_size=50)


@given(st.integers(0, 1000), steps)
def test_progress_never_falls_and_stays_within_the_total(total: int, changes: list[tuple[int, float]]) -> None:
    meter = ProgressMeter(total)
    loaded, now = 0, 100.0
    reports = [meter.update(0, now)]
    for change, seconds in changes:
        loaded, now = loaded + change, now + seconds
        reports.append(meter.update(loaded, now))
    reports.append(meter.finish(now))
    shown = [report for report in reports if report is not None]
    assert reports[0] is not None
    assert [report.loaded for report in shown] == sorted(report.loaded for report in shown)
    for report in shown:
        assert 0 <= report.loaded <= total == report.total
        assert 0 <= report.percent <= 1
        assert report.speed >= 0
    assert (shown[-1].loaded, shown[-1].percent) == (total, 1.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=100))
def test_reports_are_an_interval_apart(pauses: list[float]) -> None:
    meter = ProgressMeter(10**6, interval_seconds=0.25)
    now, last = 0.0, None
    for pause in pauses:
        now += pause
        if meter.update(1, now) is not None:
            assert last is None or now - last >= 0.25
            last = now


def test_subtracted_bytes_do_not_lower_the_reported_progress() -> None:
    meter = ProgressMeter(100, interval_seconds=0)
    loaded = [meter.update(value, float(at)) for at, value in enumerate((0, 60, 10, 50, 70))]
    assert [report.loaded for report in loaded if report] == [0, 60, 60, 60, 70]


@pytest.mark.parametrize(("at", "speed"), [(1.0, 50.0), (2.0, 25.0)])
def test_the_speed_is_measured_since_the_last_report(at: float, speed: float) -> None:
    meter = ProgressMeter(100)
    meter.update(0, 0.0)
    report = meter.update(50, at)
    assert report is not None
    assert report.speed == speed


def test_the_last_speed_is_the_mean() -> None:
    meter = ProgressMeter(100)
    meter.update(0, 0.0)
    meter.update(90, 1.0)
    assert meter.finish(10.0).speed == 10.0


def test_the_last_report_does_not_decrease_if_a_file_has_failed() -> None:
    meter = ProgressMeter(100, interval_seconds=0)
    meter.update(0, 0.0)
    meter.update(60, 1.0)
    report = meter.finish(10.0, loaded=30)
    assert (report.loaded, report.percent, report.speed) == (60, 0.6, 6.0)


def test_a_total_of_zero_is_complete_at_once() -> None:
    report = ProgressMeter(0).update(0, 1.0)
    assert report is not None
    assert (report.loaded, report.percent, report.speed) == (0, 1.0, 0.0)


def test_a_meter_may_finish_before_it_began() -> None:
    assert ProgressMeter(5).finish(1.0).loaded == 5
