"""Opens paths of any length, and describes what is at a path.

A system call accepts a path of up to 4,096 bytes (PATH_MAX). A longer path is opened in steps: each opens a folder,
relative to the previous one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cosxfer.foreign import shown_path
from cosxfer.records import dataclass

STEP_BYTES = 1000
"""Length of a step. PATH_MAX is 1,024 on some systems. No name exceeds 255 bytes, so each step has a ``/``."""

_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
"""Folders on the way are opened without being read."""


def open_path(path: str, flags: int, *, dir_fd: int | None = None) -> int:
    """``os.open`` for a path of any length."""
    try:
        return os.open(path, flags, dir_fd=dir_fd)
    except OSError as error:
        if not _too_long(path, error):
            raise
    with _last_step(path, dir_fd) as (folder, rest):
        return os.open(rest, flags, dir_fd=folder)


def stat_path(path: str, *, follow_symlinks: bool = True) -> os.stat_result:
    """``os.stat`` for a path of any length."""
    try:
        return os.stat(path, follow_symlinks=follow_symlinks)  # noqa: PTH116 (a Path costs more than the call)
    except OSError as error:
        if not _too_long(path, error):
            raise
    with _last_step(path, None) as (folder, rest):
        return os.stat(rest, dir_fd=folder, follow_symlinks=follow_symlinks)


def _too_long(path: str, error: OSError) -> bool:
    return error.errno == errno.ENAMETOOLONG and len(os.fsencode(path)) > STEP_BYTES


@contextmanager
def _last_step(path: str, dir_fd: int | None) -> Iterator[tuple[int | None, bytes]]:
    """Yield the folder for the last step of a path, and that step."""
    folder, rest = dir_fd, os.fsencode(path)
    try:
        while len(rest) > STEP_BYTES:
            cut = rest.rfind(b"/", 1, STEP_BYTES)
            if cut < 0:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            following = os.open(rest[:cut], _FOLDER, dir_fd=folder)
            if folder is not None and folder != dir_fd:
                os.close(folder)
            folder = following
            rest = rest[cut:].lstrip(b"/") or b"."
        yield folder, rest
    finally:
        if folder is not None and folder != dir_fd:
            os.close(folder)


def kind_of(mode: int) -> str:
    """Return what kind of file has this mode, if it is not a regular file."""
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a named pipe, not a regular file"
    if stat.S_ISSOCK(mode):
        return "a socket, not a regular file"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "a device, not a regular file"
    return "not a regular file"


@dataclass(frozen=True, slots=True)
class Look:
    """What is at a path."""

    why: str
    """Why it is not a regular file, such as ``is a link to a device``; empty if it is one."""
    is_folder: bool = False
    """Whether it is a folder, or a link to one."""
    leads_nowhere: bool = False
    """Whether it is a broken link, or a link to itself."""


def look_at(path: str, *, dir_fd: int | None = None) -> Look:
    """Find out what ``path`` is. Raises ``OSError`` if it does not exist or cannot be examined."""
    mode = os.stat(path, dir_fd=dir_fd, follow_symlinks=False).st_mode
    if not stat.S_ISLNK(mode):
        return Look("" if stat.S_ISREG(mode) else f"is {kind_of(mode)}", stat.S_ISDIR(mode))
    try:
        mode = os.stat(path, dir_fd=dir_fd).st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            target = shown_path(os.readlink(path, dir_fd=dir_fd))
            return Look(f"is a broken link: {target} does not exist", leads_nowhere=True)
        if error.errno == errno.ELOOP:
            return Look("is a link that leads back to itself, or through too many links", leads_nowhere=True)
        raise
    return Look("" if stat.S_ISREG(mode) else f"is a link to {kind_of(mode)}", stat.S_ISDIR(mode))


def better_reason(path: str, error: OSError | ValueError) -> str:
    """Return what is at a path that cannot be opened, if that is clearer than the system's reason; else empty."""
    if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
        with suppress(OSError):
            look = look_at(path)
            if look.leads_nowhere or error.errno == errno.ENXIO:
                return f"it {look.why}"
    return ""
