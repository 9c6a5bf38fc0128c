"""Temporary folders that do not outlive their owner, however it ends: the next start removes what a killed one left."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "cosxfer-server-"
"""Of the folders in which servers keep objects when they are given none."""

OWNER = "owner.lock"
"""Locked as long as its folder's owner lives; the system gives the lock back when that ends."""


class TemporaryFolder:
    """An empty folder whose name begins with ``prefix``, until ``remove``."""

    def __init__(self, prefix: str) -> None:
        _remove_abandoned(prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        # Under its own name only once it is locked: before that it would look abandoned.
        unlocked = self.path / f"{OWNER}.new"
        self._lock = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with suppress(OSError):  # a file system without locks: then it is nobody's to remove
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unlocked.rename(self.path / OWNER)

    def remove(self) -> None:
        """Delete it with what is in it. May be called again."""
        shutil.rmtree(self.path, ignore_errors=True)
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A `TemporaryFolder` for the length of a block."""
    folder = TemporaryFolder(prefix)
    try:
        yield folder.path
    finally:
        folder.remove()


def _remove_abandoned(prefix: str) -> None:
    """Delete the folders of this user's whose owners have ended. One without an owner's file is left alone."""
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        try:
            lock = os.open(path / OWNER, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            # Another user could have put a folder of theirs there; of a link rmtree removes nothing.
            if path.stat().st_uid != os.geteuid() or os.fstat(lock).st_uid != os.geteuid():
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(lock)
