"""The state of tasks: transitions, byte counts, and the futures of waiting callers."""

from __future__ import annotations

import pytest

from cosxfer.models import Progress
from cosxfer.tasks.batch import RefusedJob
from cosxfer.tasks.board import TaskBoard, never_falling
from cosxfer.tasks.record import TaskRecord
from cosxfer.tasks.table import AnyRecord


@pytest.fixture
def board() -> TaskBoard:
    return TaskBoard(keep=1)


@pytest.fixture
def changes() -> list[tuple[int, int]]:
    return []


@pytest.fixture
def record(changes: list[tuple[int, int]]) -> AnyRecord:
    return TaskRecord(
        RefusedJob(ValueError()),
        number=1,
        task_id="1",
        place=("b-1", "k", None),
        path="",
        total=10,
        watch=None,
        on_report=lambda loaded, total: changes.append((loaded, total)),
        on_end=None,
    )


def progress(loaded: int, total: int) -> Progress:
    return Progress(loaded=loaded, total=total, speed=1.0, percent=loaded / total)


def test_a_transition_that_is_not_in_the_table_changes_nothing(board: TaskBoard, record: AnyRecord) -> None:
    assert not board.move(record, "success")
    assert record.state == "waiting"
    assert board.move(record, "checking")
    assert record.state == "checking"


def test_the_first_report_begins_the_sending_and_changes_of_counts_are_reported(
    board: TaskBoard, record: AnyRecord, changes: list[tuple[int, int]]
) -> None:
    board.on_progress(record, progress(3, 10))
    assert not changes  # it has not begun
    board.move(record, "checking")
    board.on_progress(record, progress(3, 12))
    assert (record.state, record.loaded, record.total) == ("uploading", 3, 12)
    board.on_progress(record, progress(5, 12))
    assert changes == [(0, 2), (3, 0), (2, 0)]


def test_progress_of_a_new_run_falls_only_if_the_file_is_shorter() -> None:
    assert never_falling(progress(7, 10), 5) == progress(7, 10)
    assert never_falling(progress(0, 10), 5) == progress(5, 10)
    assert never_falling(progress(0, 4), 5) == progress(4, 4)


def test_waiting_for_the_outcome_continues_after_a_pause(board: TaskBoard, record: AnyRecord) -> None:
    stopped, outcome = board.waiter(record, False), board.waiter(record, True)
    given_up = board.waiter(record, False)
    given_up.cancel()
    board.move(record, "paused")
    board.release(record)
    assert (stopped.done(), outcome.done()) == (True, False)
    board.move(record, "canceled")
    board.release(record)
    assert outcome.done()
    assert record.waiters is None
