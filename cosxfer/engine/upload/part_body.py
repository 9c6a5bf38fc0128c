"""The bytes of one part as the body of a request, directly from the mapping."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor

from cosxfer.engine.multipart.source import HashedPart
from cosxfer.engine.upload.unchanged import check_unchanged
from cosxfer.sources import FileSource

STEP_BYTES = 1024 * 1024


class PartBody:
    """Yields views of a part, step by step. It can be iterated again for another attempt.

    The pages of a step are mapped together before it is yielded, and unmapped when the next one is requested. A part
    in flight of any size thus holds the memory of one step.
    """

    def __init__(self, source: FileSource, part: HashedPart, executor: Executor) -> None:
        self._source = source
        self._hashed = part
        self._part = part.range
        self._executor = executor

    def __iter__(self) -> Iterator[memoryview]:
        end = self._part.offset + self._part.length
        for offset in range(self._part.offset, end, STEP_BYTES):
            length = min(STEP_BYTES, end - offset)
            self._source.prefetch(offset, length)
            yield self._source.slice(offset, length)
            self._source.release(offset, length)

    async def check(self) -> None:
        """Raise `SourceChangedError` if the part is no longer the one that was hashed."""
        await check_unchanged(self._source, self._executor, [self._hashed])

    def place(self) -> tuple[int, int]:
        """Return the descriptor of the file and the offset of the part. It is open while `mapped`'s view is alive."""
        return self._source.descriptor, self._part.offset

    def mapped(self) -> memoryview | None:
        """Return a view of the whole part; None if the file is not mapped."""
        return self._source.slice(self._part.offset, self._part.length) if self._source.mapped else None
