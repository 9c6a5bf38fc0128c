"""The handles of a task: one for threads, one for asyncio. Both are thin views of the queue's record."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from cosxfer.arguments import check_timeout
from cosxfer.binding import explains_arguments
from cosxfer.engine.upload.upload_file import FileJob
from cosxfer.errors import CosxferError, TaskTimeoutError, UsageError
from cosxfer.models import TaskInfo
from cosxfer.states import TaskState
from cosxfer.tasks.later import made
from cosxfer.tasks.leftovers import CLEAN_UP_SECONDS
from cosxfer.tasks.queue import TaskQueue
from cosxfer.tasks.record import TaskRecord
from cosxfer.threads import result_of

R = TypeVar("R")

DELIVERY_SECONDS = 1.0
"""How long a result waits for its own callbacks to get the last report. It does not wait longer for a slow one."""


class TaskView(Generic[R]):
    """The state of a task. Nothing here waits."""

    def __init__(self, queue: TaskQueue, record: TaskRecord[R], owner: object = None) -> None:
        self._queue = queue
        self._record = record
        # Keeps the client alive, so that the task continues as long as this handle exists.
        self._owner = owner

    @property
    def task_id(self) -> str:
        """The ID for `pause_task`, `restart_task` and `cancel_task`."""
        return self._record.task_id

    @property
    def state(self) -> TaskState:
        """``waiting``, ``checking``, ``uploading``, ``paused``, ``success``, ``error`` or ``canceled``.

        A running download is ``uploading`` too, the name of the COS SDKs; messages call it downloading.
        """
        return self._record.state

    @property
    def loaded(self) -> int:
        """Bytes sent."""
        return self._record.loaded

    @property
    def total(self) -> int:
        """Total bytes; 0 if not yet known. `AsyncClient` reads the size of a file when its task begins."""
        return self._record.total

    @property
    def hash_loaded(self) -> int:
        """Bytes hashed."""
        return self._record.hash_loaded

    @property
    def info(self) -> TaskInfo:
        """All values in one record, as in `get_task_list`."""
        return self._record.info()

    def __repr__(self) -> str:
        record = self._record
        return f"<{type(self).__name__} {record.task_id} {record.address}, {record.shown_state}>"

    def _callbacks(self) -> Future[None] | None:
        return None if self._record.watch is None else self._queue.dispatcher.delivered()

    def _not_ended(self, seconds: float | None) -> TaskTimeoutError:
        record, info = self._record, self._record.info()
        return TaskTimeoutError(
            f"{record.what} (task {info.task_id}) has not ended in {seconds:g} s: it is {record.shown_state}, with "
            f"{info.loaded} of {info.total} bytes done. It goes on",
            unfinished={info.task_id: info.state},
        )

    def _export(self) -> str:
        """Return the token; on the event loop, which changes what it is made of."""
        job: object = made(self._record)
        if not isinstance(job, FileJob):
            raise UsageError("only the upload of a file in parts that has not ended can be exported", name="task")
        return job.export()

    def _give_up(self) -> Future[None] | None:
        """Cancel the task, because no caller is left that could pause or restart it."""
        job = self._record.job
        if job is not None and self._record.state != "error":
            self._queue.cancel(self._record, abort=job.abort_on_failure)
        return self._queue.stopped(self._record)

    def _add_left(self, interrupt: BaseException) -> None:
        """Add a note about the parts that the interrupted task leaves on the server."""
        record = self._record
        if record.state == "canceled" and not record.aborted and not isinstance(interrupt, CosxferError):
            interrupt.add_note(str(record.canceled()))


@explains_arguments
class UploadTask(TaskView[R]):
    """A running or waiting upload; returned by the ``submit_…`` calls of `cosxfer.Client`.

    It may be used from any thread, including callbacks.
    """

    def result(self, timeout: float | None = None) -> R:
        """Wait until the task has ended and return its result.

        Raises the error of a failed upload, `TaskCanceledError` for a cancelled one, and `TaskTimeoutError` (a
        ``TimeoutError``) after ``timeout`` seconds; the task then continues. For a paused task, the call waits until it
        is restarted or cancelled.
        """
        seconds = check_timeout(timeout)
        waiter = self._queue.when_ended(self._record)
        if waiter is not None:
            try:
                result_of(waiter, seconds)
            except TimeoutError:
                raise self._not_ended(seconds) from None
            finally:
                waiter.cancel()
        _wait_a_little(self._callbacks(), DELIVERY_SECONDS)
        return self._record.outcome()

    def pause(self) -> bool:
        """Cancel the task's requests and keep its parts on the server. Returns False if the task has ended.

        When this returns, nothing of the task is being sent or hashed.
        """
        paused = self._queue.pause(self._record)
        _wait(self._queue.stopped(self._record))
        return paused

    def restart(self) -> bool:
        """Resume a task that is paused or has failed. Returns False if it is cancelled or done.

        It takes its old place in the queue. Parts that the server has are not sent again. If the file has changed,
        the task fails with `SourceChangedError`.
        """
        return self._queue.restart(self._record)

    def cancel(self, *, abort: bool = True) -> bool:
        """Cancel the task, and delete its parts from the server unless ``abort`` is False. Returns False if it is done.

        A cancel while COS assembles the object may be too late. The complete object then exists.
        """
        cancelled = self._queue.cancel(self._record, abort=abort)
        _wait(self._queue.stopped(self._record))
        return cancelled

    def export(self) -> str:
        """Return a token with which another process, host or path goes on with the upload: see `Client.resume`.

        The task may be running, paused or failed. Its parts then stay on the server, unless `cancel` deletes them. The
        token is text without secrets; it names the object and the file, and has their metadata. Raises `UsageError`
        if there is no multipart upload on the server, or if it has the customer's key.
        """
        home = self._queue.home
        home.check_process()
        if home.gone or home.loop is asyncio._get_running_loop():
            return self._export()
        future: Future[str] = Future()

        def run() -> None:
            try:
                future.set_result(self._export())
            except BaseException as error:
                future.set_exception(error)

        return result_of(future) if home.post(run) else self._export()

    def _finish(self) -> R:
        """`result` for a call without a handle of the task: an interrupt cancels the task."""
        try:
            return self.result()
        except BaseException as error:
            _wait_a_little(self._give_up(), CLEAN_UP_SECONDS)
            self._add_left(error)
            raise


@explains_arguments
class AsyncUploadTask(TaskView[R]):
    """A running or waiting upload; returned by the ``submit_…`` calls of `cosxfer.AsyncClient`.

    ``await task`` is the same as ``await task.result()``. All else is as in `UploadTask`.
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
        """Cancel the task's requests and keep its parts on the server; see `UploadTask.pause`."""
        paused = self._queue.pause(self._record)
        await _wait_async(self._queue.stopped(self._record))
        return paused

    async def restart(self) -> bool:
        """Resume the task; see `UploadTask.restart`."""
        return self._queue.restart(self._record)

    async def cancel(self, *, abort: bool = True) -> bool:
        """Cancel the task; see `UploadTask.cancel`."""
        cancelled = self._queue.cancel(self._record, abort=abort)
        await _wait_async(self._queue.stopped(self._record))
        return cancelled

    async def export(self) -> str:
        """Return a token of the upload; see `UploadTask.export`."""
        return self._export()

    async def _finish(self) -> R:
        """`result` for a call without a handle of the task: cancelling the call cancels the task."""
        try:
            return await self.result()
        except asyncio.CancelledError as error:
            await _wait_async(self._give_up())
            self._add_left(error)
            raise


async def delivered(queue: TaskQueue, record: TaskRecord[Any]) -> None:
    """Wait up to `DELIVERY_SECONDS` until the task's own callbacks have had their last report."""
    await wait_for_callbacks(None if record.watch is None else queue.dispatcher.delivered())


async def wait_for_callbacks(left: Future[None] | None) -> None:
    """Wait up to `DELIVERY_SECONDS` for what `Dispatcher.delivered` returned."""
    if left is not None:
        await asyncio.wait([asyncio.wrap_future(left)], timeout=DELIVERY_SECONDS)


async def give_up_all(tasks: Sequence[AsyncUploadTask[Any]]) -> None:
    """Cancel tasks whose caller is gone, the last one first, and wait until they are cleaned up."""
    stopping = [waiter for task in reversed(tasks) if (waiter := task._give_up()) is not None]
    if stopping:
        await asyncio.wait([asyncio.wrap_future(waiter) for waiter in stopping], timeout=CLEAN_UP_SECONDS)


def _wait(future: Future[None] | None) -> None:
    if future is not None:
        result_of(future)


def _wait_a_little(future: Future[None] | None, seconds: float) -> None:
    if future is not None:
        try:
            result_of(future, seconds)
        except TimeoutError:
            future.cancel()


async def _wait_async(future: Future[None] | None) -> None:
    if future is not None:
        await asyncio.wrap_future(future)
