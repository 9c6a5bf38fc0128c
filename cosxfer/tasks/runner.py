"""The runner: gives slots to tasks, runs their jobs on the event loop, and settles what ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from cosxfer.engine.limiter import Limiter
from cosxfer.engine.shortcut import Rest
from cosxfer.engine.upload.short_result import size_of
from cosxfer.errors import CosxferError
from cosxfer.tasks.board import TaskBoard
from cosxfer.tasks.dispatcher import logger
from cosxfer.tasks.home import Home
from cosxfer.tasks.later import LaterJobs, made
from cosxfer.tasks.leftovers import Leftovers
from cosxfer.tasks.record import Shortcut, TaskRecord, Work
from cosxfer.tasks.states import ACTIVE, ENDED
from cosxfer.tasks.table import AnyRecord

R = TypeVar("R")


class TaskRunner:
    """Runs as many tasks at a time as the limiter allows. The caller of a public method holds the lock of the board."""

    def __init__(self, board: TaskBoard, home: Home, limiter: Limiter) -> None:
        self._board = board
        self._home = home
        self.leftovers = Leftovers(board, home, on_deleted=self._deleted)
        self._limiter = limiter
        limiter.when_more_tasks(self._start_waiting)
        self.running = 0
        self._demand = 0
        """How many requests at a time the running tasks with several parts can use."""
        self._woken = False

    # -- steps, under the lock ----------------------------------------------------------------------------------------

    def cancel(self, record: AnyRecord, abort: bool) -> bool:
        """Cancel a task; False if it was done. Its parts are deleted with ``abort``."""
        if not self._board.move(record, "canceled"):
            return False
        record.asked_to_abort = abort
        self.interrupt(record)
        if record.quiet:
            self._clean_up(record)
        return True

    def let_wait(self, record: AnyRecord) -> None:
        """Let a task wait for a slot, if that is its state."""
        # A task whose last run is still winding down, or being cleaned up, is queued when that has ended.
        if record.state == "waiting" and record.quiet and not record.held:
            self._board.table.enqueue(record)
            self.wake()

    def wake(self) -> None:
        """Give slots to tasks that wait, soon."""
        if not self._woken and self.running < self._limiter.tasks:
            self._woken = True
            self._home.post(self._start_waiting)

    def interrupt(self, record: AnyRecord) -> None:
        """Cancel what runs for a task."""
        if record.work is not None and not record.interrupted and not record.cleaning:
            record.interrupted = True
            self._home.post(partial(self._cancel_work, record, record.work))

    def _cancel_work(self, record: AnyRecord, work: Work) -> None:
        """On the loop. ``work`` may be over by now, and what ran it may do something else."""
        if record.work is work:
            record.cut = True
            work.cancel()

    def settle(self, record: AnyRecord) -> None:
        """Nothing runs for the record any more: tell those who wait, and let go of what is not needed again."""
        self._board.release(record)
        if record.state not in ENDED:
            return
        on_end = record.on_end
        if record.state != "error":
            # It is not restarted. The list of tasks must not keep the files and the outcomes of its batch.
            record.job = record.on_end = record.on_report = None
        if on_end is not None:
            on_end(record)
        if removed := self._board.table.finished(record):
            self.removed(removed)

    def removed(self, records: Iterable[AnyRecord]) -> None:
        """They have left the list: what a failed one has kept on the server is not needed any more."""
        for record in records:
            self._board.tell(record, "removed")
            self.leftovers.let_go(record)

    def _clean_up(self, record: AnyRecord) -> None:
        """A cancelled task: delete what it has on the server, if that was asked for, else close what it has open."""
        job = record.job
        if job is not None:
            record.upload_id = job.upload_id
            if (record.asked_to_abort or job.must_leave) and self.leftovers.delete(
                record, job, abort=record.asked_to_abort
            ):
                return
            record.aborted = not job.upload_id
            record.left = job.kept
        self.settle(record)

    def _deleted(self, record: AnyRecord) -> None:
        """The parts of a task are gone, or could not be deleted. One that had failed may have been restarted since."""
        if record.state == "canceled":
            self.settle(record)
        else:
            self._board.release(record)
            self.let_wait(record)

    # -- steps on the loop --------------------------------------------------------------------------------------------

    def _start_waiting(self) -> None:
        if self._home.loop is None:
            return  # no call came yet
        begun: list[tuple[AnyRecord, Shortcut]] = []
        with self._board.lock:
            self._woken = False
            while self.running < self._limiter.tasks and not self._board.closed:
                # Tasks with several parts begin only while they can use the slots; the shorter ones pass them.
                limit = self._limiter.max_demand
                in_parts = limit is None or not self._demand or self._demand < limit
                record = self._board.table.next_waiting(in_parts=in_parts)
                if record is None:
                    break
                self._board.move(record, "checking")
                self.running += 1
                if record.demand > 1:
                    # At least 2, by which the end of the task knows that it was counted.
                    record.demand = max(2, min(record.demand, self._limiter.slots))
                    self._demand += record.demand
                record.interrupted = record.cut = False
                shortcut = _shortcut_of(record)
                if shortcut is None:
                    self._start_task(record, self._home.loop)
                else:
                    record.work = shortcut
                    begun.append((record, shortcut))
        for record, shortcut in begun:
            shortcut.start(record, self._board.on_progress, self._shortcut_ended)

    def _start_task(self, record: AnyRecord, loop: asyncio.AbstractEventLoop, **rest: Any) -> Work:
        """Run the job of a task, under the lock. ``rest`` is what its shortcut has left."""
        record.job = made(record)
        work = loop.create_task(self._run(record, **rest), name=f"cosxfer-{record.task_id}")
        record.work = work
        work.add_done_callback(partial(self._ended, record))
        return work

    def _shortcut_ended(self, record: AnyRecord, outcome: Any) -> None:
        """The shortcut of a job has ended, with its result, with what is left to do, or with None if it was
        cancelled."""
        loop = self._home.loop
        assert loop is not None
        with self._board.lock:
            if isinstance(outcome, Rest):
                work = self._start_task(record, loop, rest=outcome)
                if record.interrupted:
                    record.cut = True
                    work.cancel()
                return
            record.work = None
            self.running -= 1
            record.result = outcome
            if record.state not in ACTIVE:
                self.stopped(record)
            elif outcome is None:
                self.failed(record, None)
            else:
                self._board.set_total(record, size_of(outcome))
                self.succeeded(record)
            # Several end in one turn of the loop. The next ones begin together after them.
            wake, self._woken = not self._woken, True
        if wake:
            loop.call_soon(self._start_waiting)

    async def _run(self, record: TaskRecord[R], **rest: Any) -> R:
        job = record.job
        assert job is not None
        if record.result is not None:
            return record.result  # it was paused in the moment in which it was done
        try:
            return await job.run(
                on_hash_progress=partial(self._board.on_hash_progress, record),
                on_progress=partial(self._board.on_progress, record),
                **rest,
            )
        except asyncio.CancelledError:
            if not record.interrupted and (job.must_leave or (job.abort_on_failure and job.upload_id)):
                # Not by the queue: the loop is coming to its end, and nobody else will clean up.
                aborted, left = await (job.abort() if job.abort_on_failure else job.leave())
                if not aborted:
                    logger.warning("%s was cancelled. %s", record.what, left)
            raise

    def _ended(self, record: TaskRecord[R], work: asyncio.Task[R]) -> None:
        error = None if work.cancelled() else work.exception()
        with self._board.lock:
            record.work = None
            self.running -= 1
            if record.demand > 1:
                self._demand -= record.demand
            if not work.cancelled() and error is None:
                record.result = work.result()
            if record.state not in ACTIVE:
                self.stopped(record)
            elif work.cancelled() and work.cancelling():
                self._loop_ends()
            elif work.cancelled() or error is not None:
                self.failed(record, error)
            else:
                self.succeeded(record)
        # Its slot is for the next one, at once: this is the loop already.
        self._start_waiting()

    def stopped(self, record: AnyRecord) -> None:
        """Nothing runs any more for a task that was cancelled, or paused, and perhaps already restarted."""
        if record.state == "canceled":
            self._clean_up(record)
        else:
            self._board.add_stored(record)
            self.settle(record)
            self.let_wait(record)

    def succeeded(self, record: AnyRecord) -> None:
        """The job has a result."""
        if record.watch is None and record.on_report is None and not self._board.listeners:
            # The same as below, without reports that nobody gets: for small objects the steps are much of the cost.
            record.hash_loaded = record.loaded = record.total
            record.state = "success"
            self.settle(record)
            return
        if record.state == "checking":
            self._board.move(record, "uploading")
        record.hash_loaded = record.total
        self._board.set_loaded(record, record.total)
        self._board.move(record, "success")
        self.settle(record)

    def was_done(self, record: AnyRecord) -> None:
        """A task that has just been submitted has a result: an earlier process has done it."""
        record.hash_loaded = record.total
        if self._board.listeners:
            self._board.move(record, "checking")
            self._board.move(record, "uploading")
            self._board.set_loaded(record, record.total)
            self._board.move(record, "success")
        else:  # there may be a hundred thousand of them
            self._board.set_loaded(record, record.total)
            record.state = "success"
        self.settle(record)

    def failed(self, record: AnyRecord, error: BaseException | None) -> None:
        """The job has raised ``error``, or was cancelled by something else than the queue (None)."""
        if isinstance(error, Exception):
            record.error = error
            record.trace = error.__traceback__
        else:
            record.error = CosxferError(
                f"the transfer was ended from within by {type(error or asyncio.CancelledError()).__name__}"
            )
        self._board.add_stored(record)
        self._board.move(record, "error")
        self.leftovers.hold(record)
        self.settle(record)

    def _loop_ends(self) -> None:
        """Somebody cancels all tasks of the loop: nothing will run any more, and nobody is to wait for it."""
        self._board.closed = True
        for record in list(self._board.table):
            if record.state not in ENDED and record.work is None:
                self.cancel(record, False)
            elif record.state not in ENDED:
                self._board.move(record, "canceled")


def _shortcut_of(record: AnyRecord) -> Shortcut | None:
    """Return the shortcut of a task that sends one request, and that nobody watches."""
    if record.watch is not None or record.result is not None or record.demand > 1:
        return None
    job = record.job
    try:
        if isinstance(job, LaterJobs):
            return job.shortcut_of(record)
        shortcut: Callable[[], Shortcut | None] | None = getattr(job, "shortcut", None)
        return None if shortcut is None else shortcut()
    except Exception:
        logger.debug("%s: there is no short way", record.what, exc_info=True)
        return None  # the usual way says what is wrong
