"""Which processes that share a journal are alive. Each client that uses it holds a locked file beside it.

The system releases the lock when the process ends, however it ends. So a dead owner is seen as dead, also after a
reboot, from another container, and if another process has its number. Two clients of one process have two files.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from cosxfer.threads import import_lock

try:
    import fcntl
except ImportError:  # pragma: no cover (Windows: no owner is seen as dead, so nothing is taken over)
    fcntl = None  # type: ignore[assignment]

_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class Owner:
    """The file of this client in ``folder``, locked until `release`. ``name`` is the name of the file."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError if the folder cannot be written."""
        with import_lock:
            import secrets

        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        while True:
            self.name = secrets.token_hex(8)
            self._descriptor = os.open(folder / self.name, _OPEN | os.O_CREAT | os.O_EXCL, 0o600)
            if self._lock():
                break
            os.close(self._descriptor)
        self._process = os.getpid()

    def _lock(self) -> bool:
        """Lock the file. Returns False if another process removed it before, because it was not locked yet."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            return (self._folder / self.name).stat().st_ino == os.fstat(self._descriptor).st_ino
        except FileNotFoundError:
            return False

    def check_place(self) -> None:
        """Raise OSError if the file was removed: other processes then take this client for dead."""
        if not os.fstat(self._descriptor).st_nlink:
            raise FileNotFoundError(errno.ENOENT, f"{self.name} in {self._folder.name} was removed while it was used")

    def is_alive(self, name: str) -> bool:
        """Whether the owner ``name`` still runs. The file of a dead one is removed."""
        if name == self.name:
            return True
        if not name.isalnum():
            return False
        path = self._folder / name
        try:
            descriptor = os.open(path, _OPEN)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # not ours to judge
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        else:
            with suppress(OSError):
                path.unlink()
            return False
        finally:
            os.close(descriptor)

    def remove_dead(self) -> None:
        """Remove the files of all owners that have ended."""
        with suppress(OSError):
            for path in list(self._folder.iterdir()):
                self.is_alive(path.name)

    def release(self) -> None:
        """This client uses the journal no more. (A forked child does not remove the file of its parent.)"""
        if self._process == os.getpid():
            with suppress(OSError):
                (self._folder / self.name).unlink()
        os.close(self._descriptor)
