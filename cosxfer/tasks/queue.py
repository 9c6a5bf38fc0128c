"""The queue: gives slots to tasks in the order of their submission, and pauses, restarts and cancels them.

What changes a task is one step under one lock, from whatever thread; the event loop acts on it. A task that waits is a
record in a heap and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from cosxfer.engine.report import call
from cosxfer.errors import CosxferError, UsageError
from cosxfer.models import Progress, TaskChange, TaskEvent, TaskInfo, TaskState
from cosxfer.tasks.dispatcher import Delivery, Dispatcher, logger
from cosxfer.tasks.record import Job, Report, TaskRecord, Watch
from cosxfer.tasks.states import ACTIVE, ENDED, may
from cosxfer.tasks.table import AnyRecord, TaskTable

R = TypeVar("R")
Listener = Callable[[TaskEvent], None]


class TaskQueue:
    """The tasks of one client. Every method may be called from any thread, unless it says otherwise.

    ``parallel`` tasks run at a time; ``keep`` ended ones stay in the list.
    """

    def __init__(self, *, parallel: int, keep: int) -> None:
        self.dispatcher = Dispatcher(name="cosxfer-callbacks")
        self._parallel = parallel
        self._lock = threading.Lock()
        self._table = TaskTable(keep=keep)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = 0
        self._woken = False
        self._closed = False
        self._process = os.getpid()
        self._listeners: tuple[Listener, ...] = ()
        self._sequence = 0

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
        with self._lock:
            if self._closed or self._loop is None or self._loop.is_closed():
                raise CosxferError("the client is closed; make a new one")
            record = TaskRecord(
                job,
                number=self._table.next_number(),
                task_id=uuid.uuid4().hex,
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
        # Without the lock: the transfers would wait for it while a long list is made.
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
                self._table.reopened(record)
                record.error = None
                self._move(record, "waiting")
                self._let_wait(record)
            return record.state not in ("success", "canceled")

    def cancel(self, record: AnyRecord, *, abort: bool) -> bool:
        """End it, and with ``abort`` delete its parts on the server; False where it was done. See `stopped`."""
        self.check()
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
        if record.work is None:
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
                record.on_report(change)
            self._tell(record, "progress")

    def _waiter(self, record: AnyRecord, for_outcome: bool) -> Future[None]:
        future: Future[None] = Future()
        # Who gave up waiting is forgotten: a result may be asked for again and again with a time-out.
        waiting = [waiter for waiter in record.waiters or () if not waiter[1].cancelled()]
        record.waiters = [*waiting, (for_outcome, future)]
        return future

    def _let_wait(self, record: AnyRecord) -> None:
        # A task whose last run is still winding down is queued when that has ended.
        if record.state == "waiting" and record.work is None and not record.held:
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
        if record.work is not None and not record.interrupted:
            record.interrupted = True
            self._on_loop(record.work.cancel)

    def _settle(self, record: AnyRecord) -> None:
        """Nothing runs for the record any more: tell those who wait, and let go of what is not needed again."""
        waiters, record.waiters = record.waiters, None
        left = []
        for waiter in waiters or ():
            if waiter[0] and record.state not in ENDED:
                left.append(waiter)
            elif waiter[1].set_running_or_notify_cancel():
                waiter[1].set_result(None)
        record.waiters = left or None
        if record.state not in ENDED:
            return
        if record.state != "error":
            record.job = None
        if record.on_end is not None:
            record.on_end(record)
        for removed in self._table.finished(record):
            self._tell(removed, "removed")

    def _clean_up(self, record: AnyRecord) -> None:
        """A cancelled task: delete what it has on the server, if that was asked for."""
        job = record.job
        assert job is not None
        record.upload_id = job.upload_id
        if not job.upload_id:
            self._settle(record)
        elif record.asked_to_abort and self._on_loop(partial(self._start_abort, record)):
            record.cleaning = True
        else:
            record.aborted = False
            self._settle(record)

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
                record.interrupted = False
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
                    logger.warning("the upload of %s was cancelled. %s", record.path or "a body", left)
            raise

    def _ended(self, record: TaskRecord[R], work: asyncio.Task[R]) -> None:
        error = None if work.cancelled() else work.exception()
        with self._lock:
            record.work = None
            self._running -= 1
            if not work.cancelled() and error is None:
                record.result = work.result()
            if record.state in ACTIVE:
                if work.cancelled() and work.cancelling():
                    self._loop_ends()
                elif work.cancelled() or error is not None:
                    self._failed(record, error)
                else:
                    self._succeeded(record)
            elif record.state == "canceled":
                self._clean_up(record)
            else:
                # Paused, or paused and already restarted.
                self._set_loaded(record, record.job.loaded if record.job is not None else 0)
                self._settle(record)
                self._let_wait(record)
            self._wake()

    def _succeeded(self, record: AnyRecord) -> None:
        if record.state == "checking":
            self._move(record, "uploading")
        record.hash_loaded = record.total
        self._set_loaded(record, record.total)
        self._move(record, "success")
        self._settle(record)

    def _failed(self, record: AnyRecord, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            record.error = error
        else:
            record.error = CosxferError(
                f"the upload was ended from within by {type(error or asyncio.CancelledError()).__name__}"
            )
        self._set_loaded(record, record.job.loaded if record.job is not None else 0)
        self._move(record, "error")
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
            record.work = self._loop.create_task(record.job.abort(), name=f"cosxfer-abort-{record.task_id}")
            record.work.add_done_callback(partial(self._aborted, record))

    def _aborted(self, record: AnyRecord, work: asyncio.Task[tuple[bool, str]]) -> None:
        failed = work.cancelled() or work.exception() is not None
        with self._lock:
            record.work = None
            record.cleaning = False
            if failed:
                record.aborted = False
            else:
                record.aborted, record.left = work.result()
            if not record.aborted:
                logger.warning("%s", record.canceled())
            self._settle(record)

    def _on_hash_progress(self, record: AnyRecord, progress: Progress) -> None:
        with self._lock:
            changed = progress.loaded != record.hash_loaded
            record.hash_loaded, record.total = progress.loaded, progress.total
            watch = record.watch
            if watch is not None and watch.on_hash_progress is not None:
                watch.hashed = self._report(watch.hashed, watch.on_hash_progress, progress)
            if changed:
                self._tell(record, "progress")

    def _on_progress(self, record: AnyRecord, progress: Progress) -> None:
        with self._lock:
            record.total, record.speed = progress.total, progress.speed
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


def _check_repeatable(record: AnyRecord) -> None:
    if record.job is not None and not record.job.repeatable:
        raise UsageError(
            f"task {record.task_id} sends a body that can be read only once; it cannot be paused or restarted",
            name="task_id",
            value=record.task_id,
        )
