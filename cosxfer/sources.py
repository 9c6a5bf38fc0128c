"""Sources of an upload: a file, mapped into memory or read.

Offsets, lengths and sizes are bytes. The identity of a file is recorded when it is opened. Call ``FileSource.check``
before you trust bytes that were read: it raises if the file has changed. If only the ctime has changed,
`cosxfer.engine.upload.unchanged` reads the file again and compares the content.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, NoReturn, Self

from cosxfer._native import slicing
from cosxfer.errors import SourceChangedError, SourceError, UsageError
from cosxfer.limits import MIB
from cosxfer.paths import better_reason, kind_of, look_at, open_path, stat_path

TICK_NS = 10_000_000
"""The granularity of a file's times, of most kernels: the clock that they come from stands still for so long."""

ASKED_BYTES = 32 * MIB
"""A file up to this size is asked whether it is in the page cache when it is opened."""

LOOKS = 10
"""How often the size of a growing file is read again before it is used."""


class SourceIdentity(NamedTuple):
    """Identifies a file and its version. Times are nanoseconds since 1970.

    A named tuple, because two are made for each small file, and a frozen dataclass costs ten times as much.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> SourceIdentity:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def fresh_ns(self) -> int:
        """For how long a write may still leave the times as they are; 0 if the last one is long ago."""
        age = time.time_ns() - self.ctime_ns
        return TICK_NS - age if 0 <= age < TICK_NS else 0

    def settle(self) -> None:
        """Wait until a write changes the times, before the content is read. Blocks for 10 ms at most."""
        if left := self.fresh_ns():
            time.sleep(left / 1e9)


def absolute(path: str, folder: str | None) -> str:
    """Return an absolute path. ``folder`` is that of a relative one; None: the working directory."""
    return path if path.startswith("/") else f"{folder or os.getcwd()}/{path}"  # noqa: PTH109


def is_fresh(ctime_ns: int, *, read_after_ns: int) -> bool:
    """Whether a file that was read after that time may have been written since without a change of its times."""
    return read_after_ns - ctime_ns < TICK_NS


class RegularFile:
    """A file whose changes since opening can be detected.

    ``path`` is the path as text. ``size`` and ``identity`` are those at opening.
    """

    def __init__(self, path: str, identity: SourceIdentity, *, folder: str | None = None) -> None:
        """``folder`` is the working directory if ``path`` is relative; the current one by default."""
        self.path = path
        # The working directory may change before a check. (A Path would cost more than all the rest.)
        self._location = absolute(path, folder)
        self.size = identity.size
        self.identity = identity

    def check(self) -> bool:
        """Raise ``SourceChangedError`` if the file was replaced, truncated or written to.

        Returns False if only its ctime has changed. Then either its owner, mode, links or attributes changed, which do
        not matter, or a writer restored the mtime. The caller has to compare the content.
        """
        try:
            return self._look()
        except OSError as error:
            raise self._gone(error) from error

    @property
    def location(self) -> str:
        """The absolute path."""
        return self._location

    def check_found(self, found: SourceIdentity | OSError) -> bool:
        """`check`, without a system call: ``found`` is what is at ``location`` now."""
        if isinstance(found, OSError):
            raise self._gone(found) from found
        return self._compare(found)

    def _gone(self, error: OSError) -> SourceChangedError:
        """Return the error for a file that can no longer be opened or read."""
        return SourceChangedError(
            f"{self.path!r} changed during the upload: {_reason(error)}", path=self.path, changed="inode"
        )

    def _look(self) -> bool:
        return self._compare(SourceIdentity.of(stat_path(self._location)))

    def _compare(self, now: SourceIdentity) -> bool:
        if now == self.identity:
            return True
        if (now.device, now.inode) != (self.identity.device, self.identity.inode):
            self._changed("inode", "another file has replaced it")
        if now.size != self.identity.size:
            self._changed("size", f"it had {self.identity.size} bytes and now has {now.size}")
        if now.mtime_ns != self.identity.mtime_ns:
            self._changed("mtime", "it was written to")
        return False

    def rewritten(self) -> NoReturn:
        """Raise the error for a file whose content has changed although its size and mtime are the same."""
        self._changed("content", "it was written to and its mtime restored")

    def _changed(self, changed: str, how: str) -> NoReturn:
        raise SourceChangedError(f"{self.path!r} changed during the upload: {how}", path=self.path, changed=changed)


class SmallFile(RegularFile):
    """A file that was read whole and closed. Created by ``read``. ``content`` is its content.

    For a few pages, a mapping costs more than a copy. The checks use the path only, because the file is closed.
    """

    def __init__(
        self, path: str, identity: SourceIdentity, content: bytes, *, before_ns: int, folder: str | None = None
    ) -> None:
        """``before_ns`` is a time before the file was read, in nanoseconds since 1970.

        A time after that would not do: a write between the reading and that time may have left the file's times as
        they are.
        """
        super().__init__(path, identity, folder=folder)
        self.content = content
        # It was read already, so its content decides. A ctime after that time is fresh too: the file may have been
        # written between that time and the reading.
        self._fresh = is_fresh(identity.ctime_ns, read_after_ns=before_ns)

    @classmethod
    def read(cls, path: str | os.PathLike[str], max_bytes: int) -> SmallFile | None:
        """Read a file of 1 to ``max_bytes`` bytes. Returns None if it is another file or fails: use `FileSource`."""
        name = os.fsdecode(path)
        before_ns = time.time_ns()
        found = slicing.read_small(name, max_bytes)
        if found is None:
            return None
        content, identity = found
        try:
            return cls(name, SourceIdentity(*identity), content, before_ns=before_ns)
        except OSError:
            return None  # the working directory was deleted

    def _look(self) -> bool:
        return super()._look() and not self._fresh

    def check_found(self, found: SourceIdentity | OSError) -> bool:
        """See `RegularFile.check_found`."""
        return super().check_found(found) and not self._fresh

    def compare(self) -> None:
        """Read the file again and raise ``SourceChangedError`` if the content differs. Blocks."""
        try:
            with os.fdopen(open_path(self._location, os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
                again = file.read(self.size + 1)
        except OSError as error:
            raise self._gone(error) from error
        if again != self.content:
            self.rewritten()

    def close(self) -> None:
        """Do nothing: the file is already closed."""


class FileSource(RegularFile):
    """A regular file, open for reading. Created by ``open``.

    Slices are views of a shared mapping and cost no copy. If the file system cannot map files (some FUSE file systems),
    slices are read into memory.
    """

    def __init__(self, path: str, fd: int, identity: SourceIdentity) -> None:
        super().__init__(path, identity)
        self._fd = fd
        self._short = False
        self._mapping: slicing.MappedFile | None = None
        self._why_not_mapped = ""
        self.in_cache = False
        """Whether it was in the page cache when it was opened: two of its bytes were. Files of more than `ASKED_BYTES`
        are not asked about."""
        try:
            self._mapping = slicing.MappedFile(fd, self.size)
        except (OSError, OverflowError, MemoryError) as error:
            # Read the slices instead.
            self._why_not_mapped = _reason(error) or "out of memory"

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FileSource:
        """Open the file at ``path``.

        Raises ``SourceError`` if the file is missing, unreadable, not a regular file, or reports a wrong size (as in
        /proc and /sys).
        """
        name = os.fsdecode(path)
        try:
            # NONBLOCK: opening a pipe must not wait for its writer. It has no effect for a regular file.
            fd = open_path(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise SourceError(
                f"cannot open {name!r}: {better_reason(name, error) or _reason(error)}", path=name
            ) from error
        try:
            source = cls(name, fd, SourceIdentity.of(_status(fd, name)))
        except OSError as error:
            os.close(fd)
            raise SourceError(f"cannot read {name!r}: {_reason(error)}", path=name) from error
        except BaseException:
            os.close(fd)
            raise
        source.identity.settle()
        if source.size <= ASKED_BYTES:
            source.in_cache = not source.size or source.is_cached((0, source.size // 2))  # before anything is read
        if source.size:
            # A mapping of a file that ends early would be read as zeros up to the end of its last page.
            source._check_end()
        if source.size and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return source

    @property
    def mapped(self) -> bool:
        """Whether slices are views of a mapping. Otherwise each slice is a copy."""
        return self._mapping is not None

    def slice(self, offset: int, length: int) -> memoryview:
        """Return ``length`` bytes from ``offset``, read-only. They stay valid after ``close``.

        Raises ``SourceChangedError`` if the file has become shorter.
        """
        self._check_range(offset, length)
        if self._mapping is not None:
            return self._mapping.slice(offset, length)
        return self._read(offset, length)

    @property
    def descriptor(self) -> int:
        """The open file, to read at given offsets only. It stays open while there are slices of a mapping."""
        self._check_open()
        return self._fd

    def is_cached(self, offsets: Iterable[int]) -> bool:
        """Whether the bytes at ``offsets`` are in the page cache. False if the system does not tell."""
        flags = getattr(os, "RWF_NOWAIT", None)
        if flags is None:
            return False
        self._check_open()
        byte = bytearray(1)
        try:
            return all(os.preadv(self._fd, [byte], offset, flags) == 1 for offset in offsets)
        except OSError:  # it would wait for the disk, or the file system has no such reads
            return False

    def prefetch(self, offset: int, length: int) -> None:
        """Load these bytes into memory now. Blocks while the disk reads. No effect without a mapping."""
        self._check_range(offset, length)
        if self._mapping is not None:
            self._mapping.prefetch(offset, length)

    def release(self, offset: int, length: int) -> None:
        """Unload these bytes from this process. They stay in the page cache. No effect without a mapping."""
        self._check_range(offset, length)
        if self._mapping is not None:
            self._mapping.release(offset, length)

    def drop_cache(self, offset: int, length: int) -> None:
        """Let the system drop these bytes from its page cache, because they will not be read again."""
        self._check_range(offset, length)
        if not length:
            return
        if self._mapping is not None:
            self._mapping.release(offset, length)  # a page that is mapped is not dropped
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_DONTNEED)

    def check(self) -> bool:
        """See `RegularFile.check`. A mapping that lost a page is a change too."""
        self._check_whole()
        return super().check()

    def check_found(self, found: SourceIdentity | OSError) -> bool:
        """See `RegularFile.check_found`. The path alone decides: what has its inode is the open file."""
        self._check_whole()
        return super().check_found(found)

    def _check_whole(self) -> None:
        self._check_open()
        lost = self._mapping is not None and self._mapping.lost
        if lost and os.fstat(self._fd).st_size >= self.size:
            # The kernel reports a page that it cannot read in the same way as one beyond the end.
            raise SourceError(
                f"cannot read {self.path!r}: {os.strerror(errno.EIO).lower()}, or the file was cut and restored",
                path=self.path,
            )
        if lost or self._short:
            self._changed("size", "it was truncated while it was read")

    def _look(self) -> bool:
        # Check the path first: on the descriptor, a replaced file only shows a changed number of links.
        by_path = super()._look()
        return self._compare(SourceIdentity.of(os.fstat(self._fd))) and by_path

    def close(self) -> None:
        """Close the file. Slices stay valid, and so does `descriptor` while there are any."""
        fd, self._fd = self._fd, -1
        if self._mapping is not None:
            self._mapping.close(fd)
        elif fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self.close()

    def __repr__(self) -> str:
        return f"<FileSource {self.path!r}, {self.size} bytes>"

    def _check_end(self) -> None:
        """Raise ``SourceError`` if the file ends before its size. Files in /sys do, and they cannot be mapped."""
        try:
            if not os.pread(self._fd, 1, self.size - 1):
                self._check_announced()
        except OSError as error:
            self.close()
            raise SourceError(f"cannot read {self.path!r}: {_reason(error)}", path=self.path) from error
        except SourceError:
            self.close()
            raise

    def _check_announced(self) -> None:
        """Raise ``SourceError`` for a file that ended early, unless it was truncated."""
        if os.fstat(self._fd).st_size >= self.size:
            raise SourceError(
                f"{self.path!r} reports {self.size} bytes but has fewer; {_as_stream(self.path)}", path=self.path
            )

    def _check_open(self) -> None:
        if self._fd < 0:
            raise ValueError(f"{self.path!r} is closed")

    def _check_range(self, offset: int, length: int) -> None:
        self._check_open()
        if offset < 0 or length < 0 or offset + length > self.size:
            raise UsageError(
                f"[{offset}, {offset} + {length}) is not inside the {self.size} bytes of {self.path!r}",
                name="offset",
                value=(offset, length),
            )

    def _read(self, offset: int, length: int) -> memoryview:
        try:
            view = memoryview(bytearray(length))
        except MemoryError as error:
            raise SourceError(
                f"cannot read {self.path!r}: no memory for {length} bytes, and the file cannot be mapped "
                f"({self._why_not_mapped}). A limit on the address space (ulimit -v) may be the cause",
                path=self.path,
            ) from error
        done = 0
        while done < length:
            try:
                count = os.preadv(self._fd, [view[done:]], offset + done)
            except OSError as error:
                raise SourceError(f"cannot read {self.path!r}: {_reason(error)}", path=self.path) from error
            if count == 0:
                self._check_announced()
                self._short = True
                self._changed("size", f"it ends at byte {offset + done}, not {self.size}")
            done += count
        return view.toreadonly()


def _as_stream(name: str) -> str:
    return f"put_object(bucket, key, open({name!r}, 'rb')) sends what it contains"


def _status(fd: int, name: str) -> os.stat_result:
    """Return the status of a regular file whose size is correct. Raises ``SourceError`` for any other file."""
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        raise SourceError(f"{name!r} is a directory; use upload_directory", path=name)
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"{name!r} {_what(name, status)}; {_as_stream(name)}", path=name)
    for _ in range(LOOKS):
        if not os.pread(fd, 1, status.st_size):
            break
        before, status = status, os.fstat(fd)
        if status.st_size == before.st_size:
            more = f"has more than the {status.st_size} bytes that it reports"
            raise SourceError(
                f"{name!r} {more if status.st_size else 'does not report its size'}; {_as_stream(name)}", path=name
            )
    return status


def _what(name: str, status: os.stat_result) -> str:
    with suppress(OSError):
        if why := look_at(name).why:
            return why
    return f"is {kind_of(status.st_mode)}"


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return "no such file" if error.errno == errno.ENOENT else os.strerror(error.errno).lower()
    return str(error)
