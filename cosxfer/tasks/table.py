"""The list of tasks: which wait for a slot, and which have ended. Only data: the queue acts, under its lock."""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any

from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.tasks.record import TaskRecord

AnyRecord = TaskRecord[Any]


class TaskTable:
    """Tasks in the order of submission. Each operation costs O(1), or O(log n) if it queues for a slot."""

    def __init__(self, *, keep: int) -> None:
        self._keep = keep
        self._records: dict[str, AnyRecord] = {}
        self._waiting = _Waiting()
        """Tasks that send one request."""
        self._waiting_in_parts = _Waiting()
        """Tasks that send several requests at a time."""
        self._finished: OrderedDict[str, None] = OrderedDict()
        """IDs of the tasks that have ended, in the order in which they ended."""
        self._leaving: list[str] = []
        """IDs of tasks that stay although the list keeps no ended tasks, because they left parts on the server."""
        self._numbers = 0

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[AnyRecord]:
        return iter(self._records.values())

    def next_number(self) -> int:
        """The number of the next task. Slots are given in the order of these numbers."""
        self._numbers += 1
        return self._numbers

    def add(self, record: AnyRecord) -> None:
        """Add the task to the list. It does not wait for a slot yet."""
        self._records[record.task_id] = record

    def get(self, task_id: str) -> AnyRecord:
        """Return the task with this ID. Raises `UsageError` if it is not, or no longer, in the list."""
        record = self._records.get(task_id) if isinstance(task_id, str) else None
        if record is None:
            raise UsageError(
                f"there is no task {shorten(task_id)}; it may have ended and been taken out of the list",
                name="task_id",
                value=task_id,
            )
        return record

    def enqueue(self, record: AnyRecord) -> None:
        """Let the task wait for a slot. A restarted task takes its old place, before those submitted after it."""
        if not record.queued:
            record.queued = True
            record.demand = 1 if record.job is None else record.job.demand(record.total)
            (self._waiting_in_parts if record.demand > 1 else self._waiting).add(record)

    def next_waiting(self, *, in_parts: bool = True) -> AnyRecord | None:
        """Take the first task that waits for a slot, or None.

        Without ``in_parts``, tasks with several parts wait on.
        """
        queue, first = self._waiting, self._waiting.first()
        if in_parts:
            other = self._waiting_in_parts.first()
            if other is not None and (first is None or other.number < first.number):
                queue, first = self._waiting_in_parts, other
        if first is not None:
            queue.take(first)
        return first

    @property
    def some_wait(self) -> bool:
        """Whether a task waits for a slot. It may be one that was paused or cancelled meanwhile."""
        return bool(self._waiting or self._waiting_in_parts)

    def reopened(self, record: AnyRecord) -> bool:
        """Note that a failed task is restarted. Returns whether it had left the list and was added again."""
        self._finished.pop(record.task_id, None)
        if record.task_id in self._records:
            return False
        self._records[record.task_id] = record
        return True

    def finished(self, record: AnyRecord) -> list[AnyRecord]:
        """Note that the task has an outcome. Returns the tasks that leave the list to make room.

        A list that keeps no ended tasks still keeps those with parts on the server, because nothing else names them.
        """
        if not self._keep and record.state == "canceled" and record.upload_id and not record.aborted:
            self._leaving.append(record.task_id)
            return []
        if record.task_id in self._records:
            self._finished.pop(record.task_id, None)
            self._finished[record.task_id] = None
        removed = []
        while len(self._finished) > self._keep:
            oldest, _ = self._finished.popitem(last=False)
            removed.append(self._records.pop(oldest))
        return removed

    def clear_finished(self) -> list[AnyRecord]:
        """Remove all ended tasks from the list and return them."""
        removed = [self._records.pop(task_id) for task_id in (*self._finished, *self._leaving)]
        self._finished.clear()
        self._leaving.clear()
        return removed


class _Waiting:
    """Tasks in the order of their numbers. A task that is paused or cancelled meanwhile is dropped when it comes up."""

    def __init__(self) -> None:
        self._in_order: deque[AnyRecord] = deque()
        """Tasks whose numbers grow, which is most of them."""
        self._others: list[tuple[int, AnyRecord]] = []
        """A heap of those that came after a task with a higher number, because they were restarted."""

    def __bool__(self) -> bool:
        return bool(self._in_order or self._others)

    def add(self, record: AnyRecord) -> None:
        """Let it wait."""
        if not self._in_order or record.number > self._in_order[-1].number:
            self._in_order.append(record)
        else:
            heapq.heappush(self._others, (record.number, record))

    def first(self) -> AnyRecord | None:
        """Return the first one that still waits."""
        while self._in_order and self._in_order[0].state != "waiting":
            self._in_order.popleft().queued = False
        while self._others and self._others[0][1].state != "waiting":
            heapq.heappop(self._others)[1].queued = False
        first = self._in_order[0] if self._in_order else None
        if self._others and (first is None or self._others[0][0] < first.number):
            return self._others[0][1]
        return first

    def take(self, first: AnyRecord) -> None:
        """Take what `first` has returned."""
        first.queued = False
        if self._in_order and self._in_order[0] is first:
            self._in_order.popleft()
        else:
            heapq.heappop(self._others)
