"""Which multipart uploads are being sent into now, so that a call takes over only one that nobody sends into.

Within a process this is a table. Between processes of one machine it is, on Linux, an abstract socket with the name of
the upload: it needs no file, and the kernel removes it if the process is killed. On other systems and between machines
nothing is known. There, two calls that send into one upload cannot make a wrong object: COS checks the MD5 of each
part, Complete names the ETag of each part, and the CRC64 of the object is compared. One of them may fail.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import sys
import threading
from typing import Protocol
from weakref import WeakValueDictionary

from cosxfer.address import ObjectAddress
from cosxfer.ops.session import Session


class Owner(Protocol):
    """What goes on with an upload: a `Checkpoint`."""

    @property
    def foreign(self) -> bool:
        """Whether another process may have begun the upload."""
        ...

    def lose(self) -> None:
        """Another one goes on with the upload."""
        ...


_lock = threading.Lock()
_held: dict[str, Hold] = {}
_owners: WeakValueDictionary[str, Owner] = WeakValueDictionary()
"""The last owner of each upload."""


def name_of(session: Session, address: ObjectAddress, upload_id: str) -> str:
    """Return the name of an upload for `hold`."""
    place = (session.endpoint(address).authority, address.bucket, address.key, upload_id)
    return hashlib.sha256(ascii(place).encode()).hexdigest()[:32]


class Hold:
    """The use of one upload. It is ``held``, or another call had it."""

    __slots__ = ("_name", "_socket", "held", "taken_here")

    def __init__(self, name: str, *, held: bool, taken_here: bool, lock: socket.socket | None = None) -> None:
        self._name = name
        self._socket = lock
        self.held = held
        self.taken_here = taken_here
        """Whether another call of this process has it."""

    def own(self, owner: Owner) -> Owner | None:
        """``owner`` goes on with the upload. Returns its earlier owner in this process, which does not any more."""
        if not self.held:
            return None
        with _lock:
            earlier = _owners.get(self._name)
            _owners[self._name] = owner
        if earlier is not None and earlier is not owner:
            earlier.lose()
        return earlier

    def release(self) -> None:
        """Nothing is sent into the upload any more."""
        with _lock:
            if self.held:
                self.held = False
                del _held[self._name]
            if self._socket is not None:
                self._socket.close()
                self._socket = None


def hold(name: str) -> Hold:
    """Say that the caller sends into the upload ``name`` now, unless another one does."""
    with _lock:
        if name in _held:
            return Hold(name, held=False, taken_here=True)
        lock = None
        if sys.platform == "linux":
            try:
                lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                lock.bind(f"\0cosxfer-upload-{name}")
            except OSError as error:
                if lock is not None:
                    lock.close()
                if error.errno == errno.EADDRINUSE:
                    return Hold(name, held=False, taken_here=False)
                lock = None  # no file descriptor is left, or sockets are not allowed: other processes do not see it
        found = _held[name] = Hold(name, held=True, taken_here=False, lock=lock)
        return found


def _forget() -> None:
    """A forked child sends into none of them, and must not keep them in use after the end of its parent."""
    global _lock
    _lock = threading.Lock()
    for each in list(_held.values()):
        each.release()
    _owners.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
