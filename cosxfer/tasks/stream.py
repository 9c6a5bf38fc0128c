"""Uploads the files of a directory while it is walked. Memory does not grow with their number.

A thread walks the tree in blocks, and looks up in the journal which of their files an interrupted run has sent. The
others become tasks. At most `MAX_FILES` files have been found and not given to the caller, so a slow caller slows the
walk down.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Protocol, cast

from cosxfer.engine.upload.options import FileUpload
from cosxfer.errors import CosxferError, SourceError, UsageError
from cosxfer.events import ProgressMeter
from cosxfer.models import Progress, UploadResult
from cosxfer.records import dataclass
from cosxfer.tasks.batch import outcome_of
from cosxfer.tasks.directory import Found
from cosxfer.tasks.dispatcher import Dispatcher
from cosxfer.tasks.file_result import FileResult, Outcomes, SentBefore
from cosxfer.tasks.record import TaskRecord
from cosxfer.tasks.task import AsyncUploadTask, give_up_all, wait_for_callbacks
from cosxfer.tasks.unfinished import DirectoryBatch, Done
from cosxfer.threads import finished, in_thread

BLOCK_FILES = 256
MAX_FILES = 1024
SUBMITTED_AT_ONCE = 64
"""Files that are put into the queue before the event loop has another turn."""
GROUP_SECONDS = 0.01
"""How long outcomes wait for others, so that a caller in another thread is not woken for each file."""

Record = TaskRecord[UploadResult]


class Submit(Protocol):
    """Puts a file into the queue. ``on_end`` is called with its task at each outcome, from any thread."""

    def __call__(
        self,
        file: FileUpload,
        *,
        size: int,
        problem: Exception | None,
        batch: int,
        on_report: Callable[[int, int], None],
        on_end: Callable[[Record], None],
    ) -> Record: ...


@dataclass(kw_only=True, slots=True)
class _Block:
    """Files of the tree."""

    found: list[Found]
    sent: Done | None
    """Those that were sent before."""
    last: bool


class DirectoryStream:
    """The upload of one directory. ``blocks`` is used once, on the event loop."""

    def __init__(
        self,
        walk: Generator[Found, None, None],
        *,
        common: Mapping[str, object],
        start: str,
        begin: Callable[[], DirectoryBatch | None],
        submit: Submit,
        handle: Callable[[Record], AsyncUploadTask[UploadResult]],
        dispatcher: Dispatcher,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        """``common``: what the mappings of all files have; ``start``: the beginning of all keys.

        ``begin`` returns what the journal has of the directory; it may block. ``handle`` returns that of a task.
        """
        self._walk = walk
        self._common = common
        self._start = start
        self._begin = begin
        self._submit = submit
        self._handle = handle
        self._dispatcher = dispatcher
        self._report = None if on_progress is None else dispatcher.reports(on_progress)
        self._batch: DirectoryBatch | None = None
        self._begun = False
        self._running: dict[int, Record | None] = {}
        """The tasks without an outcome, by the numbers of their files; None in the moment before there is a task."""
        self._ended: list[FileResult] = []
        """What the caller gets next."""
        self._skipped: SentBefore | None = None
        """What the caller gets before that."""
        self._all_sent = True
        self._sent_before = 0
        self._meter = ProgressMeter(None)
        self._loaded = 0
        self._found = 0
        self._stopped: list[AsyncUploadTask[UploadResult]] = []
        """The tasks that were cancelled, because the caller was interrupted."""
        self._changed: asyncio.Event
        self._loop: asyncio.AbstractEventLoop

    async def blocks(self) -> AsyncGenerator[Outcomes, None]:
        """Upload, and yield outcomes in the order in which the files end. Ending it early cancels what runs."""
        self._changed, self._loop = asyncio.Event(), asyncio.get_running_loop()
        looking: asyncio.Future[_Block] | None = self._look()
        try:
            self._tell(self._meter.update(0, time.monotonic()))
            number = 0
            while looking is not None or self._running or self._ended or self._skipped is not None:
                self._changed.clear()
                if self._skipped is not None:
                    skipped, self._skipped = self._skipped, None
                    yield skipped
                elif looking is not None and looking.done() and len(self._running) <= MAX_FILES - BLOCK_FILES:
                    block = looking.result()
                    looking = None if block.last else self._look()
                    await self._put(block, number)
                    number += len(block.found)
                elif self._ended:
                    ended = self._ended.copy()
                    del self._ended[: len(ended)]  # another thread, which cancels a task, may add to it meanwhile
                    yield ended
                else:
                    await self._changed.wait()
                    if self._running and len(self._ended) < BLOCK_FILES:
                        await asyncio.sleep(GROUP_SECONDS)
            self._meter.total = self._found
            self._tell(self._meter.finish(time.monotonic(), loaded=None if self._all_sent else self._loaded))
            if self._batch is not None:
                self._batch.report(self._sent_before, number)
                if self._all_sent:
                    self._batch.end()
            await wait_for_callbacks(None if self._report is None else self._dispatcher.delivered())
        finally:
            await self._stop(looking)

    def add_left(self, interrupt: BaseException) -> None:
        """Add notes about the parts that the interrupted files leave on the server."""
        for task in self._stopped:
            task._add_left(interrupt)

    # -- in a thread --------------------------------------------------------------------------------------------------

    def _next_block(self) -> _Block:
        if not self._begun:
            self._begun = True
            self._batch = self._begin()
        found = list(islice(self._walk, BLOCK_FILES))
        sent = None
        if self._batch is not None and self._batch.goes_on and found:
            start = self._start
            sent = self._batch.of_some(
                [start + entry.relative for entry in found], found, lambda index: self._file(found[index])
            )
        return _Block(found=found, sent=sent, last=len(found) < BLOCK_FILES)

    def _file(self, entry: Found) -> FileUpload:
        return cast(FileUpload, {**self._common, "key": self._start + entry.relative, "path": entry.path})

    # -- on the event loop --------------------------------------------------------------------------------------------

    def _look(self) -> asyncio.Future[_Block]:
        """Walk on in a thread."""
        looking = in_thread(None, self._next_block)
        looking.add_done_callback(lambda _: self._changed.set())
        return looking

    async def _put(self, block: _Block, number: int) -> None:
        """Put the files of a block into the queue. ``number`` is that of the first one."""
        sent = {} if block.sent is None else block.sent.sizes
        if block.sent is not None and sent:
            self._skipped = SentBefore(block.sent)
            self._found += self._skipped.size
            self._loaded += self._skipped.size
            self._sent_before += len(sent)
        for index in [index for index in range(len(block.found)) if index not in sent]:
            entry = block.found[index]
            if entry.identity is not None:
                self._found += entry.identity.size
            at, file = number + index, self._file(entry)
            self._running[at] = None
            try:
                record = self._submit(
                    file,
                    size=0 if entry.identity is None else entry.identity.size,
                    problem=entry.error,
                    batch=0 if self._batch is None else self._batch.number,
                    on_report=self._add,
                    on_end=partial(self._task_ended, at, file),
                )
            except BaseException:
                del self._running[at]
                raise
            if at in self._running:
                self._running[at] = record
            if index % SUBMITTED_AT_ONCE == SUBMITTED_AT_ONCE - 1:
                await asyncio.sleep(0)
        self._add(0, 0)

    def _task_ended(self, number: int, file: FileUpload, record: Record) -> None:
        """Take the outcome of a task; the first one, if it is restarted. Called from any thread."""
        if number not in self._running:
            return
        del self._running[number]
        outcome = outcome_of(record, file)
        # A file that cannot be read or sent at all, such as a broken link, would keep the batch open for ever.
        if outcome.error is not None and not isinstance(outcome.error, SourceError | UsageError):
            self._all_sent = False
        self._ended.append(outcome)
        if asyncio._get_running_loop() is self._loop:
            self._changed.set()
        else:
            self._loop.call_soon_threadsafe(self._changed.set)

    def _add(self, loaded: int, total: int) -> None:
        """Add the changes of one task's ``loaded`` and ``total``."""
        self._loaded += loaded
        self._found += total
        if self._report is not None:
            self._tell(self._meter.update(self._loaded, time.monotonic()))

    def _tell(self, progress: Progress | None) -> None:
        if self._report is not None and progress is not None:
            self._report(progress)

    async def _stop(self, looking: asyncio.Future[_Block] | None) -> None:
        """Cancel what runs, and wait until it is cleaned up."""
        self._stopped = [self._handle(record) for record in self._running.values() if record is not None]
        self._running = {}
        await give_up_all(self._stopped)
        if looking is not None:
            with suppress(Exception):
                await finished(looking)  # it uses the walk
            with suppress(CosxferError):  # no thread is available
                await finished(in_thread(None, self._walk.close))
