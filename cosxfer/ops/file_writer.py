"""Writing a file from the event loop: each file system call runs in a thread."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Executor
from functools import partial

from cosxfer.arguments import wrong_type
from cosxfer.errors import CosxferError
from cosxfer.limits import MIB
from cosxfer.targets import PartFile, open_target, writing
from cosxfer.threads import finished, in_thread, settled

BATCH_BYTES = 512 * 1024
"""A thread writes when this much has arrived. Changing the thread for each piece would cost more than writing."""

BLOCK_BYTES = 256 * 1024
"""Long pieces are copied into blocks that are reused. New memory from the system for each would cost more."""

LONG_BYTES = 64 * 1024

FULL_BYTES = 4 * MIB
"""If this much waits to be written, the sender has to wait until half of it is left."""


class FileWriter:
    """Writes a `PartFile` in threads, one at a time. Used on the event loop. It raises `CosxferError`.

    `write` keeps a piece in memory. When `BATCH_BYTES` have arrived, a thread writes all pieces. If the thread fails,
    the next call raises its error.
    """

    def __init__(self, part: PartFile, name: str, executor: Executor | None) -> None:
        self._part = part
        self._name = name
        self._executor = executor
        self._pieces: list[bytes | memoryview] = []
        self._tail = memoryview(b"")
        """The free rest of the last block."""
        self._full: list[bytearray] = []
        """Blocks whose bytes are all in ``_pieces`` or written."""
        self._spare: list[bytearray] = []
        self._size = 0
        """Bytes in ``_pieces`` and those that the thread is writing."""
        self._stale = False
        """Whether the file holds bytes of a failed attempt."""
        self._work: asyncio.Future[None] | None = None
        self._error: CosxferError | None = None
        self._room: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, output: str | bytes | os.PathLike[str], executor: Executor | None) -> FileWriter:
        """Begin the file that will become ``output``.

        Raises `UsageError` if that is something other than a regular file, and `CosxferError` if it cannot be written.
        """
        if not isinstance(output, str | bytes | os.PathLike):
            raise wrong_type("output", output, "a path, or None")
        name = os.fsdecode(output)
        work = in_thread(executor, open_target, name)
        try:
            part = await finished(work)
        except asyncio.CancelledError:
            if work.exception() is None:
                await cls(work.result(), name, executor).discard()
            raise
        return cls(part, name, executor)

    def restart(self) -> None:
        """Start again for another attempt."""
        self._raise_error()
        self._pieces.clear()
        self._full.clear()  # the thread may still read them
        self._tail = memoryview(b"")
        self._size = 0
        self._stale = True
        self._let_in()

    def write(self, piece: bytes) -> asyncio.Future[None] | None:
        """Take a piece. If a future is returned, await it: it completes when there is room for more."""
        self._raise_error()
        if len(piece) < LONG_BYTES:
            self._pieces.append(piece)
        else:
            self._copy(memoryview(piece))
        self._size += len(piece)
        if self._work is None and self._size >= BATCH_BYTES:
            self._start()
        if self._size < FULL_BYTES:
            return None
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()
        return self._room

    async def finish(self) -> None:
        """Write what is left and move the file into its place."""
        while self._work is not None:
            await asyncio.wait([self._work])
        self._raise_error()
        await finished(in_thread(self._executor, self._commit, *self._taken()))

    async def discard(self) -> None:
        """Remove the file unless it is in its place. Nothing is written afterwards."""
        self._pieces.clear()
        try:
            if self._work is not None:
                await settled(self._work)
        finally:
            try:
                removal = in_thread(None, self._part.discard)  # the client's own threads may have ended
            except CosxferError:
                self._part.discard()  # no thread is available: block the event loop rather than leave the file
            else:
                await finished(removal)

    def abandon(self) -> None:
        """`discard` without awaiting, because the event loop has ended."""
        self._pieces.clear()
        self._part.discard()

    def _copy(self, piece: memoryview) -> None:
        while piece:
            if not self._tail:
                block = self._spare.pop() if self._spare else bytearray(BLOCK_BYTES)
                self._full.append(block)
                self._tail = memoryview(block)
            part = self._tail[: len(piece)]
            part[:] = piece[: len(part)]
            self._pieces.append(part)
            self._tail, piece = self._tail[len(part) :], piece[len(part) :]

    def _start(self) -> None:
        full = self._full if not self._tail else self._full[:-1]
        self._full = self._full[len(full) :]
        taken = self._taken()
        try:
            self._work = in_thread(self._executor, self._write, *taken)
        except CosxferError as error:
            self._error = error
            self._let_in()
        else:
            self._work.add_done_callback(partial(self._written, full))

    def _taken(self) -> tuple[bool, list[bytes | memoryview]]:
        stale, self._stale = self._stale, False
        pieces, self._pieces = self._pieces, []
        return stale, pieces

    def _written(self, full: list[bytearray], work: asyncio.Future[None]) -> None:
        self._work = None
        self._spare += full
        error = work.exception()
        if error is not None:
            self._error = error if isinstance(error, CosxferError) else CosxferError(f"cannot write: {error!r}")
            self._pieces.clear()
        self._size = sum(map(len, self._pieces))
        if self._size < FULL_BYTES // 2:
            self._let_in()
        if self._size >= BATCH_BYTES:
            self._start()

    def _let_in(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    # -- in a thread --------------------------------------------------------------------------------------------------

    def _write(self, stale: bool, pieces: list[bytes | memoryview]) -> None:
        with writing(self._name):
            if stale:
                self._part.clear()
            self._part.write(pieces)

    def _commit(self, stale: bool, pieces: list[bytes | memoryview]) -> None:
        self._write(stale, pieces)
        with writing(self._name):
            self._part.commit()
