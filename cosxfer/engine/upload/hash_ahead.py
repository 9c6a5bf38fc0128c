"""Hashing parts just before they are sent, in batches: one SIMD lane for each part, MD5 and CRC64 in one pass.

A batch runs in a thread, in rounds of some MiB without the GIL. The pages that were read are unmapped from the process
(they stay in the page cache), so that memory does not grow with the file. Small files that come at the same time are
hashed together (`hash_together.py`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import Executor

from cosxfer._native import hashing
from cosxfer.engine.multipart.source import HashedPart
from cosxfer.engine.upload.hash_together import HashTogether
from cosxfer.planning import PartRange
from cosxfer.sources import FileSource
from cosxfer.threads import in_thread, settled

ROUND_BYTES = 16 * 1024 * 1024
"""What is hashed between two looks at whether to stop, if the disk is slow."""

QUICK_BYTES_PER_SECOND = 512 * 1024 * 1024
"""Above this rate the file is in the page cache, or its disk is fast."""

QUICK_LANE_BYTES = 2 * 1024 * 1024
"""The same for each part if it is fast."""


class HashAhead:
    """Hashes batches of parts of one source.

    ``on_hashed(n)`` is called on the event loop after each ``n`` more bytes, and ``on_busy`` with the seconds that a
    thread has hashed for them. ``whole`` is updated with all bytes, for the MD5 of the whole file.
    """

    def __init__(
        self,
        source: FileSource,
        *,
        executor: Executor,
        on_hashed: Callable[[int], None],
        whole: hashing.Md5 | None = None,
        on_busy: Callable[[float], None] | None = None,
    ) -> None:
        self._source = source
        self._executor = executor
        self._on_hashed = on_hashed
        self._whole = whole
        self._on_busy = on_busy
        self._stop = threading.Event()
        self._quick = True
        """Whether the last round was fast, or may be so."""
        self.quick = False
        """Whether the last round was fast; False before the first one."""
        self.seconds = 0.0
        """Time spent hashing so far."""

    async def hash(self, batches: Iterable[list[PartRange]]) -> AsyncGenerator[HashedPart, None]:
        """Yield the parts of all batches in order. A batch begins when all parts of the previous one were taken."""
        loop = asyncio.get_running_loop()
        for batch in batches:
            began = time.monotonic()
            try:
                digests = await self._hash(batch, loop)
            finally:
                self.seconds += time.monotonic() - began
            for part, digest in zip(batch, digests, strict=True):
                yield HashedPart(range=part, md5=digest.md5, crc64=digest.crc64)

    async def _hash(self, batch: list[PartRange], loop: asyncio.AbstractEventLoop) -> list[hashing.PartDigest]:
        together = HashTogether.of(self._executor)
        if self._whole is not None or not together.can_share(self._source, batch):
            return await self._hash_alone(batch, loop)
        hashed = await together.hash(self._source, batch, self._executor)
        if hashed is None:
            with together.alone(self._executor):
                return await self._hash_alone(batch, loop)
        self.quick = True
        self._hashed(sum(part.length for part in batch), hashed.seconds)
        return hashed.digests

    async def _hash_alone(self, batch: list[PartRange], loop: asyncio.AbstractEventLoop) -> list[hashing.PartDigest]:
        work = in_thread(self._executor, self._hash_batch, batch, loop)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The thread reads the mapping, so it must end before the source is closed.
            self._stop.set()
            await settled(work)
            raise

    def _hash_batch(self, batch: list[PartRange], loop: asyncio.AbstractEventLoop) -> list[hashing.PartDigest]:
        source = self._source
        if not source.mapped:
            return [self._hash_by_reading(part, loop) for part in batch]
        hasher = hashing.PartHasher(
            [source.slice(part.offset, part.length) for part in batch], whole=self._whole, crc64=True, mapped=True
        )
        released = [part.offset for part in batch]
        before, looked_at = 0, time.monotonic()
        while not hasher.done and not self._stop.is_set():
            hashed = hasher.advance(len(batch) * QUICK_LANE_BYTES if self._quick else ROUND_BYTES)
            if not hasher.releases:
                for index, (part, position) in enumerate(zip(batch, hasher.positions(), strict=True)):
                    source.release(released[index], part.offset + position - released[index])
                    released[index] = part.offset + position
            now = time.monotonic()
            self._quick = self.quick = hashed - before > (now - looked_at) * QUICK_BYTES_PER_SECOND
            loop.call_soon_threadsafe(self._hashed, hashed - before, now - looked_at)
            before, looked_at = hashed, now
        source.check()
        return hasher.digests() if hasher.done else []

    def _hashed(self, count: int, seconds: float) -> None:
        if self._on_busy is not None:
            self._on_busy(seconds)
        self._on_hashed(count)

    def _hash_by_reading(self, part: PartRange, loop: asyncio.AbstractEventLoop) -> hashing.PartDigest:
        """Read a part block by block, because the file cannot be mapped."""
        md5, crc, done, looked_at = hashing.Md5(), 0, 0, time.monotonic()
        while done < part.length and not self._stop.is_set():
            block = self._source.slice(part.offset + done, min(ROUND_BYTES, part.length - done))
            md5.update(block)
            crc = hashing.crc64(block, crc)
            if self._whole is not None:
                self._whole.update(block)
            done += len(block)
            now = time.monotonic()
            loop.call_soon_threadsafe(self._hashed, len(block), now - looked_at)
            looked_at = now
        self._source.check()
        return hashing.PartDigest(md5.digest(), crc, done)
