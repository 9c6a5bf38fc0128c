"""Where downloads land: a file that is written beside its final place and moved there when it is complete."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cosxfer._native import slicing
from cosxfer.cos.sink import stretches
from cosxfer.errors import TargetError, UsageError
from cosxfer.paths import open_path, stat_path

_ACL = "system.posix_acl_access"

_PATH_MAX = 4096
_LONGEST_NAME = 255

_PIECES_AT_ONCE = 512
"""The number of pieces in one call of writev, whose limit is 1024."""

_SLOTS = 8
"""The number of names for files of concurrent writers of one path. Each is checked for a file of a killed process."""


def open_target(name: str) -> PartFile:
    """Begin the file that will become ``name``.

    Raises `UsageError` if that is something other than a regular file, and `TargetError` if it cannot be written.
    """
    try:
        mode = stat_path(name).st_mode
    except (OSError, ValueError):
        mode = stat.S_IFREG  # it will be created, or opening it gives the reason why it cannot
    if stat.S_ISDIR(mode) or not name or name.endswith(("/", "/.")):
        raise UsageError(
            f"output is {name!r}, which is a directory; give the path of a file in it", name="output", value=name
        )
    if not stat.S_ISREG(mode):
        # The new file would replace the device or the pipe.
        raise UsageError(
            f"output is {name!r}, which is not a regular file; omit output and write the result's body to it",
            name="output",
            value=name,
        )
    with writing(name):
        return PartFile(Path(name))


def write_target(name: str, content: memoryview, *, modified: int | None) -> None:
    """Write a whole small file. Raises as `open_target` does.

    A file that replaces nothing is written by native code in one call. For small files the many calls of a `PartFile`
    would take longer than everything else.
    """
    error = slicing.write_new(os.fsencode(_names(Path(name))[0]), os.fsencode(name), content, modified) if name else -1
    if error > 0:
        with writing(name):
            raise OSError(error, os.strerror(error))
    if not error:
        return
    target = open_target(name)
    try:
        with writing(name):
            target.write([content])
            if modified is not None:
                target.set_modified(modified)
            target.commit()
    finally:
        target.discard()


def has_temporary(name: str) -> bool:
    """Whether there is a temporary file beside ``name`` that its writer has left, or that is being written."""
    return any(map(os.path.lexists, _names(_resolved(Path(name)))))


def remove_temporary(name: str, device: int, inode: int) -> bool:
    """Remove the temporary file ``name`` if it still is the one with this identity, and nobody writes it.

    Returns whether it is not there any more. Raises `TargetError`.
    """
    with writing(name):
        try:
            status = os.lstat(name)
        except (FileNotFoundError, NotADirectoryError):
            return True
        if not stat.S_ISREG(status.st_mode) or (status.st_dev, status.st_ino) != (device, inode):
            return True  # another file has the name
        _remove_abandoned(Path(name))
        return not os.path.lexists(name)


def path_below(root: str, names: Sequence[str]) -> str:
    """Return the path with these names below ``root``, and create the folders to it.

    No link below ``root`` is followed, because it may lead out of it. Raises `TargetError`.
    """
    folder = make_folders(root, names[:-1])
    path = os.path.join(folder, names[-1])  # noqa: PTH118 (it is text)
    _check_no_link(path)
    return path


def make_folders(root: str, names: Sequence[str]) -> str:
    """Create the folder with these names below ``root`` and return its path. Raises `TargetError`."""
    folder = root
    with writing(root):
        os.makedirs(root, exist_ok=True)  # noqa: PTH103 (it is text)
    for name in names:
        folder = os.path.join(folder, name)  # noqa: PTH118 (it is text)
        _check_no_link(folder)
        with writing(folder), suppress(FileExistsError):
            os.mkdir(folder)  # noqa: PTH102 (it is text)
    return folder


def _check_no_link(path: str) -> None:
    with suppress(OSError, ValueError):  # opening it gives the reason
        if stat.S_ISLNK(os.lstat(path).st_mode):
            raise TargetError(f"cannot write {path!r}: it is a link, which may lead out of the folder", path=path)


def folds_case(folder: str) -> bool:
    """Whether the file system of ``folder`` does not tell upper from lower case. Raises `TargetError`."""
    name = os.path.join(folder, f".cosxfer-{secrets.token_hex(8)}-a")  # noqa: PTH118 (it is text)
    with writing(folder):
        fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            return os.path.lexists(name[:-1] + "A")
        finally:
            os.close(fd)
            os.unlink(name)  # noqa: PTH108 (it is text)


@contextmanager
def writing(name: str) -> Iterator[None]:
    """Turn the errors of the file system into `TargetError`."""
    try:
        yield
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        number = error.errno if isinstance(error, OSError) else 0
        raise TargetError(f"cannot write {name!r}: {why}", path=name, errno=number or 0) from error


class PartFile:
    """The file that will become ``path``. If ``path`` is a link, it stays a link. Raises ``OSError``.

    A new file has the mode that ``open`` gives. A file that replaces another one gets its permissions, its group and,
    if allowed, its owner before the first byte is written, but never its setuid, setgid and sticky bits. Its access
    control list is kept; other extended attributes are not. If the group or the list cannot be kept, the group gets no
    access.

    Other processes see the old file or the whole new one, even if this process is killed. Only ``commit`` with
    ``sync`` forces the file to the disk (fsync); otherwise it may be missing or incomplete after a power failure.

    The file is locked (flock) until it is complete. The next writer of ``path`` removes unlocked ones, which killed
    processes left. On a file system without locks they stay.
    """

    def __init__(self, path: Path) -> None:
        self._target = _resolved(path)
        self._folder = -1
        if len(os.fsencode(self._target.parent)) + _LONGEST_NAME >= _PATH_MAX:
            self._shorten()
        try:
            fd = self._begin()
        except BaseException:
            self._close_folder()
            raise
        self._use(fd)

    @classmethod
    def reopen(cls, path: Path, temporary: Path, *, device: int, inode: int, size: int) -> PartFile:
        """Go on with the temporary file of an earlier writer of ``path``. Raises ``OSError``.

        Raises `CannotReopenError` if it is gone, if another process writes it, or if it is not the file with this
        identity and size.
        """
        self = cls.__new__(cls)
        self._target = _resolved(path)
        self._folder = -1
        self.path = temporary
        names = _names(self._target)
        if str(temporary) not in names and not str(temporary).startswith(f"{names[0]}-"):
            raise CannotReopenError("its temporary file belongs to another folder now")
        self._use(_reopened(temporary, self._target, device, inode, size))
        return self

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        status = os.fstat(self.fd)
        return status.st_dev, status.st_ino

    @property
    def nameable(self) -> bool:
        """Whether ``path`` is a name that another process can use."""
        return self._folder < 0

    def _use(self, fd: int) -> None:
        # Keeps the lock while the file is closed, since closing may report that the disk is full.
        self._lock = os.dup(fd)
        self.file = os.fdopen(fd, "wb", buffering=0)
        self.fd = fd
        """Of ``file``, while that is open."""

    def _shorten(self) -> None:
        """Open a directory whose path exceeds PATH_MAX, and use the short path of its descriptor (Linux)."""
        flags = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
        self._folder = open_path(str(self._target.parent), flags)
        self._target = Path(f"/proc/self/fd/{self._folder}") / self._target.name
        if self._target.is_symlink():
            # `realpath` cannot follow a link there, and the file must not replace the link.
            self._close_folder()
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))

    def _close_folder(self) -> None:
        folder, self._folder = self._folder, -1
        if folder >= 0:
            os.close(folder)

    def _begin(self) -> int:
        """Create the file beside its place and return its descriptor."""
        names = _names(self._target)
        for name in names:
            if os.path.lexists(name):
                _remove_abandoned(Path(name))
        for name in names:
            fd = self._create(name)
            if fd is not None:
                return fd
        fd = self._create(f"{names[0]}-{secrets.token_hex(4)}")
        if fd is None:
            raise FileExistsError(f"{names[0]} and all alternative names exist")
        return fd

    def _create(self, name: str) -> int | None:
        """Create the file under this name; None if that is taken."""
        self.path = Path(name)
        try:
            return _created(self.path, self._target)
        except FileExistsError:
            return None

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Append all of ``pieces``."""
        for first in range(0, len(pieces), _PIECES_AT_ONCE):
            left = sum(map(len, batch := pieces[first : first + _PIECES_AT_ONCE]))
            written = os.writev(self.file.fileno(), batch)
            if written < left:  # a signal, or the disk is nearly full
                rest = memoryview(b"".join(batch))[written:]
                while rest:
                    rest = rest[os.write(self.file.fileno(), rest) :]

    def reserve(self, size: int) -> None:
        """Give the file ``size`` bytes of disk, so that a full disk is seen now and not later."""
        if hasattr(os, "posix_fallocate"):  # macOS has none
            try:
                os.posix_fallocate(self.fd, 0, size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV):
                    raise
            else:
                return
        self.file.truncate(size)

    def write_sparse(self, begin: memoryview, size: int) -> None:
        """Give the file ``size`` bytes, all a hole, and write ``begin`` to its start without blocks of zeros."""
        self.file.truncate(size)
        at = 0
        for zeros, piece in stretches(begin, 0):
            rest = piece
            while rest and not zeros:
                rest = rest[os.pwrite(self.fd, rest, at + len(piece) - len(rest)) :]
            at += len(piece)

    def set_modified(self, nanoseconds: int) -> None:
        """Set the time of the last modification, since 1970, and that of the last access."""
        os.utime(self.file.fileno(), ns=(nanoseconds, nanoseconds))

    def keep(self) -> None:
        """Close the file and leave it for a later writer, who may `reopen` it."""
        if self._lock >= 0:
            with suppress(OSError):
                self.file.close()
            self._unlock()

    def clear(self) -> None:
        """Truncate the file to start again."""
        self.file.seek(0)
        self.file.truncate()

    def commit(self, *, replace: bool = True, sync: bool = False) -> None:
        """Move the file to its place; raises ``FileExistsError`` if a file is there and ``replace`` is False."""
        if sync:
            os.fsync(self.file.fileno())
        self.file.close()
        if replace:
            self.path.replace(self._target)
        else:
            _move_to_free(self.path, self._target)
        self._unlock()

    def discard(self) -> None:
        """Remove the file unless it is in its place. It may be called twice."""
        if self._lock < 0:
            return
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            self.path.unlink()
        self._unlock()

    def _unlock(self) -> None:
        lock, self._lock = self._lock, -1
        os.close(lock)
        self._close_folder()


class CannotReopenError(Exception):
    """A temporary file cannot be continued. The message says why."""


def _resolved(path: Path) -> Path:
    """Return the absolute path of the file that ``path`` names, which may be a link to it."""
    # Only the link of the file itself matters: the temporary file is in the folder by the same path.
    absolute = os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118 (small files are many)
    return Path(os.path.realpath(absolute) if os.path.islink(absolute) else absolute)  # noqa: PTH114


def _reopened(name: Path, target: Path, device: int, inode: int, size: int) -> int:
    """Open and lock a temporary file. Raises as `PartFile.reopen` does."""
    try:
        fd = os.open(name, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise CannotReopenError("its temporary file is gone") from None
    try:
        status = os.fstat(fd)
        same = stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_size == size
        if not same or (status.st_dev, status.st_ino) != (device, inode):
            raise CannotReopenError("its temporary file was replaced by another one or has another size")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotReopenError("another process writes its temporary file") from None
        except OSError:
            # Nothing would keep two processes from writing it.
            raise CannotReopenError("the file system of its temporary file has no locks") from None
        if not _is_at(name, fd):
            raise CannotReopenError("its temporary file was removed meanwhile")
        with suppress(FileNotFoundError):  # nothing is replaced
            _take_permissions(fd, target, target.stat())
    except BaseException:
        os.close(fd)
        raise
    return fd


def _move_to_free(part: Path, target: Path) -> None:
    try:
        target.hardlink_to(part)  # unlike a rename it fails if another process was faster
    except FileExistsError:
        raise
    except OSError:
        part.rename(target)  # a file system without links
    else:
        part.unlink()


def _names(target: Path) -> list[str]:
    """Return paths beside ``target`` that are valid if its own name is."""
    beside = str(target.with_name(_part_name(target.name)))
    return [f"{beside}{slot}" for slot in range(_SLOTS)]


def _part_name(name: str) -> str:
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    return f".{name[:40]}.{digest}.cosxfer-part"


def new_file_name(path: str) -> str | None:
    """Return the temporary name of a new file ``path``, the first one that a `PartFile` takes; None if it has none."""
    at = path.rfind("/") + 1
    name = path[at:]
    return None if name in ("", ".", "..") else f"{path[:at]}{_part_name(name)}0"


def _created(name: Path, target: Path) -> int | None:
    """Create ``name``, locked, with the permissions of ``target``; None if another writer removed it at once."""
    try:
        old = target.stat()
    except FileNotFoundError:
        old = None
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(name, flags, 0o666 if old is None else 0o600)
    try:
        if not _locked(fd) or not _is_at(name, fd):
            os.close(fd)
            return None
        if old is not None:
            _take_permissions(fd, target, old)
    except BaseException:
        os.close(fd)
        with suppress(OSError):
            name.unlink()
        raise
    return fd


def _locked(fd: int) -> bool:
    """Lock a new file. False if another writer takes it for an abandoned one: it has the lock and removes the file."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


def _take_permissions(fd: int, target: Path, old: os.stat_result) -> None:
    with suppress(OSError):
        os.fchown(fd, old.st_uid, -1)
    with suppress(OSError):
        os.fchown(fd, -1, old.st_gid)
    same_group = os.fstat(fd).st_gid == old.st_gid
    acl = _acl_of(target)
    mode = old.st_mode & 0o777
    # With a list, the group bits are the mask of the list, not the permissions of the group.
    os.fchmod(fd, mode if same_group and acl is None else mode & ~0o070)
    if hasattr(os, "setxattr"):
        with suppress(OSError):
            if acl is None:
                os.removexattr(fd, _ACL)  # the default list of the directory
            elif same_group:
                os.setxattr(fd, _ACL, acl)


def _acl_of(target: Path) -> bytes | None:
    if not hasattr(os, "getxattr"):
        return None
    try:
        return os.getxattr(target, _ACL)
    except OSError:
        return None  # the file has no list, or the file system does not support them


def _remove_abandoned(name: Path) -> None:
    """Remove a part file that is not locked, because its writer was killed."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return  # it does not exist, or it has the mode of a file that its owner cannot read
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or os.geteuid() not in (0, found.st_uid) or found.st_nlink != 1:
            return
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A writer keeps its lock until the name is free again, so this is still the abandoned file.
        if _is_at(name, fd):
            name.unlink()
    except OSError:
        return
    finally:
        os.close(fd)


def _is_at(name: Path, fd: int) -> bool:
    try:
        return os.path.samestat(name.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False
