"""Lists a directory tree of any depth, without recursion and with a bounded number of descriptors.

Each folder is opened relative to its parent, so no path is too long. While folders below it are read, a folder may be
closed. It is then opened again and its inode is compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import field
from typing import NamedTuple, Protocol

from cosxfer.errors import SourceError
from cosxfer.foreign import shown_path
from cosxfer.paths import better_reason, look_at, open_path
from cosxfer.records import dataclass

MAX_OPEN_FOLDERS = 16
"""Maximum number of open folders, besides the root."""

FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Entry(NamedTuple):
    """An entry of the tree that is not a folder, or a folder that cannot be read."""

    names: Sequence[str]
    """Its path from the root, in parts. Valid until the next entry. Empty for the root."""
    chosen: bool
    """The result of ``choose``."""
    error: SourceError | None = None
    """Why it is not a readable file."""
    hides: bool = False
    """Whether it may hide files: an unreadable folder or a link that is not followed."""
    is_folder: bool = False
    """Whether it is a folder, or a link to one."""
    status: os.stat_result | None = None
    """What ``os.stat`` returns for a file."""


class Choose(Protocol):
    """Decides about an entry. None skips it; a skipped folder is not entered.

    ``within`` is the decision about its parent folder, False for the root.
    """

    def __call__(self, names: Sequence[str], *, is_folder: bool, within: bool) -> bool | None: ...


@dataclass(slots=True)
class OpenFolder:
    fd: int
    """-1 while it is closed."""
    identity: tuple[int, int]
    chosen: bool
    left: list[tuple[str, bool]] = field(default_factory=list)
    """Its folders that have not been entered, and the decisions about them."""


class TreeWalk:
    def __init__(self, root: str, choose: Choose) -> None:
        self.root = root
        self.choose = choose
        self.names: list[str] = []
        """The path of the last folder in ``folders``."""
        self.folders: list[OpenFolder] = []
        """From the root down."""
        self.first_open = 1
        """Folders before this index are closed, except the root."""

    def run(self) -> Iterator[Entry]:
        try:
            self.folders.append(opened(open_path(self.root, FLAGS), chosen=False))
        except (OSError, ValueError) as error:
            raise self._unread(error, better_reason(self.root, error)) from error
        try:
            yield from self._listed()
            while self.folders:
                if self.folders[-1].left:
                    yield from self._entered(*self.folders[-1].left.pop())
                else:
                    self._leave()
        finally:
            for folder in self.folders:
                close(folder)

    def _entered(self, name: str, chosen: bool) -> Iterator[Entry]:
        """Enter a folder and yield its entries."""
        try:
            folder = opened(os.open(name, FLAGS | os.O_NOFOLLOW, dir_fd=self._descriptor()), chosen=chosen)
        except (OSError, ValueError) as error:
            self.names.append(name)
            yield Entry(self.names, chosen, self._unread(error), hides=True, is_folder=True)
            self.names.pop()
            return
        self.names.append(name)
        self.folders.append(folder)
        if len(self.folders) - self.first_open > MAX_OPEN_FOLDERS:
            close(self.folders[self.first_open])
            self.first_open += 1
        yield from self._listed()

    def _leave(self) -> None:
        """Go to the parent folder, through ``..``. Opening it from the root would take more steps."""
        below = self.folders.pop()
        self.first_open = max(1, min(self.first_open, len(self.folders)))
        if self.names:
            self.names.pop()
            if self.folders[-1].fd < 0 <= below.fd:
                with suppress(OSError):  # it can still be opened from the root
                    self._reopened(os.open("..", FLAGS, dir_fd=below.fd))
        close(below)

    def _reopened(self, fd: int) -> bool:
        """Use ``fd`` for the last folder in ``folders`` if it is the same folder. Return whether it is."""
        folder = self.folders[-1]
        again = opened(fd, chosen=folder.chosen)
        if again.identity != folder.identity:
            close(again)
            return False
        folder.fd = fd
        self.first_open = len(self.folders) - 1
        return True

    def _descriptor(self) -> int:
        """Return the descriptor of the last folder in ``folders``. Opens the folder again if it was closed."""
        if self.folders[-1].fd < 0:
            again = open_path("/".join(self.names), FLAGS, dir_fd=self.folders[0].fd)
            if not self._reopened(again):
                raise ValueError("the directory above it was replaced while the tree was read")
        return self.folders[-1].fd

    def _listed(self) -> Iterator[Entry]:
        """Yield the entries of the last folder in ``folders``. Its folders are kept for later."""
        folder = self.folders[-1]
        try:
            with os.scandir(folder.fd) as scan:
                for entry in scan:
                    self.names.append(entry.name)
                    if (found := self._looked_at(entry, folder)) is not None:
                        yield found
                    self.names.pop()
        except OSError as error:
            # The entries that were read before the error stay.
            del self.names[len(self.folders) - 1 :]
            yield Entry(self.names, folder.chosen, self._unread(error), hides=True, is_folder=True)

    def _looked_at(self, entry: os.DirEntry[str], folder: OpenFolder) -> Entry | None:
        """Return the entry of a file; None for one that is skipped, or a folder to enter."""
        try:
            is_folder = entry.is_dir()
            enter = is_folder and not entry.is_symlink()
        except OSError:
            is_folder, enter = True, False  # it may be a folder; the error is reported below
        chosen = self.choose(self.names, is_folder=is_folder, within=folder.chosen)
        if chosen is None:
            return None
        if enter:
            folder.left.append((entry.name, chosen))
            return None
        return self._entry(entry, folder.fd, chosen)

    def _entry(self, entry: os.DirEntry[str], folder: int, chosen: bool) -> Entry:
        try:
            if entry.is_file():
                return Entry(self.names, chosen, status=entry.stat() if chosen else None)
        except OSError:
            pass  # the look at it reports the error
        try:
            found = look_at(entry.name, dir_fd=folder)
        except OSError as error:
            return Entry(self.names, chosen, self._error(f"cannot be examined: {_reason(error)}"), hides=True)
        why = found.why or "was replaced while the tree was read"
        if found.is_folder:
            why += ", which is not followed"
        hides = found.is_folder or found.leads_nowhere
        return Entry(self.names, chosen, self._error(why), hides=hides, is_folder=found.is_folder)

    def _unread(self, error: OSError | ValueError, why: str = "") -> SourceError:
        path = self._path()
        return SourceError(f"cannot read the directory {shown_path(path)}: {why or _reason(error)}", path=path)

    def _error(self, why: str) -> SourceError:
        path = self._path()
        return SourceError(f"{shown_path(path)} {why}", path=path)

    def _path(self) -> str:
        return os.path.join(self.root, *self.names) if self.names else self.root  # noqa: PTH118 (the root is text)


def walk(root: str, choose: Choose) -> Iterator[Entry]:
    """Yield the entries below ``root`` in no particular order, without those that ``choose`` skips.

    Links to files are files. Links to directories are not followed; their entries have an error. Raises `SourceError`
    if ``root`` cannot be opened as a directory.
    """
    return TreeWalk(root, choose).run()


def opened(fd: int, *, chosen: bool) -> OpenFolder:
    try:
        status = os.fstat(fd)
    except BaseException:
        os.close(fd)
        raise
    return OpenFolder(fd, (status.st_dev, status.st_ino), chosen)


def close(folder: OpenFolder) -> None:
    fd, folder.fd = folder.fd, -1
    if fd >= 0:
        with suppress(OSError):
            os.close(fd)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)
