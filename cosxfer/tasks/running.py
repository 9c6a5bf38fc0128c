"""Tasks under way: the steps that a task takes, and what the event loop does for it.

Every change is one step under one lock, whatever thread takes it; the event loop acts on it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from cosxfer.engine.report import call
from cosxfer.errors import CosxferError
from cosxfer.models import Progress, TaskEvent, TaskInfo
from cosxfer.states import TaskChange, TaskState
from cosxfer.tasks.dispatcher import Delivery, Dispatcher, logger
from cosxfer.tasks.record import Job, Report, TaskRecord
from cosxfer.tasks.states import ACTIVE, ENDED, may
from cosxfer.tasks.table import AnyRecord, TaskTable

R = TypeVar("R")
Listener = Callable[[TaskEvent], None]


CLEAN_UP_SECONDS = 30.0
"""How long those who end a client, or a call, wait until what is left on the server is deleted."""

ABORTS_AT_A_TIME = 16
"""Multipart uploads that are aborted side by side."""

_keepers: set[asyncio.Task[None]] = set()
"""An event loop holds its tasks weakly; these are to live as long as their loop."""


class RunningTasks:
    """The part of `TaskQueue` that makes its tasks go on."""

    def __init__(self, *, parallel: int, keep: int) -> None:
        self.dispatcher = Dispatcher(name="cosxfer-callbacks")
        self._parallel = parallel
        self._lock = threading.Lock()
        self._table = TaskTable(keep=keep)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = 0
        self._woken = False
        self._closed = False
        self._cleaning: set[AnyRecord] = set()
        """Tasks whose parts are being deleted; some of them have left the list."""
        self._aborts = asyncio.Semaphore(ABORTS_AT_A_TIME)
        self._keeper: asyncio.Task[None] | None = None
        """Cancelled at the end, once a failed task has kept parts on the server."""
        self._process = os.getpid()
        self._id = os.urandom(12).hex()
        """What the ids of its tasks begin with; it is no other queue's, in no other process."""
        self._listeners: tuple[Listener, ...] = ()
        self._sequence = 0

    # -- steps, under the lock ----------------------------------------------------------------------------------------

    def _move(self, record: AnyRecord, state: TaskState) -> bool:
        previous = record.state
        if not may(previous, state):
            return False
        record.state = state
        record.event = None
        if record.watch is not None:
            record.watch.sent = record.watch.hashed = None
        self._tell(record, "state", previous)
        return True

    def _cancel(self, record: AnyRecord, abort: bool) -> bool:
        if not self._move(record, "canceled"):
            return False
        record.asked_to_abort = abort
        self._interrupt(record)
        if record.quiet:
            self._clean_up(record)
        return True

    def _tell(self, record: AnyRecord, change: TaskChange, previous: TaskState | None = None) -> None:
        if not self._listeners:
            return
        announce = partial(self._announce, self._listeners)
        told = (change, record.info(), previous)
        if change == "progress":
            record.event = self.dispatcher.post_newer(record.event, announce, told)
        else:
            self.dispatcher.post(announce, told)

    def _announce(self, listeners: tuple[Listener, ...], told: tuple[TaskChange, TaskInfo, TaskState | None]) -> None:
        """In the dispatcher's thread: there it is known which progress was left out, and so each event's number."""
        self._sequence += 1
        change, task, previous = told
        event = TaskEvent(sequence=self._sequence, change=change, task=task, previous=previous)
        for listener in listeners:
            call(listener, event)

    def _set_loaded(self, record: AnyRecord, loaded: int) -> None:
        change, record.loaded = loaded - record.loaded, loaded
        if change:
            if record.on_report is not None:
                record.on_report(change, 0)
            self._tell(record, "progress")

    def _set_total(self, record: AnyRecord, total: int) -> None:
        change, record.total = total - record.total, total
        if change and record.on_report is not None:
            record.on_report(0, change)

    def _add_stored(self, record: AnyRecord) -> None:
        """A run was cut: what the server has may be more than was reported. What was reported stays."""
        if record.job is not None and record.job.loaded > record.loaded:
            self._set_loaded(record, record.job.loaded)

    def _waiter(self, record: AnyRecord, for_outcome: bool) -> Future[None]:
        future: Future[None] = Future()
        # Who gave up waiting is forgotten: a result may be asked for again and again with a time-out.
        waiting = [waiter for waiter in record.waiters or () if not waiter[1].cancelled()]
        record.waiters = [*waiting, (for_outcome, future)]
        return future

    def _let_wait(self, record: AnyRecord) -> None:
        # A task whose last run is still winding down, or being cleaned up, is queued when that has ended.
        if record.state == "waiting" and record.quiet and not record.held:
            self._table.enqueue(record)
            self._wake()

    def _wake(self) -> None:
        if not self._woken and self._running < self._parallel:
            self._woken = True
            self._on_loop(self._start_waiting)

    def _on_loop(self, step: Callable[[], object]) -> bool:
        assert self._loop is not None
        if self._loop.is_closed():
            return False
        self._loop.call_soon_threadsafe(step)
        return True

    def _interrupt(self, record: AnyRecord) -> None:
        if record.work is not None and not record.interrupted and not record.cleaning:
            record.interrupted = True
            self._on_loop(partial(self._cancel_work, record, record.work))

    def _cancel_work(self, record: AnyRecord, work: asyncio.Task[Any]) -> None:
        """On the loop. ``work`` may be over by now, and what ran it may do something else."""
        if record.work is work:
            record.cut = True
            work.cancel()

    def _settle(self, record: AnyRecord) -> None:
        """Nothing runs for the record any more: tell those who wait, and let go of what is not needed again."""
        self._release(record)
        if record.state not in ENDED:
            return
        if record.state != "error":
            record.job = None
        if record.on_end is not None:
            record.on_end(record)
        if removed := self._table.finished(record):
            self._removed(removed)

    def _release(self, record: AnyRecord) -> None:
        """Nothing runs for the record any more: tell those who wait for that, or for an outcome that is there."""
        waiters, record.waiters = record.waiters, None
        left = []
        for waiter in waiters or ():
            if waiter[0] and record.state not in ENDED:
                left.append(waiter)
            elif waiter[1].set_running_or_notify_cancel():
                waiter[1].set_result(None)
        record.waiters = left or None

    def _removed(self, records: Iterable[AnyRecord]) -> None:
        """They have left the list: what a failed one has kept on the server is not needed any more."""
        for record in records:
            self._tell(record, "removed")
            self._let_go(record)

    def _let_go(self, record: AnyRecord) -> None:
        """A failed task that nobody can restart: delete its parts, unless they are to be kept."""
        job = record.job
        if record.state == "error" and record.quiet and job is not None and job.holds_parts:
            self._delete_parts(record, job)

    def _clean_up(self, record: AnyRecord) -> None:
        """A cancelled task: delete what it has on the server, if that was asked for."""
        job = record.job
        if job is not None:
            record.upload_id = job.upload_id
            if record.asked_to_abort and self._delete_parts(record, job):
                return
            record.aborted = not job.upload_id
        self._settle(record)

    def _delete_parts(self, record: AnyRecord, job: Job[Any]) -> bool:
        """Begin to delete what a task has on the server; returns whether that was begun."""
        record.upload_id = job.upload_id
        if not job.upload_id or not self._on_loop(partial(self._start_abort, record)):
            return False
        record.cleaning = True
        self._cleaning.add(record)
        return True

    def _hold_parts(self, record: AnyRecord) -> None:
        """A failed task keeps its parts: somebody must delete them if the loop comes to its end before the client."""
        job = record.job
        if job is not None and job.upload_id and job.holds_parts and self._keeper is None and not self._closed:
            assert self._loop is not None
            self._keeper = self._loop.create_task(self._keep_parts(), name="cosxfer-parts-of-failed-tasks")
            # On a loop that is just dropped it ends without a word; what is left is said by `end_keeping`.
            self._keeper._log_destroy_pending = False  # type: ignore[attr-defined]
            _keepers.add(self._keeper)
            self._keeper.add_done_callback(_keepers.discard)

    # -- steps on the loop --------------------------------------------------------------------------------------------

    def _start_waiting(self) -> None:
        assert self._loop is not None
        with self._lock:
            self._woken = False
            while self._running < self._parallel and not self._closed:
                record = self._table.next_waiting()
                if record is None:
                    return
                self._move(record, "checking")
                self._running += 1
                record.interrupted = record.cut = False
                record.work = self._loop.create_task(self._run(record), name=f"cosxfer-{record.task_id}")
                record.work.add_done_callback(partial(self._ended, record))

    async def _run(self, record: TaskRecord[R]) -> R:
        job = record.job
        assert job is not None
        if record.result is not None:
            return record.result  # it was paused in the moment in which it was done
        try:
            return await job.run(
                on_hash_progress=partial(self._on_hash_progress, record), on_progress=partial(self._on_progress, record)
            )
        except asyncio.CancelledError:
            if not record.interrupted and job.abort_on_failure and job.upload_id:
                # Not by the queue: the loop is coming to its end, and nobody else will clean up.
                aborted, left = await job.abort()
                if not aborted:
                    logger.warning("%s was cancelled. %s", record.what, left)
            raise

    def _ended(self, record: TaskRecord[R], work: asyncio.Task[R]) -> None:
        error = None if work.cancelled() else work.exception()
        with self._lock:
            record.work = None
            self._running -= 1
            if not work.cancelled() and error is None:
                record.result = work.result()
            if record.state not in ACTIVE:
                self._stopped(record)
            elif work.cancelled() and work.cancelling():
                self._loop_ends()
            elif work.cancelled() or error is not None:
                self._failed(record, error)
            else:
                self._succeeded(record)
        # Its slot is for the next one, at once: this is the loop already.
        self._start_waiting()

    def _stopped(self, record: AnyRecord) -> None:
        """Nothing runs any more for a task that was cancelled, or paused, and perhaps already restarted."""
        if record.state == "canceled":
            self._clean_up(record)
        else:
            self._add_stored(record)
            self._settle(record)
            self._let_wait(record)

    def _succeeded(self, record: AnyRecord) -> None:
        if record.watch is None and record.on_report is None and not self._listeners:
            # The same as below where nobody is told of it: of small objects the steps are a good part of the cost.
            record.hash_loaded = record.loaded = record.total
            record.state = "success"
            self._settle(record)
            return
        if record.state == "checking":
            self._move(record, "uploading")
        record.hash_loaded = record.total
        self._set_loaded(record, record.total)
        self._move(record, "success")
        self._settle(record)

    def _failed(self, record: AnyRecord, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            record.error = error
            record.trace = error.__traceback__
        else:
            record.error = CosxferError(
                f"the transfer was ended from within by {type(error or asyncio.CancelledError()).__name__}"
            )
        self._add_stored(record)
        self._move(record, "error")
        self._hold_parts(record)
        self._settle(record)

    def _loop_ends(self) -> None:
        """Somebody cancels all tasks of the loop: nothing will run any more, and nobody is to wait for it."""
        self._closed = True
        for record in list(self._table):
            if record.state not in ENDED and record.work is None:
                self._cancel(record, False)
            elif record.state not in ENDED:
                self._move(record, "canceled")

    def _start_abort(self, record: AnyRecord) -> None:
        assert self._loop is not None
        with self._lock:
            assert record.job is not None
            record.work = self._loop.create_task(self._abort(record.job), name=f"cosxfer-abort-{record.task_id}")
            record.work.add_done_callback(partial(self._aborted, record))

    async def _abort(self, job: Job[Any]) -> tuple[bool, str]:
        # Thousands may come at once, when a client is closed; each has its own time limit.
        async with self._aborts:
            return await job.abort()

    def _aborted(self, record: AnyRecord, work: asyncio.Task[tuple[bool, str]]) -> None:
        failed = work.cancelled() or work.exception() is not None
        with self._lock:
            record.work = None
            record.cleaning = False
            self._cleaning.discard(record)
            if failed:
                aborted, left = False, f"The multipart upload {record.upload_id} was kept on the server"
            else:
                aborted, left = work.result()
            if record.state == "canceled":
                record.aborted, record.left = aborted, left
                if not aborted:
                    logger.warning("%s", record.canceled())
                self._settle(record)
                return
            # It had failed. By now somebody may have restarted it.
            if not aborted:
                logger.warning("%s, which failed: %s", record.what, left)
            self._release(record)
            self._let_wait(record)

    async def _keep_parts(self) -> None:
        """Leave no parts of failed tasks behind where the loop comes to its end before the client is closed.

        Whoever runs a loop (`asyncio.run`) cancels the tasks that are left in it, and waits for them.
        """
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            stopping = [] if self._keeper is None else self._let_all_go()
            if stopping:
                await asyncio.wait([asyncio.wrap_future(future) for future in stopping], timeout=CLEAN_UP_SECONDS)

    def _let_all_go(self) -> list[Future[None]]:
        """Take nothing new, and delete what failed tasks have kept on the server."""
        with self._lock:
            self._closed = True
            for record in list(self._table):
                self._let_go(record)
            return [self._waiter(record, False) for record in self._cleaning]

    def _on_hash_progress(self, record: AnyRecord, progress: Progress) -> None:
        with self._lock:
            if record.state not in ACTIVE:
                return
            progress = never_falling(progress, record.hash_loaded)
            changed = progress.loaded != record.hash_loaded
            record.hash_loaded = progress.loaded
            self._set_total(record, progress.total)
            watch = record.watch
            if watch is not None and watch.on_hash_progress is not None:
                watch.hashed = self._report(watch.hashed, watch.on_hash_progress, progress)
            if changed:
                self._tell(record, "progress")

    def _on_progress(self, record: AnyRecord, progress: Progress) -> None:
        with self._lock:
            if record.state not in ACTIVE:
                return  # a run that is winding down: of a task that has ended nothing more is told
            progress = never_falling(progress, record.loaded)
            record.speed = progress.speed
            self._set_total(record, progress.total)
            if record.state == "checking":
                self._move(record, "uploading")
            watch = record.watch
            if watch is not None and watch.on_progress is not None:
                watch.sent = self._report(watch.sent, watch.on_progress, progress)
            self._set_loaded(record, progress.loaded)

    def _report(self, older: Delivery | None, callback: Report, progress: Progress) -> Delivery:
        # The first report of a run is always delivered, and so is the last: there is none to replace it.
        if older is None:
            return self.dispatcher.post(callback, progress)
        return self.dispatcher.post_newer(older, callback, progress)


def never_falling(progress: Progress, shown: int) -> Progress:
    """A report of a further run: with no fewer bytes than earlier runs have shown, unless the file is shorter now."""
    if progress.loaded >= shown:
        return progress
    loaded = min(shown, progress.total)
    return replace(progress, loaded=loaded, percent=loaded / progress.total if progress.total else 1.0)
