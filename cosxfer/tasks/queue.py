"""The queue: gives slots to tasks in the order of their submission, and pauses, restarts and cancels them.

A task that waits is a record in a heap and nothing else. What happens to the others stands in `running`.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from cosxfer.arguments import check_flag
from cosxfer.engine.report import call
from cosxfer.errors import CosxferError, UsageError
from cosxfer.models import TaskInfo
from cosxfer.tasks.record import Job, TaskRecord, Watch
from cosxfer.tasks.running import Listener, RunningTasks
from cosxfer.tasks.states import ACTIVE, ENDED
from cosxfer.tasks.table import AnyRecord

R = TypeVar("R")


class TaskQueue(RunningTasks):
    """The tasks of one client. Every method may be called from any thread.

    ``parallel`` tasks run at a time; ``keep`` ended ones stay in the list.
    """

    def check(self) -> None:
        """Raise in a forked child: a lock that another thread held at the fork is never given back."""
        if os.getpid() != self._process:
            raise CosxferError("the client was made before this process was forked; make a new one in the child")

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the tasks on ``loop``, from the first call on; raises where that is another one."""
        if self._loop is None:
            with self._lock:
                self._loop = self._loop or loop
        if self._loop is not loop:
            raise CosxferError(
                "the client was first used on another event loop, where its connections are; make one for each loop"
            )

    @property
    def bound(self) -> bool:
        """Whether the client was used: it belongs to an event loop, and to this process."""
        return self._loop is not None and os.getpid() == self._process

    @property
    def idle(self) -> bool:
        """Whether no task waits, runs or is cleaned up."""
        # Without the lock: whoever collects the garbage may hold it.
        return all(record.ended for record in list(self._table))

    # -- the list ---------------------------------------------------------------------------------------------------

    def submit(
        self,
        job: Job[R],
        *,
        bucket: str,
        key: str,
        path: str = "",
        region: str | None = None,
        total: int = 0,
        watch: Watch | None = None,
        on_task_ready: Callable[[str], None] | None = None,
        on_report: Callable[[int], None] | None = None,
        on_end: Callable[[TaskRecord[R]], None] | None = None,
    ) -> TaskRecord[R]:
        """Put a job in. ``on_task_ready`` is called here, with the id in the list and before the job may start."""
        self.check()
        # Not under the lock: it gives up the GIL, and the loop would run into the lock meanwhile.
        task_id = uuid.uuid4().hex
        with self._lock:
            if self._closed or self._loop is None or self._loop.is_closed():
                raise CosxferError("the client is closed; make a new one")
            record = TaskRecord(
                job,
                number=self._table.next_number(),
                task_id=task_id,
                bucket=bucket,
                key=key,
                path=path,
                region=region or "",
                total=total,
                watch=watch,
                on_report=on_report,
                on_end=on_end,
            )
            self._table.add(record)
            self._tell(record, "added")
        try:
            if on_task_ready is not None:
                call(on_task_ready, record.task_id)
        except BaseException:
            self.cancel(record, abort=False)
            raise
        with self._lock:
            record.held = False
            self._let_wait(record)
        return record

    def get(self, task_id: str) -> AnyRecord:
        """The task with this id; raises `UsageError` for another."""
        self.check()
        with self._lock:
            return self._table.get(task_id)

    def infos(self) -> list[TaskInfo]:
        """All tasks in the list, in the order of their submission."""
        self.check()
        with self._lock:
            records = list(self._table)
        # Without the lock: the transfers would wait for it while a long list is made. What had left the list, and is
        # back, came last.
        records.sort(key=lambda record: record.number)
        return [record.info() for record in records]

    def clear_finished(self) -> int:
        """Take the tasks that have ended out of the list; returns how many."""
        self.check()
        with self._lock:
            removed = self._table.clear_finished()
            for record in removed:
                self._tell(record, "removed")
            return len(removed)

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` of every change from now on."""
        self.check()
        with self._lock:
            self._listeners = (*self._listeners, listener)

    def unlisten(self, listener: Listener | None) -> None:
        """Tell it no more, or nobody where None."""
        self.check()
        with self._lock:
            self._listeners = tuple(kept for kept in self._listeners if listener is not None and kept != listener)

    # -- what is asked of a task --------------------------------------------------------------------------------------

    def pause(self, record: AnyRecord) -> bool:
        """Pause it; False where it has ended. Its requests are cancelled at once: see `stopped`."""
        self.check()
        with self._lock:
            if record.state in ACTIVE:
                _check_repeatable(record)
            if record.state != "paused" and not self._move(record, "paused"):
                return False
            self._interrupt(record)
            return True

    def restart(self, record: AnyRecord) -> bool:
        """Let a paused or failed task wait for a slot again; False where it is cancelled or done."""
        self.check()
        with self._lock:
            if self._closed:
                raise CosxferError("the client is closed; make a new one")
            if record.state in ("paused", "error"):
                if record.state == "error":
                    _check_repeatable(record)
                if self._table.reopened(record):
                    self._tell(record, "added")
                record.error = record.trace = None
                self._move(record, "waiting")
                self._let_wait(record)
            return record.state not in ("success", "canceled")

    def cancel(self, record: AnyRecord, *, abort: bool) -> bool:
        """End it, and with ``abort`` delete its parts on the server; False where it was done. See `stopped`."""
        self.check()
        check_flag(abort, "abort")
        with self._lock:
            return record.state == "canceled" or self._cancel(record, abort)

    def stopped(self, record: AnyRecord) -> Future[None] | None:
        """A future that ends when nothing of the task runs any more; None where that is so already."""
        with self._lock:
            return None if record.quiet else self._waiter(record, False)

    def when_ended(self, record: AnyRecord) -> Future[None] | None:
        """A future that ends when the task has an outcome; None where it has."""
        self.check()
        with self._lock:
            return None if record.ended else self._waiter(record, True)

    def cancel_all(self) -> list[Future[None]]:
        """Take nothing new, and cancel what has not ended, as each task's ``abort_on_failure`` says."""
        with self._lock:
            self._closed = True
            stopping = []
            for record in list(self._table):
                if record.state not in ENDED:
                    assert record.job is not None
                    record.error = CosxferError("the client was closed")
                    self._cancel(record, record.job.abort_on_failure)
                if not record.quiet:
                    stopping.append(self._waiter(record, False))
            return stopping


def _check_repeatable(record: AnyRecord) -> None:
    if record.job is not None and not record.job.repeatable:
        raise UsageError(
            f"task {record.task_id} sends a body that can be read only once; it cannot be paused or restarted",
            name="task_id",
            value=record.task_id,
        )
