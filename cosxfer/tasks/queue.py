"""The queue: gives slots to tasks in the order of their submission, and pauses, restarts and cancels them.

It is what the client calls. The state is in `TaskBoard`; `TaskRunner` runs the tasks; `Leftovers` cleans up after them.
A task that waits is a record in a heap and nothing else.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from cosxfer.address import ObjectAddress
from cosxfer.arguments import check_flag
from cosxfer.engine.limiter import Limiter
from cosxfer.engine.report import call
from cosxfer.engine.upload.digests import SMALL_BYTES
from cosxfer.errors import CosxferError, UsageError
from cosxfer.models import TaskInfo
from cosxfer.tasks.board import Listener, TaskBoard
from cosxfer.tasks.dispatcher import Dispatcher
from cosxfer.tasks.home import Home
from cosxfer.tasks.later import LaterJobs
from cosxfer.tasks.record import Job, Place, Report, TaskRecord, Watch, copied
from cosxfer.tasks.runner import TaskRunner
from cosxfer.tasks.states import ACTIVE, ENDED
from cosxfer.tasks.table import AnyRecord

R = TypeVar("R")


class TaskQueue:
    """The tasks of one client. Every method may be called from any thread.

    The limiter says how many tasks run at a time; ``keep`` ended ones stay in the list.
    """

    def __init__(self, limiter: Limiter, *, keep: int) -> None:
        self.home = Home()
        self._board = TaskBoard(keep=keep)
        self._runner = TaskRunner(self._board, self.home, limiter)
        self._id = os.urandom(12).hex()
        """What the ids of its tasks begin with; it is no other queue's, in no other process."""
        self._ending = False
        """Whether `cancel_all` was called."""

    @property
    def dispatcher(self) -> Dispatcher:
        """Calls users' callbacks."""
        return self._board.dispatcher

    @property
    def idle(self) -> bool:
        """Whether no task waits, runs or is cleaned up."""
        # Without the lock: the garbage collector may run in a thread that holds it.
        return not self._runner.leftovers.deleting and all(record.ended for record in list(self._board.table))

    @property
    def some_wait(self) -> bool:
        """Whether a task waits for a slot."""
        return self._board.table.some_wait

    def end_keeping(self, then: Callable[[], None]) -> None:
        """Nobody holds the client any more; see `Leftovers.end_keeping`."""
        self._runner.leftovers.end_keeping(then)

    # -- the list ---------------------------------------------------------------------------------------------------

    def submit(
        self,
        job: Job[R],
        *,
        address: ObjectAddress,
        path: str = "",
        total: int = 0,
        watch: Watch | None = None,
        on_task_ready: Callable[[str], None] | None = None,
        on_report: Callable[[int, int], None] | None = None,
        on_end: Callable[[TaskRecord[R]], None] | None = None,
        at_once: bool = False,
        download: bool = False,
        index: int = 0,
    ) -> TaskRecord[R]:
        """Put a job in. ``on_task_ready`` is called here, with the id in the list and before the job may start.

        One that is to run ``at_once`` does not wait for a slot: its caller goes on with `begin`. ``index`` is that of
        the file in its batch.
        """
        self.home.check_process()
        with self._board.lock:
            record = self._add(
                job,
                place=(address.bucket, address.key, address.region),
                path=path,
                total=total,
                watch=watch,
                on_report=on_report,
                on_end=on_end,
                download=download,
                index=index,
            )
            if on_task_ready is None:
                record.held = False
                if not at_once:
                    self._runner.let_wait(record)
                return record
        try:
            call(on_task_ready, record.task_id)
        except BaseException:
            self.cancel(record, abort=False)
            raise
        with self._board.lock:
            record.held = False
            if not at_once:
                self._runner.let_wait(record)
        return record

    def submit_each(
        self,
        jobs: LaterJobs[R],
        files: Iterable[tuple[Place, str, int]],
        *,
        on_report: Callable[[int, int], None] | None,
        on_end: Callable[[TaskRecord[R]], None] | None,
        first: int = 0,
    ) -> list[TaskRecord[R]]:
        """Put many jobs in, as `submit` does without callbacks of the tasks.

        ``files`` has the object, the path and the size of each. ``first`` is the index of the first one in its batch.
        """
        self.home.check_process()
        records = []
        with self._board.lock:
            for index, (place, path, total) in enumerate(files, first):
                record = self._add(
                    jobs,
                    place=place,
                    path=path,
                    total=total,
                    watch=None,
                    on_report=on_report,
                    on_end=on_end,
                    index=index,
                )
                record.held = False
                self._board.table.enqueue(record)
                records.append(record)
            self._runner.wake()
        return records

    def submit_done(
        self,
        result: R,
        *,
        address: ObjectAddress,
        path: str,
        total: int,
        on_report: Callable[[int, int], None] | None,
        on_end: Callable[[TaskRecord[R]], None] | None,
        index: int = 0,
    ) -> TaskRecord[R]:
        """Put a task in that is done already, because an earlier process has done it. It never waits or runs."""
        self.home.check_process()
        with self._board.lock:
            record = self._add(
                None,
                place=(address.bucket, address.key, address.region),
                path=path,
                total=total,
                watch=None,
                on_report=on_report,
                on_end=on_end,
                index=index,
            )
            record.result, record.held = result, False
            self._runner.was_done(record)
        return record

    def pass_over(self, step: Callable[[], None]) -> None:
        """Call ``step`` under the lock. It counts files that an earlier process has sent, and that get no task."""
        self.home.check_process()
        with self._board.lock:
            self._check_open()
            step()

    @property
    def listened(self) -> bool:
        """Whether a listener gets the changes of the list of tasks."""
        return bool(self._board.listeners)

    def _check_open(self) -> None:
        if self._board.closed or self.home.gone:
            raise CosxferError("the client is closed; make a new one")

    def _add(
        self,
        job: Job[R] | None,
        *,
        place: Place,
        path: str,
        total: int,
        watch: Watch | None,
        on_report: Callable[[int, int], None] | None,
        on_end: Callable[[TaskRecord[R]], None] | None,
        download: bool = False,
        index: int = 0,
    ) -> TaskRecord[R]:
        """Add a task to the list. The caller holds the lock."""
        self._check_open()
        number = self._board.table.next_number()
        record = TaskRecord(
            job,
            number=number,
            task_id=f"{self._id}{number:08x}",
            place=place,
            path=path,
            total=total,
            watch=watch,
            on_report=on_report,
            on_end=on_end,
            download=download,
            index=index,
        )
        self._board.table.add(record)
        self._board.tell(record, "added")
        return record

    # -- tasks that run at once, in the asyncio task of their caller --------------------------------------------------

    def begin(self, record: TaskRecord[R], caller: asyncio.Task[Any]) -> Job[R] | None:
        """The job of a task, for ``caller`` to run now; None if it was paused or cancelled, or waits for a slot."""
        with self._board.lock:
            if record.state != "waiting" or record.queued or not record.quiet or self._board.closed:
                return None
            if 0 < record.total <= SMALL_BYTES and record.watch is None and not self._board.listeners:
                record.state = "uploading"  # it is over before anybody could look: nothing is reported of it
            else:
                self._board.move(record, "checking")
            record.interrupted = record.cut = False
            record.work = caller
            return record.job

    def withdraw(self, record: AnyRecord) -> None:
        """Cancel a task that nobody has begun: its caller was interrupted before."""
        with self._board.lock:
            if record.state == "waiting" and not record.queued and record.quiet:
                self._runner.cancel(record, False)

    def reports(self, record: AnyRecord) -> tuple[Report, Report] | tuple[None, None]:
        """What the job of ``record``, which has just begun, reports to: its hashing, and its sending."""
        if record.state == "uploading":
            return None, None
        return partial(self._board.on_hash_progress, record), partial(self._board.on_progress, record)

    def done(self, record: TaskRecord[R], result: R) -> bool:
        """The caller has run the job to its end; returns whether this is the end of the task."""
        with self._board.lock:
            record.work = None
            if record.state in ACTIVE:
                self._runner.succeeded(record)
                return True
            record.result = result  # it was paused or cancelled in the moment in which it was done
            self._runner.stopped(record)
            return False

    def failed(self, record: AnyRecord, error: BaseException, *, keep: bool) -> bool:
        """The same of a job that has failed; ``keep`` says whether it can be restarted."""
        with self._board.lock:
            record.work = None
            if record.state not in ACTIVE:
                self._runner.stopped(record)
                return False
            if not keep:
                record.job = None
            if isinstance(error, Exception):
                self._runner.failed(record, copied(error))
                record.was_raised(error)
            else:
                self._runner.failed(record, error)
            return True

    def cut_off(self, record: AnyRecord) -> None:
        """The caller has stopped a job that was paused or cancelled."""
        with self._board.lock:
            record.work = None
            self._runner.stopped(record)

    def given_up(self, record: AnyRecord) -> None:
        """The caller was cancelled, and so is the task."""
        with self._board.lock:
            record.work = None
            if record.state in ACTIVE:
                # The parts of a stream cannot be continued, so they are deleted.
                self._runner.cancel(record, record.job is not None and record.job.abort_on_failure)
            else:
                self._runner.stopped(record)

    def get(self, task_id: str) -> AnyRecord:
        """The task with this id; raises `UsageError` for another."""
        self.home.check_process()
        with self._board.lock:
            return self._board.table.get(task_id)

    def set_total(self, record: AnyRecord, total: int) -> None:
        """Its size is known, before it has begun."""
        with self._board.lock:
            if record.state == "waiting":
                self._board.set_total(record, total)

    def infos(self) -> list[TaskInfo]:
        """All tasks in the list, in the order of their submission."""
        self.home.check_process()
        with self._board.lock:
            records = list(self._board.table)
        # Without the lock: the transfers would wait for it while a long list is made. What had left the list, and is
        # back, came last.
        records.sort(key=lambda record: record.number)
        return [record.info() for record in records]

    def clear_finished(self) -> int:
        """Take the tasks that have ended out of the list; returns how many."""
        self.home.check_process()
        with self._board.lock:
            removed = self._board.table.clear_finished()
            self._runner.removed(removed)
            return len(removed)

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` of every change from now on."""
        self.home.check_process()
        with self._board.lock:
            self._board.listeners = (*self._board.listeners, listener)

    def unlisten(self, listener: Listener | None) -> None:
        """Tell it no more, or nobody where None."""
        self.home.check_process()
        with self._board.lock:
            self._board.listeners = tuple(
                kept for kept in self._board.listeners if listener is not None and kept != listener
            )

    # -- what is asked of a task --------------------------------------------------------------------------------------

    def pause(self, record: AnyRecord) -> bool:
        """Pause it; False where it has ended. Its requests are cancelled at once: see `stopped`."""
        self.home.check_process()
        with self._board.lock:
            if record.state in ACTIVE:
                _check_repeatable(record)
            if record.state != "paused" and not self._board.move(record, "paused"):
                return False
            self._runner.interrupt(record)
            return True

    def restart(self, record: AnyRecord) -> bool:
        """Let a paused or failed task wait for a slot again; False where it is cancelled or done."""
        self.home.check_process()
        with self._board.lock:
            if self._board.closed:
                raise CosxferError("the client is closed; make a new one")
            if record.state in ("paused", "error"):
                if record.state == "error":
                    _check_repeatable(record)
                    _check_kept(record)
                if self._board.table.reopened(record):
                    self._board.tell(record, "added")
                record.error = record.trace = record.raised = None
                self._board.move(record, "waiting")
                self._runner.let_wait(record)
            return record.state not in ("success", "canceled")

    def cancel(self, record: AnyRecord, *, abort: bool) -> bool:
        """End it, and with ``abort`` delete its parts on the server; False where it was done. See `stopped`."""
        self.home.check_process()
        check_flag(abort, "abort")
        with self._board.lock:
            return record.state == "canceled" or self._runner.cancel(record, abort)

    def stopped(self, record: AnyRecord) -> Future[None] | None:
        """A future that ends when nothing of the task runs any more; None where that is so already."""
        with self._board.lock:
            return None if record.quiet else self._board.waiter(record, False)

    def when_ended(self, record: AnyRecord) -> Future[None] | None:
        """A future that ends when the task has an outcome; None where it has."""
        self.home.check_process()
        with self._board.lock:
            return None if record.ended else self._board.waiter(record, True)

    def cancel_all(self) -> list[Future[None]]:
        """Take nothing new, and cancel what has not ended, as each task's ``abort_on_failure`` says."""
        with self._board.lock:
            again, self._ending, self._board.closed = self._ending, True, True
            stopping = []
            for record in list(self._board.table):
                if record.state not in ENDED:
                    assert record.job is not None
                    record.error = CosxferError("the client was closed")
                    self._runner.cancel(record, record.job.abort_on_failure)
                if not again:  # what could not be deleted then cannot be deleted now
                    self._runner.leftovers.let_go(record)
                if record.work is not None and not record.cleaning:
                    stopping.append(self._board.waiter(record, False))
            return stopping + [self._board.waiter(record, False) for record in self._runner.leftovers.deleting]

    async def close(self) -> None:
        """End what waits for the end; on the loop, after `cancel_all`."""
        await self._runner.leftovers.close()


def _check_kept(record: AnyRecord) -> None:
    if record.job is None:
        raise UsageError(
            f"task {record.task_id} has failed, and put_object does not keep a body in memory: call it again. It keeps "
            "the body of a task that was announced to on_task_ready; so does submit_put_object",
            name="task_id",
            value=record.task_id,
        )


def _check_repeatable(record: AnyRecord) -> None:
    if record.job is not None and not record.job.repeatable:
        raise UsageError(
            f"task {record.task_id} sends a body that can be read only once; it cannot be paused or restarted",
            name="task_id",
            value=record.task_id,
        )
