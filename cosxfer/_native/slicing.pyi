"""A file mapped for reading; ``cosxfer._native.pure_slicing`` is the twin in Python. Offsets and lengths are bytes."""

import os
from types import TracebackType
from typing import Any, Self

from typing_extensions import Buffer

def read_small(path: str | os.PathLike[str], max_bytes: int) -> tuple[bytes, tuple[int, int, int, int, int]] | None:
    """Open, read and close a regular file of 1 to ``max_bytes`` bytes, without the GIL from beginning to end.

    Returns what it held, and what it was when it was opened: device, inode, size, mtime and ctime in nanoseconds. None
    for any other file, one that is shorter or longer than it says, and where something failed: opening it says why.
    """

def sizes_of(paths: list[Any]) -> list[int]:
    """Return the sizes of files, through symbolic links, without the GIL: 0 for what is no regular file, cannot be
    found or is no path.

    -1 for a path that is too long for a system call. It is fastest if files of one folder follow each other.
    """

def write_new(temporary: bytes, target: bytes, content: Buffer, modified: int | None = None) -> int:
    """Write a file under the path ``temporary`` and move it to ``target``, without the GIL from beginning to end.

    ``modified`` is the time of its last modification in nanoseconds. Returns 0, or an errno if it cannot be written;
    then nothing is left. -1: nothing was done, because there is something under one of the names, or the file cannot be
    created; `cosxfer.targets.PartFile` does the rest. The twin returns -1 always.
    """

class MappedFile:
    """A shared read-only mapping of the first ``size`` bytes of the regular file ``fd``.

    The descriptor may be closed afterwards. If the file is cut while somebody reads the mapping (our kernels, OpenSSL,
    the interpreter), the reader gets zeros from the lost page on instead of SIGBUS, and ``lost`` turns true for good:
    ask it before believing what was read. A system call that is handed a lost page fails with EFAULT.

    Raises ``OSError`` where the file cannot be mapped. An empty file has a mapping of nothing.
    """

    def __init__(self, fd: int, size: int) -> None: ...
    @property
    def size(self) -> int: ...
    @property
    def lost(self) -> bool: ...
    @property
    def closed(self) -> bool: ...
    def slice(self, offset: int, length: int) -> memoryview:
        """A read-only view without a copy. It keeps the mapping alive, also past ``close``."""
    def prefetch(self, offset: int, length: int) -> None:
        """Read these pages into memory and map them now, in one call rather than fault by fault."""
    def release(self, offset: int, length: int) -> None:
        """Unmap these pages from this process (they stay in the page cache); a later read maps them again."""
    def close(self, fd: int = -1) -> None:
        """Hand out no more slices; the mapping goes when the last slice is gone, and ``fd`` is closed then."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
