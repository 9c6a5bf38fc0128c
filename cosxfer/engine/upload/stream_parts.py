"""The parts of a stream: read once from front to end, in bounded memory, without a temporary file.

A part is whole in memory before it is sent, so that it has a Content-MD5 and can be sent again. Parts that come fast
are hashed side by side in SIMD lanes; a part that comes slowly does not wait for the next one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Container, Iterable, Iterator

from cosxfer._native import hashing
from cosxfer.cos.requests import Buffer
from cosxfer.engine.multipart.source import HashedPart, ReadyPart
from cosxfer.engine.upload.file_body import ReadableFile, identity_of, name_of
from cosxfer.engine.upload.stream_body import BufferIterator, next_piece, next_piece_async
from cosxfer.errors import SourceChangedError, UsageError
from cosxfer.limits import MAX_PART_NUMBER
from cosxfer.planning import PartRange, Plan, StreamPlan
from cosxfer.sources import SourceIdentity
from cosxfer.threads import Workers, in_thread

SLOW_SECONDS = 0.1
"""A part that took longer to come is hashed and sent at once, without waiting for others."""


class StreamParts:
    """The part source of one stream.

    Parts that are read, hashed or sent hold ``most_bytes``, or two parts if these are larger. ``on_end`` gets the
    number of bytes once the end was seen; one more than ``plan`` holds if the stream is longer.
    """

    def __init__(
        self,
        pieces: BufferIterator,
        plan: Plan | StreamPlan,
        *,
        executor: Workers,
        name: str,
        most_bytes: int,
        on_end: Callable[[int], None],
    ) -> None:
        self.plan = plan
        self.name = name
        self.size: int | None = None
        self.hash_seconds = 0.0
        """Time spent hashing so far."""
        self._pieces = pieces
        self._executor = executor
        self._most_bytes = most_bytes
        self._on_end = on_end
        self._rest: memoryview = memoryview(b"")
        """What the last piece held beyond the part that it ended."""
        self._read = 0
        self._held_parts = 0
        self._held_bytes = 0
        self._given_back = asyncio.Event()
        self._first: tuple[PartRange, memoryview] | None = None
        self._file: tuple[ReadableFile, SourceIdentity] | None = None

    async def watch(self, file: ReadableFile) -> None:
        """Let `check` compare the times of the regular file that ``file`` reads, if it reads one."""
        identity = await in_thread(self._executor, identity_of, file)
        self._file = None if identity is None else (file, identity)

    async def read_first(self) -> memoryview:
        """Read the first part. If it is the whole stream, `size` is set afterwards. `parts` yields it too."""
        self._first = await self._next_part(1)
        return self._first[1]

    async def parts(self, *, done: Container[int], window: Callable[[], int]) -> AsyncGenerator[ReadyPart, None]:
        """See `PartSource`. A stream is never continued, so nothing is ``done``."""
        number, side_by_side = 1, 1
        batch: list[tuple[PartRange, memoryview]] = []
        if self._first is not None:
            batch, self._first, number = [self._first], None, 2
        while True:
            while self.size is None and len(batch) < side_by_side:
                if batch and not self._has_room(self.plan.length(number)):
                    break
                began = time.monotonic()
                part = await self._next_part(number)
                if part[0].length:
                    batch.append(part)
                number += 1
                if time.monotonic() - began > SLOW_SECONDS:
                    break
            if not batch:
                return
            for place, view, digest in await self._hashed(batch):
                hashed = HashedPart(range=place, md5=digest.md5, crc64=digest.crc64)
                yield ReadyPart(hashed=hashed, body=view)
            batch.clear()
            side_by_side = max(1, min(window(), hashing.lanes()))

    async def check(self, parts: Iterable[HashedPart]) -> None:
        """Raise `SourceChangedError` if the stream reads a regular file, and that file was written to meanwhile.

        A file that only grows behind what was read, or whose ctime alone has changed, is no error.
        """
        if self._file is not None:
            await in_thread(self._executor, _compare, *self._file)

    def stored(self, part: ReadyPart) -> None:
        """See `PartSource`."""
        self._held_parts -= 1
        self._held_bytes -= part.hashed.range.length
        self._given_back.set()

    def _has_room(self, length: int) -> bool:
        return self._held_parts < 2 or self._held_bytes + length <= self._most_bytes

    async def _next_part(self, number: int) -> tuple[PartRange, memoryview]:
        """Read one part; the last one is shorter, or empty."""
        if number > MAX_PART_NUMBER:
            raise UsageError(
                f"the stream {self.name} is longer than {self._read} bytes, which is what {MAX_PART_NUMBER} parts hold "
                "here. Give a larger part_size",
                name="part_size",
                value=self.plan.length(1),
            )
        length = self.plan.length(number)
        while not self._has_room(length):
            self._given_back.clear()
            await self._given_back.wait()
        view = memoryview(bytearray(length))
        filled = await self._fill(view)
        view = view[:filled].toreadonly()
        place = PartRange(number=number, offset=self._read, length=filled)
        self._read += filled
        self._held_parts += 1
        self._held_bytes += filled
        if filled < length or self._is_last(number):
            self.size = self._read
            self._on_end(self._read + await self._fill(memoryview(bytearray(1))))
        return place, view

    def _is_last(self, number: int) -> bool:
        return isinstance(self.plan, Plan) and number == self.plan.count

    async def _fill(self, view: memoryview) -> int:
        pieces = self._pieces
        if not isinstance(pieces, AsyncIterator):
            return await in_thread(self._executor.waiting, self._fill_blocking, view, pieces)
        done = self._take_rest(view)
        while done < len(view) and (piece := await next_piece_async(pieces, self.name)) is not None:
            done += self._take(piece, view[done:])
        return done

    def _fill_blocking(self, view: memoryview, pieces: Iterator[Buffer]) -> int:
        """In a thread: the producer may block."""
        done = self._take_rest(view)
        while done < len(view) and (piece := next_piece(pieces, self.name)) is not None:
            done += self._take(piece, view[done:])
        return done

    def _take_rest(self, view: memoryview) -> int:
        """Take from what was kept. This copies no more than the part needs, however large the piece was."""
        count = min(len(self._rest), len(view))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:] or memoryview(b"")  # an empty view would hold the piece
        return count

    def _take(self, piece: Buffer, view: memoryview) -> int:
        count = min(len(piece), len(view))
        left = memoryview(piece)[count:]
        view[:count] = memoryview(piece)[:count]
        if left:
            # The producer may fill its buffer again, unless it gave bytes.
            self._rest = left if isinstance(piece, bytes) else memoryview(bytes(left))
        return count

    async def _hashed(
        self, batch: list[tuple[PartRange, memoryview]]
    ) -> list[tuple[PartRange, memoryview, hashing.PartDigest]]:
        began = time.monotonic()
        digests = await in_thread(self._executor, hashing.hash_parts, [view for _, view in batch])
        self.hash_seconds += time.monotonic() - began
        return [(place, view, digest) for (place, view), digest in zip(batch, digests, strict=True)]


def _compare(file: ReadableFile, before: SourceIdentity) -> None:
    now = identity_of(file)
    if now is not None and now.mtime_ns != before.mtime_ns and now.size <= before.size:
        raise SourceChangedError(
            f"{name_of(file)} changed during the upload: it was written to", path=name_of(file), changed="mtime"
        )
