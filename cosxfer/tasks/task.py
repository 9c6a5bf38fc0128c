"""A task in its user's hands: for programs with threads, and for asyncio. Both are thin views of the queue's record."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from cosxfer.arguments import check_timeout
from cosxfer.binding import explains_arguments
from cosxfer.errors import TaskTimeoutError
from cosxfer.models import TaskInfo
from cosxfer.states import TaskState
from cosxfer.tasks.leftovers import CLEAN_UP_SECONDS
from cosxfer.tasks.queue import TaskQueue
from cosxfer.tasks.record import TaskRecord

R = TypeVar("R")

DELIVERY_SECONDS = 1.0
"""How long a result waits for its own callbacks, so that the last report is out; a slow one is not waited for."""


class TaskView(Generic[R]):
    """What can be seen of a task; nothing here waits."""

    def __init__(self, queue: TaskQueue, record: TaskRecord[R], owner: object = None) -> None:
        self._queue = queue
        self._record = record
        # The task goes on as long as it can be asked for, even when its client is not held any more.
        self._owner = owner

    @property
    def task_id(self) -> str:
        """What `pause_task` and the like take."""
        return self._record.task_id

    @property
    def state(self) -> TaskState:
        """``waiting``, ``checking``, ``uploading``, ``paused``, ``success``, ``error`` or ``canceled``."""
        return self._record.state

    @property
    def loaded(self) -> int:
        """Bytes sent."""
        return self._record.loaded

    @property
    def total(self) -> int:
        """Bytes in all. 0 until they are known: a file that `AsyncClient` submits is measured when its task begins."""
        return self._record.total

    @property
    def hash_loaded(self) -> int:
        """Bytes hashed."""
        return self._record.hash_loaded

    @property
    def info(self) -> TaskInfo:
        """Everything at once, as in `get_task_list`."""
        return self._record.info()

    def __repr__(self) -> str:
        record = self._record
        return f"<{type(self).__name__} {record.task_id} {record.address}, {record.state}>"

    def _callbacks(self) -> Future[None] | None:
        return None if self._record.watch is None else self._queue.dispatcher.delivered()

    def _not_ended(self, seconds: float | None) -> TaskTimeoutError:
        info = self._record.info()
        return TaskTimeoutError(
            f"{self._record.what} (task {info.task_id}) has not ended in {seconds:g} s: it is {info.state}, with "
            f"{info.loaded} of {info.total} bytes done. It goes on",
            unfinished={info.task_id: info.state},
        )

    def _give_up(self) -> Future[None] | None:
        """Cancel what has not ended; nobody is there to pause or restart it."""
        job = self._record.job
        if job is not None and self._record.state != "error":
            self._queue.cancel(self._record, abort=job.abort_on_failure)
        return self._queue.stopped(self._record)


@explains_arguments
class UploadTask(TaskView[R]):
    """An upload under way, or waiting for its turn; made by the ``submit_…`` calls of `cosxfer.Client`.

    It may be used from any thread, callbacks included.
    """

    def result(self, timeout: float | None = None) -> R:
        """Wait until the task has ended and return its result.

        Raises the error of a failed upload, `TaskCanceledError` for a cancelled one, and `TaskTimeoutError` (a
        ``TimeoutError``) after ``timeout`` seconds, while the task goes on. While it is paused the wait goes on: until
        somebody restarts or cancels it.
        """
        seconds = check_timeout(timeout)
        waiter = self._queue.when_ended(self._record)
        if waiter is not None:
            try:
                waiter.result(seconds)
            except TimeoutError:
                raise self._not_ended(seconds) from None
            finally:
                waiter.cancel()
        _wait_a_little(self._callbacks(), DELIVERY_SECONDS)
        return self._record.outcome()

    def pause(self) -> bool:
        """Stop it: its requests are cancelled at once, and its parts stay on the server. False where it has ended.

        When this returns, nothing of it is sent or hashed any more.
        """
        paused = self._queue.pause(self._record)
        _wait(self._queue.stopped(self._record))
        return paused

    def restart(self) -> bool:
        """Let it go on, from `paused` or from `error`; False where it is cancelled or done.

        It takes its old place in the queue. The parts that the server has are not sent again; a file that has changed
        since ends in `SourceChangedError`.
        """
        return self._queue.restart(self._record)

    def cancel(self, *, abort: bool = True) -> bool:
        """End it for good, and delete its parts from the server unless ``abort`` is False. False where it was done.

        A cancel that comes while COS puts the object together may come too late: the object is there, whole.
        """
        cancelled = self._queue.cancel(self._record, abort=abort)
        _wait(self._queue.stopped(self._record))
        return cancelled

    def _finish(self) -> R:
        """`result`, for a call that has no other handle of the task: what interrupts it cancels the task."""
        try:
            return self.result()
        except BaseException:
            _wait_a_little(self._give_up(), CLEAN_UP_SECONDS)
            raise


@explains_arguments
class AsyncUploadTask(TaskView[R]):
    """An upload under way, or waiting for its turn; made by the ``submit_…`` calls of `cosxfer.AsyncClient`.

    ``await task`` is ``await task.result()``. The same as `UploadTask` otherwise.
    """

    async def result(self, timeout: float | None = None) -> R:
        """Wait until the task has ended and return its result; see `UploadTask.result`.

        Cancelling the wait does not cancel the task.
        """
        seconds = check_timeout(timeout)
        waiter = self._queue.when_ended(self._record)
        if waiter is not None:
            try:
                async with asyncio.timeout(seconds):
                    await asyncio.wrap_future(waiter)
            except TimeoutError:
                raise self._not_ended(seconds) from None
        await delivered(self._queue, self._record)
        return self._record.outcome()

    def __await__(self) -> Generator[Any, None, R]:
        return self.result().__await__()

    async def pause(self) -> bool:
        """Stop it, keeping its parts on the server; see `UploadTask.pause`."""
        paused = self._queue.pause(self._record)
        await _wait_async(self._queue.stopped(self._record))
        return paused

    async def restart(self) -> bool:
        """Let it go on; see `UploadTask.restart`."""
        return self._queue.restart(self._record)

    async def cancel(self, *, abort: bool = True) -> bool:
        """End it for good; see `UploadTask.cancel`."""
        cancelled = self._queue.cancel(self._record, abort=abort)
        await _wait_async(self._queue.stopped(self._record))
        return cancelled

    async def _finish(self) -> R:
        """`result`, for a call that has no other handle of the task: cancelling it cancels the task."""
        try:
            return await self.result()
        except asyncio.CancelledError:
            await _wait_async(self._give_up())
            raise


async def delivered(queue: TaskQueue, record: TaskRecord[Any]) -> None:
    """Wait a little until the task's own callbacks have had their last report."""
    callbacks = None if record.watch is None else queue.dispatcher.delivered()
    if callbacks is not None:
        await asyncio.wait([asyncio.wrap_future(callbacks)], timeout=DELIVERY_SECONDS)


def _wait(future: Future[None] | None) -> None:
    if future is not None:
        future.result()


def _wait_a_little(future: Future[None] | None, seconds: float) -> None:
    if future is not None:
        try:
            future.result(seconds)
        except TimeoutError:
            future.cancel()


async def _wait_async(future: Future[None] | None) -> None:
    if future is not None:
        await asyncio.wrap_future(future)
