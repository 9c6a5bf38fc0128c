"""Many files in one call: their tasks, their common progress, and the outcome of each file."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeVar

from cosxfer.arguments import check_timeout
from cosxfer.binding import explains_arguments
from cosxfer.engine.upload.options import FileUpload
from cosxfer.errors import SourceError, TaskTimeoutError, UsageError
from cosxfer.events import ProgressMeter
from cosxfer.models import Progress, UploadResult
from cosxfer.ops.session import Session
from cosxfer.records import dataclass
from cosxfer.tasks.dispatcher import Dispatcher
from cosxfer.tasks.file_result import FileResult, SentFiles, sent_before, sent_shortly
from cosxfer.tasks.leftovers import CLEAN_UP_SECONDS
from cosxfer.tasks.record import Report, TaskRecord
from cosxfer.tasks.states import ENDED
from cosxfer.tasks.task import DELIVERY_SECONDS, AsyncUploadTask, UploadTask, give_up_all, wait_for_callbacks
from cosxfer.threads import result_of

PASSED_AT_ONCE = 5_000
"""Files that are done, and counted before an event loop has another turn."""

Record = TaskRecord[UploadResult]
Handle = TypeVar("Handle", UploadTask[UploadResult], AsyncUploadTask[UploadResult])
OnFileFinish = Callable[[Exception | None, UploadResult | None, FileUpload], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenBatch:
    """A batch that the journal keeps until all its files are done."""

    number: int = 0
    """0 for a batch that it does not keep."""
    files: SentFiles | None = None
    """What an interrupted run has sent. There may be many, so their results are made when somebody asks."""
    end: Callable[[], None] | None = None
    """Called when all files are done, except those that cannot be read."""

    @property
    def done(self) -> Mapping[int, int]:
        """The sizes of ``files``, by their index, in ascending order."""
        return {} if self.files is None else self.files.sizes


class RefusedJob:
    """The job of a file that cannot be uploaded. Its task is in the queue like the others and fails with the reason."""

    __slots__ = ("error",)

    abort_on_failure = False
    holds_parts = False
    must_leave = False
    kept = ""
    loaded = 0
    repeatable = True
    upload_id = ""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def demand(self, total: int) -> int:
        """Nothing is sent."""
        return 1

    async def run(self, *, on_hash_progress: Report | None, on_progress: Report | None) -> UploadResult:
        """Raise the reason."""
        raise self.error

    async def leave(self) -> tuple[bool, str]:
        """Nothing is open."""
        return True, ""

    async def abort(self) -> tuple[bool, str]:
        """Nothing is on the server, so there is nothing to delete."""
        return True, "nothing was left on the server"


class BatchRecord:
    """The files of one call. Its methods are called under the queue's lock, or before other threads can use it."""

    def __init__(
        self,
        files: list[FileUpload],
        dispatcher: Dispatcher,
        *,
        slice_size: int,
        sizes: list[int],
        problems: Mapping[int, Exception],
        on_progress: Callable[[Progress], None] | None,
        on_file_finish: OnFileFinish | None,
        session: Session,
        unfinished: OpenBatch | None = None,
    ) -> None:
        """``session`` sends the files: they are one transfer. ``unfinished`` is what the journal has of a directory."""
        self.session = session
        self.unfinished = unfinished or OpenBatch()
        self.records: list[Record] = []
        """The tasks, in the order of the files."""
        self.submitted = 0
        """How many of the files, from the first on, have a task or need none."""
        self.loaded = 0
        self.files = files
        self.sizes = sizes
        self.slice_size = slice_size
        self.problems = problems
        """Files that are known to fail, by their index."""
        self.ended: Future[None] = Future()
        self.ended.set_running_or_notify_cancel()  # a caller that waits for it cannot cancel it
        self._dispatcher = dispatcher
        self._outcomes: list[FileResult | None] = [None] * len(files)
        self._left = len(files)
        self._tasks_from: tuple[int, int] | None = None
        """The argument of `end_of_done`, and the index of the first file that is done and has a task."""
        self._report = None if on_progress is None else dispatcher.reports(on_progress)
        self._on_file_finish = on_file_finish
        self._meter = ProgressMeter(sum(sizes))

    @property
    def on_report(self) -> Callable[[int, int], None] | None:
        """The function to which the tasks report changes of their progress; None without a callback."""
        return None if self._report is None else self.add

    @property
    def watched(self) -> bool:
        """Whether callbacks may be waiting for delivery."""
        return self._report is not None or self._on_file_finish is not None

    def begin(self) -> None:
        """Send the first report, before the tasks are put into the queue."""
        self.add(0, 0)
        if not self.files:
            self._finish()

    def add(self, loaded: int, total: int) -> None:
        """Add the changes of one task's ``loaded`` and ``total``."""
        self.loaded += loaded
        self._meter.total = (self._meter.total or 0) + total
        self._tell(self._meter.update(self.loaded, time.monotonic()))

    def task_ended(self, record: Record) -> None:
        """Take the outcome of a task. A failed one may be restarted, and have another outcome, while the others run."""
        index = record.index
        outcome = outcome_of(record, self.files[index])
        first = self._outcomes[index] is None
        self._outcomes[index] = outcome
        if self._on_file_finish is not None:
            tell_outcome(self._dispatcher, self._on_file_finish, outcome)
        if first:
            self._left -= 1
            if not self._left:
                self._finish()

    def end_of_done(self, first: int, *, keep: int) -> int:
        """Return the end of the files from ``first`` on that are done and need no task.

        The last ``keep`` of all files that are done have tasks, because the list of tasks keeps so many.
        """
        done = self.unfinished.done
        if self._tasks_from is None or keep != self._tasks_from[0]:
            listed = list(done)[-keep:] if keep else []
            self._tasks_from = keep, listed[0] if listed else len(self.files)
        last = min(first + PASSED_AT_ONCE, self._tasks_from[1])
        while first < last and first in done:
            first += 1
        return first

    def pass_over(self, first: int, last: int) -> None:
        """Count files that are done and have no task: from ``first`` up to ``last``."""
        if self._on_file_finish is not None:
            outcomes = self._outcomes[first:last] = [self._done(index) for index in range(first, last)]
            self._dispatcher.post_each(partial(_finished, self._on_file_finish), outcomes)
        self.submitted = last
        self.add(sum(self.sizes[first:last]), 0)
        self._left -= last - first
        if not self._left:
            self._finish()

    def _done(self, index: int) -> FileResult:
        """Return the outcome of a file that is done."""
        assert self.unfinished.files is not None
        return sent_before(self.unfinished.files, index)

    def outcomes(self) -> list[FileResult]:
        """Return the outcome of each file that has ended, in the order of the files."""
        for index in self.unfinished.done:
            if self._outcomes[index] is None and index < self.submitted:
                self._outcomes[index] = self._done(index)
        return [outcome for outcome in self._outcomes if outcome is not None]

    def _finish(self) -> None:
        errors = [outcome.error for outcome in self._outcomes if outcome is not None and outcome.error is not None]
        self._tell(self._meter.finish(time.monotonic(), loaded=self.loaded if errors else None))
        # A file that cannot be read or sent at all, such as a broken link, would keep the batch open for ever.
        sent = all(
            outcome is None
            or outcome.error is None
            or isinstance(outcome.error, SourceError | UsageError)
            or index in self.problems
            for index, outcome in enumerate(self._outcomes)
        )
        if sent and self.unfinished.end is not None:
            self.unfinished.end()
        self.ended.set_result(None)

    def _tell(self, progress: Progress | None) -> None:
        if self._report is not None and progress is not None:
            self._report(progress)


def outcome_of(record: Record, options: FileUpload) -> FileResult:
    """Return the outcome of a task that has ended."""
    error = record.error if record.state == "error" else None
    if record.state == "canceled":
        error = record.canceled()
    result: Any = record.result if error is None else None
    if type(result) is tuple:
        return sent_shortly(result, options)
    return FileResult(error=error, result=result, options=options)


def tell_outcome(dispatcher: Dispatcher, callback: OnFileFinish, outcome: FileResult) -> None:
    """Call ``on_file_finish`` in the callbacks' thread."""
    dispatcher.post(partial(_finished, callback), outcome)


def _finished(callback: OnFileFinish, outcome: FileResult) -> None:
    callback(outcome.error, outcome.result, outcome.options)


class BatchView(Generic[Handle]):
    """Tasks and progress of many files. Nothing here waits."""

    def __init__(self, batch: BatchRecord, handle: Callable[[Record], Handle]) -> None:
        """``handle`` returns that of a task."""
        self._batch = batch
        self._handle: Callable[[Record], Handle] = handle
        self._tasks: tuple[Handle, ...] | None = None

    @property
    def tasks(self) -> tuple[Handle, ...]:
        """One task for each file, in the order of the files."""
        if self._tasks is None:  # most callers want the results alone
            self._tasks = tuple(map(self._handle, self._batch.records))
        return self._tasks

    @property
    def loaded(self) -> int:
        """Bytes sent of all files."""
        return sum(task.loaded for task in self.tasks)

    @property
    def total(self) -> int:
        """Total bytes of all files."""
        return sum(task.total for task in self.tasks)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._batch.records)} files>"

    def _not_ended(self, seconds: float | None) -> TaskTimeoutError:
        states = {task.task_id: task.state for task in self.tasks}
        unfinished = {task_id: state for task_id, state in states.items() if state not in ENDED}
        counts = Counter(task._record.shown_state for task in self.tasks if task.task_id in unfinished)
        told = ", ".join(f"{count} {state}" for state, count in counts.items())
        return TaskTimeoutError(
            f"{len(unfinished)} of {len(states)} files have not ended in {seconds:g} s: {told}. They go on",
            unfinished=unfinished,
        )

    def _callbacks(self) -> Future[None] | None:
        return self._batch._dispatcher.delivered() if self._batch.watched else None


@explains_arguments
class UploadBatch(BatchView[UploadTask[UploadResult]]):
    """The uploads of many files; returned by `Client.submit_upload_files`."""

    def result(self, timeout: float | None = None) -> list[FileResult]:
        """Wait until every file has ended; raises `TaskTimeoutError` after ``timeout`` seconds, and no file's error."""
        seconds = check_timeout(timeout)
        try:
            result_of(self._batch.ended, seconds)
        except TimeoutError:
            raise self._not_ended(seconds) from None
        callbacks = self._callbacks()
        if callbacks is not None:
            try:
                result_of(callbacks, DELIVERY_SECONDS)
            except TimeoutError:
                callbacks.cancel()
        return self._batch.outcomes()

    def cancel(self, *, abort: bool = True) -> None:
        """Cancel all files that have not ended."""
        for task in reversed(self.tasks):
            task.cancel(abort=abort)

    def _finish(self) -> list[FileResult]:
        """`result` for a call without a handle: an interrupt cancels the files."""
        try:
            return self.result()
        except BaseException as error:
            stopping = [waiter for task in reversed(self.tasks) if (waiter := task._give_up()) is not None]
            deadline = time.monotonic() + CLEAN_UP_SECONDS
            for waiter in stopping:
                try:
                    result_of(waiter, max(0.0, deadline - time.monotonic()))
                except TimeoutError:
                    break
            for task in self.tasks:
                task._add_left(error)
            raise


@explains_arguments
class AsyncUploadBatch(BatchView[AsyncUploadTask[UploadResult]]):
    """The uploads of many files; returned by `AsyncClient.submit_upload_files`."""

    async def result(self, timeout: float | None = None) -> list[FileResult]:
        """Wait until every file has ended; raises `TaskTimeoutError` after ``timeout`` seconds, and no file's error."""
        seconds = check_timeout(timeout)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(asyncio.wrap_future(self._batch.ended))
        except TimeoutError:
            raise self._not_ended(seconds) from None
        await wait_for_callbacks(self._callbacks())
        return self._batch.outcomes()

    async def cancel(self, *, abort: bool = True) -> None:
        """Cancel all files that have not ended."""
        for task in reversed(self.tasks):
            await task.cancel(abort=abort)

    async def _finish(self) -> list[FileResult]:
        """`result` for a call without a handle: cancelling the call cancels the files."""
        try:
            return await self.result()
        except asyncio.CancelledError as error:
            await self._cut_off(error)
            raise

    async def _cut_off(self, error: asyncio.CancelledError) -> None:
        """The call was cancelled: cancel the files, and say in ``error`` what they have left."""
        await self._give_up()
        for task in self.tasks:
            task._add_left(error)

    async def _give_up(self) -> None:
        await give_up_all(self.tasks)
