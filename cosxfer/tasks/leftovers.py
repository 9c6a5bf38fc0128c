"""Deletes the parts that ended tasks have left on the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from cosxfer.tasks.board import TaskBoard
from cosxfer.tasks.dispatcher import logger
from cosxfer.tasks.home import Home
from cosxfer.tasks.record import Job
from cosxfer.tasks.table import AnyRecord

CLEAN_UP_SECONDS = 30.0
"""How long closing a client, or cancelling a call, waits for the deletion of parts on the server."""

ABORTS_AT_A_TIME = 16
"""Multipart uploads that are aborted at the same time."""

_keepers: set[asyncio.Task[None]] = set()
"""Keeps these tasks alive as long as their loop, because an event loop holds its tasks weakly."""


class Leftovers:
    """Deletes the parts of cancelled tasks, and of failed tasks that can no longer be restarted.

    The caller holds the lock of the board, except for `end_keeping` and `close`.
    """

    def __init__(self, board: TaskBoard, home: Home, *, on_deleted: Callable[[AnyRecord], None]) -> None:
        """``on_deleted`` is called under the lock after the parts of a task were deleted, or could not be deleted."""
        self._board = board
        self._home = home
        self._on_deleted = on_deleted
        self.deleting: set[AnyRecord] = set()
        """Tasks whose parts are being deleted. They may have left the list."""
        self._aborts = asyncio.Semaphore(ABORTS_AT_A_TIME)
        self._keeper: asyncio.Task[None] | None = None
        """Deletes kept parts when it is cancelled. It exists after a failed task has kept parts on the server."""

    def let_go(self, record: AnyRecord) -> None:
        """Delete the parts of a failed task that can no longer be restarted, unless they should be kept."""
        job = record.job
        if record.state == "error" and record.quiet and job is not None and job.holds_parts:
            self.delete(record, job)

    def delete(self, record: AnyRecord, job: Job[Any], *, abort: bool = True) -> bool:
        """Begin to delete a task's parts on the server. Returns whether there is anything to wait for.

        Without ``abort``, what it has open is closed, and kept for a later call.
        """
        record.upload_id = job.upload_id
        wanted = bool(job.upload_id) if abort else job.must_leave
        if not wanted or not self._home.post(partial(self._start_abort, record, abort)):
            return False
        record.cleaning = True
        self.deleting.add(record)
        return True

    def hold(self, record: AnyRecord) -> None:
        """A failed task keeps its parts. Start the asyncio task that deletes them if the loop ends first."""
        job = record.job
        if job is None or not job.upload_id or not job.holds_parts or self._keeper is not None or self._board.closed:
            return
        assert self._home.loop is not None
        self._keeper = self._home.loop.create_task(self._keep_parts(), name="cosxfer-parts-of-failed-tasks")
        # No warning if the loop is dropped with this task pending: `end_keeping` reports the parts that remain.
        self._keeper._log_destroy_pending = False  # type: ignore[attr-defined]
        _keepers.add(self._keeper)
        self._keeper.add_done_callback(_keepers.discard)

    def end_keeping(self, then: Callable[[], None]) -> None:
        """The client is no longer referenced. Delete the parts that its failed tasks have kept, then call ``then``.

        Takes no lock: the garbage collector may run in a thread that holds it. If the loop has already ended, the parts
        stay and a warning is logged.
        """
        keeper = self._keeper

        def end() -> None:
            assert keeper is not None
            keeper.add_done_callback(lambda _: then())
            keeper.cancel()

        if keeper is None or keeper.done():
            then()
        elif not self._home.post(end):
            _keepers.discard(keeper)
            for record in list(self._board.table):
                if record.job is not None and record.job.upload_id and record.job.holds_parts:
                    logger.warning(
                        "%s failed, and the client was not closed. Its multipart upload %s stays on the server until "
                        "multipart_abort is called with this upload id",
                        record.what,
                        record.job.upload_id,
                    )
            then()

    async def close(self) -> None:
        """Cancel the asyncio task that waits for the end of the loop."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])

    def _start_abort(self, record: AnyRecord, abort: bool) -> None:
        assert self._home.loop is not None
        with self._board.lock:
            assert record.job is not None
            work = self._abort(record.job) if abort else record.job.leave()
            record.work = self._home.loop.create_task(work, name=f"cosxfer-abort-{record.task_id}")
            record.work.add_done_callback(partial(self._aborted, record))

    async def _abort(self, job: Job[Any]) -> tuple[bool, str]:
        # Closing a client may abort thousands of uploads. Each has its own time limit.
        async with self._aborts:
            return await job.abort()

    def _aborted(self, record: AnyRecord, work: asyncio.Task[tuple[bool, str]]) -> None:
        failed = work.cancelled() or work.exception() is not None
        with self._board.lock:
            record.work = None
            record.cleaning = False
            self.deleting.discard(record)
            if failed:
                aborted, left = False, record.kept
            else:
                aborted, left = work.result()
            if record.state == "canceled":
                record.aborted, record.left = aborted, left
                if not aborted and record.asked_to_abort:
                    logger.warning("%s", record.canceled())
            elif not aborted:
                logger.warning("%s, which failed: %s", record.what, left)
            self._on_deleted(record)

    async def _keep_parts(self) -> None:
        """Delete the parts of failed tasks if the loop ends before the client is closed.

        `asyncio.run` and similar runners cancel the remaining tasks of their loop and wait for them.
        """
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            stopping = [] if self._keeper is None else self._let_all_go()
            if stopping:
                await asyncio.wait([asyncio.wrap_future(future) for future in stopping], timeout=CLEAN_UP_SECONDS)

    def _let_all_go(self) -> list[Future[None]]:
        """Refuse new tasks, and delete the parts that failed tasks have kept on the server."""
        with self._board.lock:
            self._board.closed = True
            for record in list(self._board.table):
                self.let_go(record)
            return [self._board.waiter(record, False) for record in self.deleting]
