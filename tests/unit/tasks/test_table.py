"""Which task gets the next slot, and which tasks leave the list."""

from __future__ import annotations

import pytest

import cosxfer
from cosxfer.tasks.batch import RefusedJob
from cosxfer.tasks.record import TaskRecord
from cosxfer.tasks.table import AnyRecord, TaskTable


def add(table: TaskTable, count: int = 1) -> list[AnyRecord]:
    records = []
    for _ in range(count):
        number = table.next_number()
        record = TaskRecord(
            RefusedJob(ValueError()),
            number=number,
            task_id=f"t{number}",
            place=("b", "k", None),
            path="p",
            total=0,
            watch=None,
            on_report=None,
            on_end=None,
        )
        table.add(record)
        table.enqueue(record)
        records.append(record)
    return records


def drain(table: TaskTable) -> list[AnyRecord]:
    taken = []
    while (record := table.next_waiting()) is not None:
        taken.append(record)
    return taken


def test_slots_are_given_in_the_order_of_submission() -> None:
    table = TaskTable(keep=9)
    records = add(table, 100)
    assert drain(table) == records


def test_a_task_that_is_no_longer_waiting_is_skipped() -> None:
    table = TaskTable(keep=9)
    first, second, third = add(table, 3)
    first.state, third.state = "paused", "canceled"
    assert drain(table) == [second]


def test_a_restarted_task_returns_to_its_old_place() -> None:
    table = TaskTable(keep=9)
    first, second, third = add(table, 3)
    assert table.next_waiting() is first
    first.state = "paused"
    first.state = "waiting"
    table.enqueue(first)
    assert drain(table) == [first, second, third]


def test_repeated_pauses_and_restarts_do_not_grow_the_queue() -> None:
    table = TaskTable(keep=9)
    [record] = add(table)
    for _ in range(1000):
        table.enqueue(record)
    assert drain(table) == [record]


def test_the_oldest_ended_tasks_leave_the_list() -> None:
    table = TaskTable(keep=2)
    records = add(table, 5)
    removed = [gone for record in (3, 1, 4, 0) for gone in table.finished(records[record])]
    assert removed == [records[3], records[1]]
    assert list(table) == [records[0], records[2], records[4]]
    with pytest.raises(cosxfer.UsageError, match="no task 't4'"):
        table.get("t4")


def test_with_a_limit_of_zero_no_ended_task_is_kept() -> None:
    table = TaskTable(keep=0)
    [record] = add(table)
    assert table.finished(record) == [record]
    assert not len(table)


def test_a_failed_task_that_is_restarted_stays_in_the_list() -> None:
    table = TaskTable(keep=1)
    first, second, third = add(table, 3)
    table.finished(first)
    table.reopened(first)
    assert table.finished(second) == []
    assert table.finished(third) == [second]
    assert list(table) == [first, third]


def test_clearing_removes_only_ended_tasks() -> None:
    table = TaskTable(keep=9)
    first, second, third = add(table, 3)
    table.finished(first)
    table.finished(third)
    assert table.clear_finished() == [first, third]
    assert list(table) == [second]
    assert table.clear_finished() == []


def test_a_record_has_no_dictionary() -> None:
    [record] = add(TaskTable(keep=1))
    assert not hasattr(record, "__dict__")
