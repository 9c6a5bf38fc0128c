"""Walks a directory tree in the order in which a bucket lists the same paths as keys: by the bytes of the whole path.

A folder sorts as its name and a ``/``, because all keys in it begin so. So ``a-b`` and ``a.txt`` come before ``a/b``,
and ``a0`` comes after it. Memory holds the names in the folders from the root to the current one.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import field
from typing import Any, NamedTuple, Protocol, TypeAlias

from cosxfer.errors import CosxferError, SourceError
from cosxfer.foreign import shown_path
from cosxfer.paths import better_reason, look_at, open_path
from cosxfer.records import dataclass
from cosxfer.tree import FLAGS, MAX_OPEN_FOLDERS, OpenFolder, TreeWalk, close

BLOCK_ENTRIES = 1024

UNKNOWN_SIZE = -1

Entry: TypeAlias = tuple[bytes, int, int, Any, int]
"""Path, size in bytes, time of the last modification in nanoseconds, and what else identifies the content. For a file
that is the inode, and the ctime in nanoseconds.

If the size is `UNKNOWN_SIZE`, nobody knows what is at this path, nor after it up to the end in its `Unknown`, which
takes the place of the inode. A plain tuple, because a run makes millions of them."""


class Unknown(NamedTuple):
    """Why a range of paths is not known."""

    end: bytes | None
    """The first path after the range; None if there is none."""
    error: CosxferError


class Filter(Protocol):
    """Chooses paths, which are given as bytes from the root."""

    def takes(self, path: bytes, *, is_folder: bool) -> bool:
        """Whether the path belongs to the tree."""

    def prunes(self, path: bytes) -> bool:
        """Whether no path in this folder belongs to the tree, so that it is not entered."""


def unknown(first: bytes, end: bytes | None, error: CosxferError) -> Entry:
    """Return the entry of an unknown range."""
    return (first, UNKNOWN_SIZE, 0, Unknown(end, error), 0)


def after_folder(path: bytes) -> bytes | None:
    """Return the first path after everything in the folder ``path``, which ends with ``/`` or is empty (the root)."""
    return path[:-1] + b"0" if path else None  # 0 follows / in ASCII


@dataclass(slots=True)
class _SortedFolder(OpenFolder):
    prefix: bytes = b""
    """Its path with a ``/`` at the end; empty for the root."""
    entries: list[bytes] = field(default_factory=list)
    """Names that are left, the next one last. Those of folders end with ``/``."""
    odd: dict[bytes, CosxferError] = field(default_factory=dict)
    """Names that are no readable files, and why."""


class _SortedWalk(TreeWalk):
    def __init__(self, root: str, chosen: Filter | None) -> None:
        super().__init__(root, lambda *_, **__: True)
        self.chosen = chosen
        self.block: list[Entry] = []

    def blocks(self) -> Generator[list[Entry], None, None]:
        try:
            fd = open_path(self.root, FLAGS)
        except (OSError, ValueError) as error:
            raise self._unread(error, better_reason(self.root, error)) from error
        try:
            self._push(fd, b"")
            while self.folders:
                if len(self.block) >= BLOCK_ENTRIES:
                    yield self.block
                    self.block = []
                self._go_on()
            yield self.block
        finally:
            for folder in self.folders:
                close(folder)

    def _go_on(self) -> None:
        """Take entries of the current folder, up to the end of the block or the next folder."""
        folder = self.folders[-1]
        assert isinstance(folder, _SortedFolder)
        entries, odd, prefix, block = folder.entries, folder.odd, folder.prefix, self.block
        if not entries:
            self._leave()
            return
        try:
            fd = self._descriptor()
        except (OSError, ValueError) as error:
            block.append(unknown(prefix + entries[-1], after_folder(prefix), self._unread(error)))
            self._leave()
            return
        stat, append = os.stat, block.append
        for _ in range(BLOCK_ENTRIES - len(block)):
            name = entries.pop()
            path = prefix + name
            if odd and name in odd:
                append(unknown(path, after_folder(path) if name[-1] == 47 else path + b"\0", odd[name]))
            elif name[-1] == 47:  # a slash: a folder
                self._enter(name, path, fd)
                return
            else:
                try:
                    found = stat(name, dir_fd=fd)
                    # By index: mode, inode and size. It is faster than by name.
                    if found[0] & 0o170000 == 0o100000:
                        append((path, found[6], found.st_mtime_ns, found[1], found.st_ctime_ns))
                    else:
                        append(unknown(path, path + b"\0", self._error_of(name, "was replaced")))
                except FileNotFoundError:
                    pass  # it was removed meanwhile
                except OSError as error:
                    why = f"cannot be examined: {(error.strerror or str(error)).lower()}"
                    append(unknown(path, path + b"\0", self._error_of(name, why)))
            if not entries:
                return

    def _enter(self, name: bytes, path: bytes, fd: int) -> None:
        text = os.fsdecode(name[:-1])
        try:
            below = os.open(text, FLAGS | os.O_NOFOLLOW, dir_fd=fd)
        except FileNotFoundError:
            return
        except OSError as error:
            self.names.append(text)
            self.block.append(unknown(path, after_folder(path), self._unread(error)))
            self.names.pop()
            return
        self.names.append(text)
        self._push(below, path)
        if len(self.folders) - self.first_open > MAX_OPEN_FOLDERS:
            close(self.folders[self.first_open])
            self.first_open += 1

    def _push(self, fd: int, prefix: bytes) -> None:
        """Read the names in a folder and make it the current one."""
        try:
            status = os.fstat(fd)
        except BaseException:
            os.close(fd)
            raise
        folder = _SortedFolder(fd, (status.st_dev, status.st_ino), False, prefix=prefix)
        self.folders.append(folder)
        entries = folder.entries
        try:
            with os.scandir(fd) as scan:
                for entry in scan:
                    name = entry.name
                    if not name.isascii() or not entry.is_file(follow_symlinks=False) or name[0] == ".":
                        self._look_at(entry, folder)
                    else:
                        entries.append(name.encode())
        except OSError as error:
            # The entries that were read before the error are known.
            self.block.append(unknown(prefix, after_folder(prefix), self._unread(error)))
        if self.chosen is not None:
            takes = self.chosen.takes
            entries[:] = [
                name for name in entries if name[-1] == 47 or takes(prefix + name, is_folder=name + b"/" in folder.odd)
            ]
        entries.sort(reverse=True)

    def _look_at(self, entry: os.DirEntry[str], folder: _SortedFolder) -> None:
        """Add an entry that is not simply a file."""
        name = os.fsencode(entry.name)
        why = "" if _is_utf8(entry.name) else "has a name that is not UTF-8"
        is_folder = entry.is_dir(follow_symlinks=False)
        leads_on = is_folder
        if not is_folder and not entry.is_file(follow_symlinks=False):
            try:
                found = look_at(entry.name, dir_fd=folder.fd)
                why = why or found.why + (", which is not followed" if found.is_folder else "")
                leads_on = found.is_folder
            except FileNotFoundError:
                return
            except OSError as error:
                why, leads_on = f"cannot be examined: {(error.strerror or str(error)).lower()}", True
        elif _is_part_file(entry.name):
            return
        if self.chosen is not None and (is_folder or leads_on) and self.chosen.prunes(folder.prefix + name):
            return
        if why:
            problem = self._error_of(name, why)
            if not is_folder:
                folder.odd[name] = problem
                folder.entries.append(name)
            if leads_on:
                folder.odd[name + b"/"] = problem
        if leads_on or not why:
            folder.entries.append(name + b"/" if leads_on else name)

    def _error_of(self, name: bytes, why: str) -> SourceError:
        path = os.path.join(self._path(), os.fsdecode(name))  # noqa: PTH118 (it is text)
        return SourceError(f"{shown_path(path)} {why}", path=path)


def sorted_blocks(root: str, chosen: Filter | None = None) -> Generator[list[Entry], None, None]:
    """Yield the files below ``root`` in blocks, ordered by the bytes of their paths with ``/`` between the parts.

    A link to a file is that file. What is not a readable file is an unknown entry: special files, broken links, names
    that are not UTF-8, links to folders and unreadable folders (with everything below). Files that downloads are
    writing, and folders themselves, are left out. Raises `SourceError` if ``root`` cannot be opened as a directory.
    """
    return _SortedWalk(root, chosen).blocks()


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_part_file(name: str) -> bool:
    """Whether this is the temporary name of a file that a download is writing: see `cosxfer.targets`."""
    return name[0] == "." and name.rstrip("0123456789").endswith(".cosxfer-part")
