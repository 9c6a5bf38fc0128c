"""What ended tasks have left on the server, and its deletion."""

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
"""How long those who end a client, or a call, wait until what is left on the server is deleted."""

ABORTS_AT_A_TIME = 16
"""Multipart uploads that are aborted side by side."""

_keepers: set[asyncio.Task[None]] = set()
"""An event loop holds its tasks weakly; these are to live as long as their loop."""


class Leftovers:
    """Deletes the parts of cancelled tasks, and of failed ones that nobody can restart.

    The lock of the board is held by the caller, except for `end_keeping` and `close`.
    """

    def __init__(self, board: TaskBoard, home: Home, *, on_deleted: Callable[[AnyRecord], None]) -> None:
        """``on_deleted`` is called under the lock when the parts of a task are gone, or could not be deleted."""
        self._board = board
        self._home = home
        self._on_deleted = on_deleted
        self.deleting: set[AnyRecord] = set()
        """Some of them have left the list."""
        self._aborts = asyncio.Semaphore(ABORTS_AT_A_TIME)
        self._keeper: asyncio.Task[None] | None = None
        """Cancelled at the end, once a failed task has kept parts on the server."""

    def let_go(self, record: AnyRecord) -> None:
        """A failed task that nobody can restart: delete its parts, unless they are to be kept."""
        job = record.job
        if record.state == "error" and record.quiet and job is not None and job.holds_parts:
            self.delete(record, job)

    def delete(self, record: AnyRecord, job: Job[Any]) -> bool:
        """Begin to delete what a task has on the server; returns whether that was begun."""
        record.upload_id = job.upload_id
        if not job.upload_id or not self._home.post(partial(self._start_abort, record)):
            return False
        record.cleaning = True
        self.deleting.add(record)
        return True

    def hold(self, record: AnyRecord) -> None:
        """A failed task keeps its parts: somebody must delete them if the loop comes to its end before the client."""
        job = record.job
        if job is None or not job.upload_id or not job.holds_parts or self._keeper is not None or self._board.closed:
            return
        assert self._home.loop is not None
        self._keeper = self._home.loop.create_task(self._keep_parts(), name="cosxfer-parts-of-failed-tasks")
        # On a loop that is just dropped it ends without a word; what is left is said by `end_keeping`.
        self._keeper._log_destroy_pending = False  # type: ignore[attr-defined]
        _keepers.add(self._keeper)
        self._keeper.add_done_callback(_keepers.discard)

    def end_keeping(self, then: Callable[[], None]) -> None:
        """Nobody holds the client any more: delete what its failed tasks have kept, and call ``then`` on the loop.

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
        """End what waits for the end of the loop."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])

    def _start_abort(self, record: AnyRecord) -> None:
        assert self._home.loop is not None
        with self._board.lock:
            assert record.job is not None
            record.work = self._home.loop.create_task(self._abort(record.job), name=f"cosxfer-abort-{record.task_id}")
            record.work.add_done_callback(partial(self._aborted, record))

    async def _abort(self, job: Job[Any]) -> tuple[bool, str]:
        # Thousands may come at once, when a client is closed; each has its own time limit.
        async with self._aborts:
            return await job.abort()

    def _aborted(self, record: AnyRecord, work: asyncio.Task[tuple[bool, str]]) -> None:
        failed = work.cancelled() or work.exception() is not None
        with self._board.lock:
            record.work = None
            record.cleaning = False
            self.deleting.discard(record)
            if failed:
                aborted, left = False, f"The multipart upload {record.upload_id} was kept on the server"
            else:
                aborted, left = work.result()
            if record.state == "canceled":
                record.aborted, record.left = aborted, left
                if not aborted:
                    logger.warning("%s", record.canceled())
            elif not aborted:
                logger.warning("%s, which failed: %s", record.what, left)
            self._on_deleted(record)

    async def _keep_parts(self) -> None:
        """Leave no parts of failed tasks behind if the loop comes to its end before the client is closed.

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
        with self._board.lock:
            self._board.closed = True
            for record in list(self._board.table):
                self.let_go(record)
            return [self._board.waiter(record, False) for record in self.deleting]
