"""The twin of ``slicing`` in Python.

Without native code nothing can guard a mapping against SIGBUS, so nothing is mapped: a slice is a copy, read when it
is asked for, and what a cut file lacks is zeros and ``lost``.
"""

from __future__ import annotations

import errno
import os
import stat
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from typing_extensions import Buffer

LONG_BYTES = 1000
"""A shorter path is never too long; a name in it may be."""


def sizes_of(paths: list[Any]) -> list[int]:
    """See ``slicing.pyi``."""
    return [_size_of(path) for path in paths]


def _size_of(path: Any) -> int:
    try:
        status = os.stat(os.fspath(path))  # noqa: PTH116 (a Path costs more than the call)
    except OSError as error:
        return -1 if error.errno == errno.ENAMETOOLONG and len(os.fsencode(path)) >= LONG_BYTES else 0
    except (ValueError, TypeError):
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def write_new(temporary: bytes, target: bytes, content: Buffer, modified: int | None = None) -> int:
    """See ``slicing.pyi``."""
    return -1


def read_small(path: str | os.PathLike[str], max_bytes: int) -> tuple[bytes, tuple[int, int, int, int, int]] | None:
    """See ``slicing.pyi``."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or not 1 <= status.st_size <= max_bytes:
            return None
        content = b""
        while len(content) < status.st_size:
            piece = os.read(fd, status.st_size - len(content))
            if not piece:
                return None
            content += piece
        if os.read(fd, 1):
            return None  # it has grown, or is longer than it says
    except OSError:
        return None
    finally:
        os.close(fd)
    return content, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class MappedFile:
    """A file read piece by piece; see ``slicing.pyi``."""

    def __init__(self, fd: int, size: int) -> None:
        if size < 0:
            raise ValueError("size must not be negative")
        self._fd = -1
        self._fd = os.dup(fd)
        self._size = size
        self._lost = False

    def __del__(self) -> None:
        self.close()

    @property
    def size(self) -> int:
        return self._size

    @property
    def lost(self) -> bool:
        return self._lost

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def _check(self, offset: int, length: int) -> None:
        if self._fd < 0:
            raise ValueError("the mapping is closed")
        if offset < 0 or length < 0 or offset + length > self._size:
            raise ValueError(f"[{offset}, {offset} + {length}) is not inside the {self._size} bytes of the file")

    def slice(self, offset: int, length: int) -> memoryview:
        self._check(offset, length)
        data = bytearray(length)
        view = memoryview(data)
        done = 0
        while done < length:
            count = os.preadv(self._fd, [view[done:]], offset + done)
            if count == 0:
                self._lost = True
                break
            done += count
        return view.toreadonly()

    def prefetch(self, offset: int, length: int) -> None:
        self._check(offset, length)
        if hasattr(os, "posix_fadvise") and length:
            os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_WILLNEED)

    def release(self, offset: int, length: int) -> None:
        self._check(offset, length)

    def close(self, fd: int = -1) -> None:
        if fd >= 0:
            os.close(fd)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
