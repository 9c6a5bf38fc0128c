"""Bodies that arrive in pieces: sent directly if their length is known, else first kept in a temporary file."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import IO, TypeAlias

from cosxfer._native import hashing
from cosxfer.cos.requests import Buffer
from cosxfer.engine.upload.closing import close_in_thread
from cosxfer.engine.upload.file_body import RAISED, FileBody, ReadableFile, nothing_yet, too_long
from cosxfer.errors import CosxferError, SourceError, UsageError
from cosxfer.limits import KIB, MIB
from cosxfer.records import dataclass
from cosxfer.threads import Workers, finished, import_lock, in_thread

BATCH_BYTES = 256 * KIB
"""Pieces are collected to this size before they change threads, which costs about 0.1 ms."""
IN_MEMORY_BYTES = 1 * MIB
"""Up to this size a body is kept in memory, then in a temporary file."""

BufferIterator: TypeAlias = "Iterator[Buffer] | AsyncIterator[Buffer]"
"""The pieces of a body, which can be read once."""


def pieces_of(body: ReadableFile | Iterable[Buffer] | AsyncIterable[Buffer]) -> BufferIterator:
    """Return the pieces of an iterable, an asynchronous iterable or a file object."""
    try:
        if isinstance(body, AsyncIterable):
            return aiter(body)
        return _blocks(body) if isinstance(body, ReadableFile) else iter(body)
    except Exception as error:
        name = f"<{type(body).__name__}>"
        raise UsageError(
            f"the body {name} cannot be iterated over: {type(error).__name__}: {error}", name="body", value=name
        ) from error


def _blocks(file: ReadableFile) -> Iterator[Buffer]:
    while block := file.read(BATCH_BYTES):
        yield block
    if block is None:
        raise nothing_yet(file)
    _check_whole(file)


def _check_whole(file: ReadableFile) -> None:
    """Raise `SourceError` if a response of ``http.client`` was cut off. Its ``read(size)`` just ends early."""
    client = sys.modules.get("http.client")  # if it is not imported, the file is no response
    if client is None or not isinstance(file, client.HTTPResponse):
        return
    missing: int | None = file.length  # the bytes that were announced but did not arrive
    if missing:
        name = f"<{type(file).__name__}>"
        raise SourceError(f"the body {name} ended {missing} bytes early: its connection was closed", path=name)


class StreamBody:
    """Pieces of exactly ``content_length`` bytes in all, sent directly. It can be read once.

    The last piece is held back until the end is seen. If the body is too long or too short, this raises `UsageError`
    while the request is still incomplete, so that the server stores nothing.
    """

    def __init__(self, pieces: BufferIterator, content_length: int, *, executor: Workers, name: str) -> None:
        self._pieces = pieces
        self._content_length = content_length
        self._executor = executor
        self._name = name
        self.crc64 = 0
        """The CRC64 of the bytes sent so far."""
        self.started = False
        """Whether pieces were taken from the producer, so that the body cannot be sent again."""

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        self.started = True
        size = 0
        held = b""
        async for batch in batches(self._pieces, executor=self._executor, name=self._name):
            size += len(batch)
            if size > self._content_length:
                raise self._wrong(f"more than that: {size} bytes so far")
            if held:
                yield held
            held = batch
            self.crc64 = hashing.crc64(batch, self.crc64)
        if size != self._content_length:
            raise self._wrong(f"{size} bytes")
        if held:
            yield held

    def _wrong(self, actual: str) -> UsageError:
        return UsageError(
            f"content_length is {self._content_length}, but the body {self._name} is {actual}; nothing was stored",
            name="content_length",
            value=self._content_length,
        )


@dataclass(frozen=True, kw_only=True)
class Spooled:
    """A body that was kept, with its size and digests."""

    body: FileBody
    size: int
    digest: hashing.PartDigest


@asynccontextmanager
async def spool(pieces: BufferIterator, *, executor: Workers, largest: int, name: str) -> AsyncIterator[Spooled]:
    """Keep the pieces in memory up to 1 MiB, then in a temporary file, until the context ends.

    Raises `UsageError` once they are more than ``largest`` bytes, and `SourceError` if the disk does not take them.
    """
    with import_lock:
        import tempfile

    md5, crc64, size = hashing.Md5(), 0, 0
    file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES, prefix="cosxfer-body-")  # noqa: SIM115 # see below
    try:
        async for batch in batches(pieces, executor=executor, name=name):
            size += len(batch)
            if size > largest:
                raise too_long(name, size, largest)
            # The thread must have ended before the file is closed.
            crc64 = await finished(in_thread(executor, _keep, file, md5, crc64, batch))
        await finished(in_thread(executor, _rewind, file))
        yield Spooled(body=FileBody(file, size), size=size, digest=hashing.PartDigest(md5.digest(), crc64, size))
    finally:
        await close_in_thread(partial(_discard, file), executor)


def _keep(file: IO[bytes], md5: hashing.Md5, crc64: int, batch: bytes) -> int:
    md5.update(batch)
    try:
        file.write(batch)
    except OSError as error:
        raise _not_kept(error) from error
    return hashing.crc64(batch, crc64)


def _rewind(file: IO[bytes]) -> None:
    """Go to the beginning. This writes what is still in the buffer of the file."""
    try:
        file.seek(0)
    except OSError as error:
        raise _not_kept(error) from error


def _discard(file: IO[bytes]) -> None:
    """Close the temporary file. A disk that is full fails again here, which does not matter any more."""
    with suppress(OSError):
        file.close()


def _not_kept(error: OSError) -> SourceError:
    with import_lock:
        import tempfile

    reason = error.strerror or str(error)
    try:
        folder = tempfile.gettempdir()
    except OSError:
        return SourceError(f"cannot keep the body in a temporary file: {reason}", path="")  # there is no folder
    return SourceError(f"cannot keep the body in {folder}: {reason}", path=folder)


async def batches(pieces: BufferIterator, *, executor: Workers, name: str) -> AsyncIterator[bytes]:
    """Yield the pieces, collected to 256 KiB or more.

    The producer may block, so it runs in a thread of the pool for blocking work. An exception of the producer becomes a
    `SourceError` unless it is an error of cosxfer.
    """
    if isinstance(pieces, AsyncIterator):
        async for batch in _collected(pieces, name):
            yield batch
        return
    while batch := await in_thread(executor.waiting, _take, pieces, name):
        yield batch


async def _collected(pieces: AsyncIterator[Buffer], name: str) -> AsyncIterator[bytes]:
    batch = bytearray()
    while (checked := await next_piece_async(pieces, name)) is not None:
        if not batch and len(checked) >= BATCH_BYTES:
            yield bytes(checked)
            continue
        batch += checked
        if len(batch) >= BATCH_BYTES:
            yield bytes(batch)
            batch.clear()
    if batch:
        yield bytes(batch)


def _take(pieces: Iterator[Buffer], name: str) -> bytes:
    batch = bytearray()
    while len(batch) < BATCH_BYTES and (checked := next_piece(pieces, name)) is not None:
        if not batch and len(checked) >= BATCH_BYTES:
            return bytes(checked)  # no copy if it is bytes already
        batch += checked
    return bytes(batch)


async def next_piece_async(pieces: AsyncIterator[Buffer], name: str) -> Buffer | None:
    """Return the next piece as bytes or a view of bytes; None at the end.

    An exception of the producer becomes a `SourceError` unless it is an error of cosxfer.
    """
    try:
        return _checked(await anext(pieces), name)
    except StopAsyncIteration:
        return None
    except CosxferError:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise  # this upload is cancelled
        raise _failed(name, error) from error  # something that the producer awaited was cancelled
    except Exception as error:
        raise _failed(name, error) from error


def next_piece(pieces: Iterator[Buffer], name: str) -> Buffer | None:
    """`next_piece_async` for an iterator that blocks."""
    try:
        return _checked(next(pieces), name)
    except StopIteration:
        return None
    except CosxferError:
        raise
    except RAISED as error:
        raise _failed(name, error) from error


def _checked(piece: object, name: str) -> Buffer:
    if not isinstance(piece, bytes | bytearray | memoryview):
        raise UsageError(
            f"the body {name} yields {type(piece).__name__}; its pieces must be bytes", name="body", value=name
        )
    if not isinstance(piece, memoryview):
        return piece
    view = view_of(piece)
    return bytes_of(view) if view.c_contiguous else view.tobytes()


def view_of(body: Buffer) -> memoryview:
    """Return a view of ``body``; raises `UsageError` if it is a released view."""
    try:
        return memoryview(body)
    except ValueError as error:
        raise UsageError(f"the body cannot be read: {error}", name="body", value="memoryview") from error


def bytes_of(view: memoryview) -> memoryview:
    """Return a view of the bytes of a contiguous view; raises `UsageError` if its items hold Python objects."""
    # The names of the fields of a structure stand between colons.
    if "O" in "".join(view.format.split(":")[::2]):
        raise UsageError("the body is a view of Python objects, not of their bytes", name="body", value="memoryview")
    # A view without items may have several dimensions, and cannot be cast to another shape then.
    return view.cast("B") if view.nbytes else memoryview(b"")


def _failed(name: str, error: BaseException) -> SourceError:
    return SourceError(f"the body {name} failed while it was read: {type(error).__name__}: {error}", path=name)
