"""The state of a client's tasks, and the listeners of its changes. Nothing here runs or waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from cosxfer.engine.report import call
from cosxfer.models import Progress, TaskEvent, TaskInfo
from cosxfer.states import TaskChange, TaskState
from cosxfer.tasks.dispatcher import Delivery, Dispatcher
from cosxfer.tasks.record import Report
from cosxfer.tasks.states import ACTIVE, ENDED, may
from cosxfer.tasks.table import AnyRecord, TaskTable

Listener = Callable[[TaskEvent], None]


class TaskBoard:
    """Changes tasks, each change in one step under ``lock``, from any thread.

    The caller of a method holds the lock, except for `on_hash_progress` and `on_progress`, which take it.
    """

    def __init__(self, *, keep: int) -> None:
        self.lock = threading.Lock()
        self.table = TaskTable(keep=keep)
        self.dispatcher = Dispatcher(name="cosxfer-callbacks")
        self.listeners: tuple[Listener, ...] = ()
        self.closed = False
        """The client is closed, so no task is accepted or started."""
        self._sequence = 0

    def move(self, record: AnyRecord, state: TaskState) -> bool:
        """Change the state of a task. Returns False if its current state cannot become ``state``."""
        previous = record.state
        if not may(previous, state):
            return False
        record.state = state
        record.event = None
        if record.watch is not None:
            record.watch.sent = record.watch.hashed = None
        self.tell(record, "state", previous)
        return True

    def tell(self, record: AnyRecord, change: TaskChange, previous: TaskState | None = None) -> None:
        """Post an event to the listeners."""
        if not self.listeners:
            return
        announce = partial(self._announce, self.listeners)
        told = (change, record.info(), previous)
        if change == "progress":
            record.event = self.dispatcher.post_newer(record.event, announce, told)
        else:
            self.dispatcher.post(announce, told)

    def _announce(self, listeners: tuple[Listener, ...], told: tuple[TaskChange, TaskInfo, TaskState | None]) -> None:
        """Number the event and call the listeners.

        Runs in the dispatcher's thread, because only there it is known which progress events were replaced.
        """
        self._sequence += 1
        change, task, previous = told
        event = TaskEvent(sequence=self._sequence, change=change, task=task, previous=previous)
        for listener in listeners:
            call(listener, event)

    def set_loaded(self, record: AnyRecord, loaded: int) -> None:
        """Set the number of bytes that are done, and report the change."""
        change, record.loaded = loaded - record.loaded, loaded
        if change:
            if record.on_report is not None:
                record.on_report(change, 0)
            self.tell(record, "progress")

    def set_total(self, record: AnyRecord, total: int) -> None:
        """Set the total number of bytes, and report the change."""
        change, record.total = total - record.total, total
        if change and record.on_report is not None:
            record.on_report(0, change)

    def add_stored(self, record: AnyRecord) -> None:
        """After a run was stopped, count the bytes that the server has, if they are more than was reported."""
        if record.job is not None and record.job.loaded > record.loaded:
            self.set_loaded(record, record.job.loaded)

    def waiter(self, record: AnyRecord, for_outcome: bool) -> Future[None]:
        """Return a future that completes when there is an outcome (``for_outcome``), or when the work has stopped."""
        future: Future[None] = Future()
        # Drop the futures of callers that timed out, because a caller may wait for a result again and again.
        waiting = [waiter for waiter in record.waiters or () if not waiter[1].cancelled()]
        record.waiters = [*waiting, (for_outcome, future)]
        return future

    def release(self, record: AnyRecord) -> None:
        """The task's work has stopped: complete the futures that wait for this, or for an outcome if there is one."""
        waiters, record.waiters = record.waiters, None
        left = []
        for waiter in waiters or ():
            if waiter[0] and record.state not in ENDED:
                left.append(waiter)
            elif waiter[1].set_running_or_notify_cancel():
                waiter[1].set_result(None)
        record.waiters = left or None

    def on_hash_progress(self, record: AnyRecord, progress: Progress) -> None:
        """Take a job's report of its hashing."""
        with self.lock:
            if record.state not in ACTIVE:
                return
            progress = never_falling(progress, record.hash_loaded)
            changed = progress.loaded != record.hash_loaded
            record.hash_loaded = progress.loaded
            self.set_total(record, progress.total)
            watch = record.watch
            if watch is not None and watch.on_hash_progress is not None:
                watch.hashed = self._report(watch.hashed, watch.on_hash_progress, progress)
            if changed:
                self.tell(record, "progress")

    def on_progress(self, record: AnyRecord, progress: Progress) -> None:
        """Take a job's report of its sending."""
        with self.lock:
            if record.state not in ACTIVE:
                return  # the task has ended; its run is still stopping, and its progress is not reported
            progress = never_falling(progress, record.loaded)
            record.speed = progress.speed
            self.set_total(record, progress.total)
            if record.state == "checking":
                self.move(record, "uploading")
            watch = record.watch
            if watch is not None and watch.on_progress is not None:
                watch.sent = self._report(watch.sent, watch.on_progress, progress)
            self.set_loaded(record, progress.loaded)

    def _report(self, older: Delivery | None, callback: Report, progress: Progress) -> Delivery:
        # The first report of a run is always delivered. So is the last, because none replaces it.
        if older is None:
            return self.dispatcher.post(callback, progress)
        return self.dispatcher.post_newer(older, callback, progress)


def never_falling(progress: Progress, shown: int) -> Progress:
    """Return ``progress`` with at least the bytes that earlier runs have ``shown``, unless the file is shorter now."""
    if progress.loaded >= shown:
        return progress
    loaded = min(shown, progress.total)
    return replace(progress, loaded=loaded, percent=loaded / progress.total if progress.total else 1.0)
