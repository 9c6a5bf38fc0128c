"""Temporary folders that are removed with their owner. If the owner was killed, the next start removes them."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "cosxfer-server-"
"""The prefix of servers' temporary data directories."""

OWNER = "owner.lock"
"""A file that the owner of the folder locks. The system releases the lock when the owner ends."""


class TemporaryFolder:
    """A new folder whose name begins with ``prefix``. It exists until ``remove``."""

    def __init__(self, prefix: str) -> None:
        _remove_abandoned(prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        # The file gets its final name after it is locked. An unlocked one would look abandoned.
        unlocked = self.path / f"{OWNER}.new"
        self._lock = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with suppress(OSError):  # a file system without locks: then nobody removes the folder
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unlocked.rename(self.path / OWNER)

    def remove(self) -> None:
        """Delete the folder and its content. May be called again."""
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
    """Delete this user's folders whose owners have ended. A folder without a lock file stays."""
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        try:
            lock = os.open(path / OWNER, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            # The folder may belong to another user. rmtree does not follow a link.
            if path.stat().st_uid != os.geteuid() or os.fstat(lock).st_uid != os.geteuid():
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(lock)
