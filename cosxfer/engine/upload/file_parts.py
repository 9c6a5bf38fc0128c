"""The parts of a file, hashed just before they are sent. They are sent from its mapping, or read if there is none."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Container, Iterable
from concurrent.futures import Executor
from contextlib import aclosing

from cosxfer._native import hashing
from cosxfer.engine.multipart.source import HashedPart, ReadyPart
from cosxfer.engine.report import Reporter
from cosxfer.engine.upload.hash_ahead import HashAhead
from cosxfer.engine.upload.opening import Opener
from cosxfer.engine.upload.part_body import STEP_BYTES, PartBody
from cosxfer.engine.upload.unchanged import compare
from cosxfer.models import Progress
from cosxfer.planning import Plan, hash_batches, leaves_page_cache
from cosxfer.sources import FileSource
from cosxfer.threads import in_thread

FIRST_BATCH_PARTS = 2
"""Of a file that has to be read from a disk: more would take longer to read, and delay the first sending. From the page
cache, all lanes together take hardly longer than two."""

MAPPED_BYTES = 512 * 1024
"""What a part of a mapped file holds in memory while it is sent, measured with 256 of them on a slow link."""


class FileParts:
    """The part source of one open file. ``on_hash_progress`` gets the progress of the hashing."""

    def __init__(
        self,
        file: FileSource,
        plan: Plan,
        *,
        executor: Executor,
        opener: Opener,
        on_hash_progress: Callable[[Progress], None] | None,
        on_busy: Callable[[float], None] | None = None,
    ) -> None:
        """``on_busy`` gets the seconds that a thread has hashed since the last call."""
        self.plan = plan
        self.name = file.path
        self.size = plan.size
        self.hash_seconds = 0.0
        """Time spent hashing so far."""
        self._file = file
        self._executor = executor
        self._opener = opener
        self._reporter = Reporter(on_hash_progress, plan.size)
        self._on_busy = on_busy
        self._hashed: list[HashedPart] = []
        """Filled by `hash_whole`."""
        memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self._drop_behind = leaves_page_cache(plan.size, memory_bytes=memory_bytes)

    async def hash_whole(self, *, window: int) -> str:
        """Hash all parts before any is sent, and return the MD5 of the whole file in hexadecimal."""
        whole = hashing.Md5()
        self._hashed = [part async for part in self._hash((), window, whole)]
        return whole.hexdigest()

    async def parts(self, *, done: Container[int], window: Callable[[], int]) -> AsyncGenerator[ReadyPart, None]:
        """See `PartSource`."""
        if self._hashed:
            for part in self._hashed:
                if part.range.number not in done:
                    yield self._ready(part)
            return
        async with aclosing(self._hash(done, window(), None)) as parts:
            async for part in parts:
                yield self._ready(part)

    async def check(self, parts: Iterable[HashedPart]) -> None:
        """See `PartSource`."""
        if not await self._opener.check(self._file) and (hashed := list(parts)):
            await compare(self._file, self._executor, hashed)

    def stored(self, part: ReadyPart) -> None:
        """See `PartSource`."""
        if self._drop_behind:
            self._file.drop_cache(part.hashed.range.offset, part.hashed.range.length)

    def _ready(self, part: HashedPart) -> ReadyPart:
        most = MAPPED_BYTES if self._file.mapped else STEP_BYTES
        body = PartBody(self._file, part, self._executor)
        return ReadyPart(hashed=part, body=body, held=min(part.range.length, most))

    def _begins_in_cache(self, lanes: int) -> bool:
        """Whether the first ``lanes`` parts seem to be in the page cache: looks at two bytes of each."""
        parts = [self.plan.part(number) for number in range(1, min(lanes, self.plan.count) + 1)]
        return self._file.is_cached(part.offset + half for part in parts for half in (0, part.length // 2))

    async def _hash(
        self, done: Container[int], window: int, whole: hashing.Md5 | None
    ) -> AsyncGenerator[HashedPart, None]:
        self._reporter.start(
            sum(self.plan.length(number) for number in range(1, self.plan.count + 1) if number in done)
        )
        ahead = HashAhead(
            self._file, executor=self._executor, on_hashed=self._reporter.add, whole=whole, on_busy=self._on_busy
        )
        lanes = hashing.lanes()
        first = min(window, FIRST_BATCH_PARTS)
        if self.plan.count > first and await in_thread(self._executor, self._begins_in_cache, lanes):
            first = lanes
        batches = hash_batches(
            self.plan,
            lanes=lanes,
            concurrency=first,
            quick=lambda: ahead.quick,
            done=done,
        )
        try:
            async with aclosing(ahead.hash(batches)) as parts:
                async for part in parts:
                    yield part
        finally:
            self.hash_seconds = ahead.seconds
        self._reporter.finish()
