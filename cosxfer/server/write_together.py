"""The bodies of several requests are hashed and written in one job of a thread.

One MD5 stream fills one SIMD lane, and sixteen lanes take hardly longer than one. So while a thread works, the batches
of other requests wait, and go together when it has ended.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial

from cosxfer._native import hashing
from cosxfer.errors import CosxferError
from cosxfer.records import dataclass
from cosxfer.server.store.files import BlobWriter, write_batches
from cosxfer.threads import in_thread

GROUP_BATCHES = 16
"""What one job takes at most: with batches of 1 MiB, some hundredths of a second."""


@dataclass(kw_only=True, slots=True)
class _Waiting:
    writer: BlobWriter
    chunks: Sequence[bytes]
    written: asyncio.Future[None]


class WriteTogether:
    """The batches for the threads of one executor. All methods run on the event loop."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._running = 0
        self._waiting: list[_Waiting] = []

    def begin(self, writer: BlobWriter, chunks: Sequence[bytes]) -> asyncio.Future[None]:
        """Hash and append ``chunks`` in a thread. A writer may have one batch at a time.

        The future raises OSError if the disk fails, and `CosxferError` if there is no thread. The writer must stay
        open until it is done.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(writer=writer, chunks=chunks, written=written))
        self._start()
        return written

    def _start(self) -> None:
        """Start a job, if there is none, or if what waits fills the lanes of another thread."""
        lanes, threads = hashing.lanes(), os.cpu_count() or 1
        while self._waiting and (not self._running or (len(self._waiting) >= lanes and self._running < threads)):
            group = self._waiting[:GROUP_BATCHES]
            del self._waiting[:GROUP_BATCHES]
            try:
                work = in_thread(self._executor, write_batches, [(batch.writer, batch.chunks) for batch in group])
            except CosxferError as error:
                _fail(group, error)
                continue
            self._running += 1
            work.add_done_callback(partial(self._ended, group))

    def _ended(self, group: list[_Waiting], work: asyncio.Future[list[OSError | None]]) -> None:
        self._running -= 1
        if work.cancelled():
            for batch in group:
                batch.written.cancel()
        elif (failure := work.exception()) is not None:
            _fail(group, failure)
        else:
            for batch, error in zip(group, work.result(), strict=True):
                if error is None:
                    batch.written.set_result(None)
                else:
                    batch.written.set_exception(error)
        self._start()


def _fail(group: list[_Waiting], error: BaseException) -> None:
    for batch in group:
        batch.written.set_exception(error)
