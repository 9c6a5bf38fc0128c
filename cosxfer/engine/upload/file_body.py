"""The content of a file object from its position on, read anew for each attempt.

What a file object says of its length is not believed: it is read to its end, and one that said something else than it
gave (as the files of /proc and /sys do, and many a wrapper) is kept in a temporary file by the caller.

If the file object stands for a regular file, and that file changes, it is read and hashed again before a retry and at
the end. Its content decides: a file that only grows behind what was hashed is no error.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import stat
from collections.abc import AsyncIterable, Callable, Iterator
from contextlib import suppress
from tempfile import SpooledTemporaryFile
from typing import Any, Protocol, TypeGuard, runtime_checkable

from cosxfer._native import hashing
from cosxfer.errors import CosxferError, SourceChangedError, SourceError, UsageError
from cosxfer.limits import GIB
from cosxfer.sources import SourceIdentity
from cosxfer.threads import in_thread

BLOCK_BYTES = 1024 * 1024

RAISED = (Exception, asyncio.CancelledError)
"""What becomes a `SourceError` if a body raises it in a thread. No call of ours is cancelled there."""


@runtime_checkable
class ReadableFile(Protocol):
    """A binary file object, such as ``open(path, "rb")``, ``io.BytesIO`` or ``socket.makefile("rb")``."""

    def read(self, size: int, /) -> bytes | None: ...


class SeekableFile(ReadableFile, Protocol):
    """A file object that can go back."""

    def seek(self, offset: int, whence: int = 0, /) -> object: ...
    def tell(self) -> int: ...


def is_file(body: object) -> TypeGuard[ReadableFile]:
    """Whether ``body`` is a file object; raises `UsageError` for one that does not give the bytes it is asked for."""
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
            f"the body <{kind}> is read asynchronously; pass an asynchronous iterable of its pieces, or the file "
            "object that it stands for, if there is one",
            name="body",
            value=kind,
        )
    if isinstance(nothing, bytes | bytearray | memoryview) and len(nothing):
        raise UsageError(
            f"the body <{kind}> takes no heed of the size that is asked of it: read(0) gave {len(nothing)} bytes. "
            "Pass an iterable of its pieces",
            name="body",
            value=kind,
        )
    return True


def measure(file: ReadableFile) -> int | None:
    """Bytes from the position to the end; None where the file cannot go back to read them twice.

    Raises `SourceError` where it went to look for its end and did not come back: what is left to read is not all.
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
        # What unpacks reads up to the end, and may break off on the way.
        if not _goes_back(seekable, position):
            name = name_of(file)
            raise SourceError(
                f"cannot read {name}: it looked for its end ({type(error).__name__}: {error}), and cannot go back to "
                f"byte {position}",
                path=name,
            ) from error
        return None
    if not came_back:
        name = name_of(file)
        raise SourceError(f"cannot read {name}: it does not go back to byte {position} when it is asked to", path=name)
    return max(0, end - position)


def _goes_back(file: SeekableFile, position: int) -> bool:
    with suppress(*RAISED):  # where it has never left, it need not be able to
        file.seek(position)
    try:
        return file.tell() == position
    except RAISED:
        return False


def name_of(file: ReadableFile) -> str:
    """How messages call a file object."""
    name = getattr(file, "name", "")
    if isinstance(name, int):
        return f"<file descriptor {name}>"
    return str(name) or f"<{type(file).__name__}>"


def identity_of(file: ReadableFile) -> SourceIdentity | None:
    """The regular file that ``file`` reads, as it is now; None if there is none."""
    if isinstance(file, SpooledTemporaryFile):
        return None  # fileno() would move it from memory to the disk
    try:
        status = os.fstat(file.fileno())  # type: ignore[attr-defined] # asked, not known
    except RAISED:
        return None
    return SourceIdentity.of(status) if stat.S_ISREG(status.st_mode) else None


class FileBody:
    """``size`` bytes of ``file`` from where it stands now; each iteration starts there again."""

    def __init__(self, file: ReadableFile, size: int) -> None:
        self._file: SeekableFile = file  # type: ignore[assignment] # `measure` found out
        self.start = self._file.tell()
        self.size = size
        self.gave = 0
        """Bytes that were read when it was hashed."""
        self.name = name_of(file)
        self._identity: SourceIdentity | None = None
        """The file before it was hashed."""
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
            # Whatever reads may raise: what unpacks has errors of its own.
            raise SourceError(f"cannot read {self.name}: {type(error).__name__}: {error}", path=self.name) from error

    def _ended(self, left: int) -> SourceError:
        """The error where it gives another number of bytes than when it was hashed."""
        if self._says() != self.size:
            return SourceChangedError(
                f"{self.name} changed during the upload: it ends {left} bytes early", path=self.name, changed="size"
            )
        return self.not_twice()

    def _says(self) -> int | None:
        self._file.seek(self.start)
        return measure(self._file)

    def digest(self, largest: int) -> hashing.PartDigest | None:
        """Read it to its end, once; in a thread, as this blocks. ``size`` is what was read afterwards.

        None if it gave another number of bytes than it announces even now: then it must not be read twice. Raises
        `UsageError` once it gave more than ``largest`` bytes, and `SourceChangedError` where it was cut.
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
        """Raise `SourceChangedError` if the file holds other bytes than were hashed, as far as its times show it."""
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
        """Go back to where it stood; in a thread."""
        try:
            self._file.seek(self.start)
        except RAISED as error:
            raise SourceError(f"cannot read {self.name}: {type(error).__name__}: {error}", path=self.name) from error

    def not_twice(self) -> SourceError:
        """The error where it does not give its bytes a second time."""
        return SourceError(
            f"cannot read {self.name} twice: it gave {self.gave} bytes the first time, and not as many the second "
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
    """The error for a file object that reads text."""
    return UsageError('the file object is open in text mode; open it with "rb"', name="body", value="text")


def nothing_yet(file: ReadableFile) -> UsageError:
    """The error for a file object that does not wait: more may come, so what was read so far is not all."""
    kind = type(file).__name__
    return UsageError(
        f"the body <{kind}> has nothing to read yet, as it is in non-blocking mode; make it wait (os.set_blocking), or "
        "pass an iterable of its pieces",
        name="body",
        value=kind,
    )


def too_long(name: str, size: int, largest: int) -> UsageError:
    """The error for a body that goes on beyond what one request carries."""
    return UsageError(
        f"the body {name} is more than {largest} bytes ({largest // GIB} GiB), which is what one request carries; "
        "nothing was sent",
        name="body",
        value=size,
    )
