"""The content of a file object from its position on, read anew for each attempt."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterable, Iterator
from contextlib import suppress
from typing import Protocol, TypeGuard, runtime_checkable

from cosxfer._native import hashing
from cosxfer.errors import CosxferError, SourceChangedError, SourceError, UsageError

BLOCK_BYTES = 1024 * 1024


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
    except Exception as error:
        raise UsageError(f"the file object cannot be read: {error}", name="body", value=type(body).__name__) from error
    if isinstance(nothing, str):
        raise UsageError('the file object is open in text mode; open it with "rb"', name="body", value="text")
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
    except Exception:
        return None
    try:
        seekable.seek(0, os.SEEK_END)
        end = seekable.tell()
        seekable.seek(position)
    except Exception as error:
        # What unpacks reads up to the end, and may break off on the way.
        if not _goes_back(seekable, position):
            name = name_of(file)
            raise SourceError(
                f"cannot read {name}: it looked for its end ({type(error).__name__}: {error}), and cannot go back to "
                f"byte {position}",
                path=name,
            ) from error
        return None
    return max(0, end - position)


def _goes_back(file: SeekableFile, position: int) -> bool:
    with suppress(Exception):  # where it has never left, it need not be able to
        file.seek(position)
    try:
        return file.tell() == position
    except Exception:
        return False


def name_of(file: ReadableFile) -> str:
    """How messages call a file object."""
    return str(getattr(file, "name", "")) or f"<{type(file).__name__}>"


class FileBody:
    """``size`` bytes of ``file`` from where it stands now; each iteration starts there again."""

    def __init__(self, file: ReadableFile, size: int) -> None:
        self._file: SeekableFile = file  # type: ignore[assignment] # `measure` found out
        self._start = self._file.tell()
        self.size = size
        self.name = name_of(file)

    def __iter__(self) -> Iterator[bytes]:
        left = self.size
        try:
            self._file.seek(self._start)
            while left:
                block = self._file.read(min(BLOCK_BYTES, left))
                if not block:
                    raise SourceChangedError(
                        f"{self.name} changed during the upload: it ends {left} bytes early",
                        path=self.name,
                        changed="size",
                    )
                left -= len(block)
                yield block
        except CosxferError:
            raise
        except Exception as error:
            # Whatever reads may raise: what unpacks has errors of its own.
            raise SourceError(f"cannot read {self.name}: {type(error).__name__}: {error}", path=self.name) from error

    def digest(self) -> hashing.PartDigest:
        """Read it once; in a thread, as this blocks."""
        md5, crc64 = hashing.Md5(), 0
        for block in self:
            md5.update(block)
            crc64 = hashing.crc64(block, crc64)
        return hashing.PartDigest(md5.digest(), crc64, self.size)
