"""The content of a file object from its position on, read again for each attempt.

The length that a file object reports is not trusted: the file object is read to its end. If it reported another length
(like files of /proc and /sys, and many wrappers), the caller keeps its content in a temporary file.

If the file object reads a regular file and that file changes, it is read and hashed again before a retry and at the
end. The content decides: if the file only grows behind the hashed bytes, that is not an error.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import stat
from collections.abc import AsyncIterable, Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol, TypeGuard, runtime_checkable

from cosxfer._native import hashing
from cosxfer.errors import CosxferError, SourceChangedError, SourceError, UsageError
from cosxfer.limits import GIB
from cosxfer.sources import SourceIdentity
from cosxfer.threads import import_lock, in_thread

BLOCK_BYTES = 1024 * 1024

RAISED = (Exception, asyncio.CancelledError)
"""Exceptions of a body that become a `SourceError`. A body is read in a thread, where our calls are never cancelled."""


@runtime_checkable
class ReadableFile(Protocol):
    """A binary file object, such as ``open(path, "rb")``, ``io.BytesIO`` or ``socket.makefile("rb")``."""

    def read(self, size: int, /) -> bytes | None: ...


class SeekableFile(ReadableFile, Protocol):
    """A file object that can seek back."""

    def seek(self, offset: int, whence: int = 0, /) -> object: ...
    def tell(self) -> int: ...


def is_file(body: object) -> TypeGuard[ReadableFile]:
    """Whether ``body`` is a file object; raises `UsageError` if its ``read`` does not return the requested bytes."""
    if not isinstance(body, ReadableFile) or isinstance(body, AsyncIterable):
        return False
    try:
        nothing: object = body.read(0)
    except RAISED as error:
        raise UsageError(f"the file object cannot be read: {error}", name="body", value=type(body).__name__) from error
    if isinstance(nothing, str):
        raise in_text_mode()
    kind = type(body).__name__
    if inspect.isawaitable(nothing):
        if inspect.iscoroutine(nothing):
            nothing.close()
        raise UsageError(
            f"the body <{kind}> is read asynchronously; pass an asynchronous iterable of its pieces, or the "
            "underlying file object",
            name="body",
            value=kind,
        )
    if isinstance(nothing, bytes | bytearray | memoryview) and len(nothing):
        raise UsageError(
            f"read() of the body <{kind}> ignores its size argument: read(0) returned {len(nothing)} bytes. "
            "Pass an iterable of its pieces",
            name="body",
            value=kind,
        )
    return True


def measure(file: ReadableFile) -> int | None:
    """Return the bytes from the position to the end; None if the file cannot seek back to read them twice.

    Raises `SourceError` if the file object found its end but cannot seek back, because bytes are then missing.
    """
    seekable: SeekableFile = file  # type: ignore[assignment] # asked, not known
    try:
        if not file.seekable():  # type: ignore[attr-defined] # asked, not known
            return None
        position = seekable.tell()
    except RAISED:
        return None
    try:
        seekable.seek(0, os.SEEK_END)
        end = seekable.tell()
        seekable.seek(position)
        came_back = seekable.tell() == position
    except RAISED as error:
        # A file object that decompresses reads up to the end for this, and may fail on the way.
        if not _goes_back(seekable, position):
            name = name_of(file)
            raise SourceError(
                f"cannot read {name}: seeking to its end failed ({type(error).__name__}: {error}), and it cannot seek "
                f"back to byte {position}",
                path=name,
            ) from error
        return None
    if not came_back:
        name = name_of(file)
        raise SourceError(f"cannot read {name}: seek() did not return to byte {position}", path=name)
    return max(0, end - position)


def _goes_back(file: SeekableFile, position: int) -> bool:
    with suppress(*RAISED):  # if it never moved, it need not be seekable
        file.seek(position)
    try:
        return file.tell() == position
    except RAISED:
        return False


def name_of(file: ReadableFile) -> str:
    """Return the name of a file object in messages."""
    name = getattr(file, "name", "")
    if isinstance(name, int):
        return f"<file descriptor {name}>"
    return str(name) or f"<{type(file).__name__}>"


def identity_of(file: ReadableFile) -> SourceIdentity | None:
    """Return the current state of the regular file that ``file`` reads; None if there is none."""
    with import_lock:
        from tempfile import SpooledTemporaryFile

    if isinstance(file, SpooledTemporaryFile):
        return None  # fileno() would move its content from memory to the disk
    try:
        status = os.fstat(file.fileno())  # type: ignore[attr-defined] # asked, not known
    except RAISED:
        return None
    return SourceIdentity.of(status) if stat.S_ISREG(status.st_mode) else None


class FileBody:
    """``size`` bytes of ``file`` from its current position; each iteration starts there again."""

    def __init__(self, file: ReadableFile, size: int) -> None:
        self._file: SeekableFile = file  # type: ignore[assignment] # `measure` has checked it
        self.start = self._file.tell()
        self.size = size
        self.gave = 0
        """The number of bytes that were hashed."""
        self.name = name_of(file)
        self._identity: SourceIdentity | None = None
        """The state of the regular file before it was hashed."""
        self._hashed: hashing.PartDigest | None = None

    def __iter__(self) -> Iterator[bytes]:
        left = self.size
        try:
            self._file.seek(self.start)
            while left:
                block = self._file.read(min(BLOCK_BYTES, left))
                if not block or len(block) > left:
                    raise self._ended(left)
                left -= len(block)
                yield block
        except CosxferError:
            raise
        except RAISED as error:
            # A file object that decompresses has exceptions of its own.
            raise SourceError(f"cannot read {self.name}: {type(error).__name__}: {error}", path=self.name) from error

    def _ended(self, left: int) -> SourceError:
        """Return the error for another number of bytes than were hashed."""
        if self._says() != self.size:
            return SourceChangedError(
                f"{self.name} changed during the upload: it ends {left} bytes early", path=self.name, changed="size"
            )
        return self.not_twice()

    def _says(self) -> int | None:
        self._file.seek(self.start)
        return measure(self._file)

    def digest(self, largest: int) -> hashing.PartDigest | None:
        """Read the file object to its end, once, and set ``size``. Call it in a thread, since it blocks.

        Returns None if the number of bytes still differs from the reported one; the file object must then not be read
        twice. Raises `UsageError` for more than ``largest`` bytes, and `SourceChangedError` if the file was truncated.
        """
        try:
            self._identity = identity_of(self._file)
            if self._identity is not None:
                self._identity.settle()
            self._hashed = digest = self._read(largest)
            if digest is None or digest.length == self.size:
                return digest
            says = self._says()
        except CosxferError:
            raise
        except RAISED as error:
            raise SourceError(f"cannot read {self.name}: {type(error).__name__}: {error}", path=self.name) from error
        if says is not None and says < self.size:
            raise SourceChangedError(
                f"{self.name} changed during the upload: it had {self.size} bytes and has {says}",
                path=self.name,
                changed="size",
            )
        if says != digest.length:
            return None
        self.size = digest.length  # it has grown
        return digest

    async def check(self) -> None:
        """Raise `SourceChangedError` if the times of the file have changed and its bytes differ from those hashed."""
        if self._identity is not None and self._hashed is not None:
            await in_thread(None, self._compare)

    def _compare(self) -> None:
        now = identity_of(self._file)
        if now is None or now == self._identity:
            return
        # Seeking to the end empties the buffer of the file object; seeking to the start alone may not.
        self._says()
        md5, crc64 = hashing.Md5(), 0
        for block in self:
            md5.update(block)
            crc64 = hashing.crc64(block, crc64)
        if hashing.PartDigest(md5.digest(), crc64, self.size) != self._hashed:
            raise SourceChangedError(
                f"{self.name} changed during the upload: it was written to", path=self.name, changed="content"
            )

    def rewind(self) -> None:
        """Seek back to the start; called in a thread."""
        try:
            self._file.seek(self.start)
        except RAISED as error:
            raise SourceError(f"cannot read {self.name}: {type(error).__name__}: {error}", path=self.name) from error

    def not_twice(self) -> SourceError:
        """Return the error for a file object that does not give its bytes a second time."""
        return SourceError(
            f"cannot read {self.name} twice: it gave {self.gave} bytes the first time, but not the second "
            "time. Pass an iterable of its pieces",
            path=self.name,
        )

    def _read(self, largest: int) -> hashing.PartDigest | None:
        md5, crc64, size = hashing.Md5(), 0, 0
        self._file.seek(self.start)
        read: Callable[[int], Any] = self._file.read
        while block := read(BLOCK_BYTES):
            if isinstance(block, str):
                raise in_text_mode()
            if len(block) > BLOCK_BYTES:
                return None
            size += len(block)
            self.gave = size
            if size > largest:
                raise too_long(self.name, size, largest)
            md5.update(block)
            crc64 = hashing.crc64(block, crc64)
        if block is None:
            raise nothing_yet(self._file)
        return hashing.PartDigest(md5.digest(), crc64, size)


def in_text_mode() -> UsageError:
    """Return the error for a file object that reads text."""
    return UsageError('the file object is open in text mode; open it with "rb"', name="body", value="text")


def nothing_yet(file: ReadableFile) -> UsageError:
    """Return the error for a non-blocking file object. More bytes may come, so the bytes so far are not all."""
    kind = type(file).__name__
    return UsageError(
        f"the body <{kind}> has nothing to read yet, because it is in non-blocking mode; make it block "
        "(os.set_blocking), or pass an iterable of its pieces",
        name="body",
        value=kind,
    )


def too_long(name: str, size: int, largest: int) -> UsageError:
    """Return the error for a body that is too long for one request."""
    return UsageError(
        f"the body {name} has more than {largest} bytes ({largest // GIB} GiB), the limit of one request; nothing was "
        "sent",
        name="body",
        value=size,
    )
