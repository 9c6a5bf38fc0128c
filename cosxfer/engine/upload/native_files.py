"""Reads and checks small files in threads of native code, which never wait for the GIL.

A way to a Python thread and back costs more than the rest of the upload of a small file. The native threads hand over
all files that are done in one call on the event loop. What they refuse is opened in a Python thread instead.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from cosxfer._native import hashing
from cosxfer.engine.native_service import NativeService
from cosxfer.sources import SmallFile, SourceIdentity
from cosxfer.threads import none_to_be_had

if TYPE_CHECKING:
    from cosxfer._native.files import Identity, Read

HASHED_IN_LANES_BYTES = 64 * 1024
"""Files up to this long are hashed on the loop, side by side with those that come in the same turn."""

TAKEN_AT_ONCE = 16
"""Files that are taken over, and hashed, before the event loop has another turn: as many as there are lanes at most."""

ReadFile = tuple[SmallFile, hashing.PartDigest]
Found = SourceIdentity | OSError


class Owner(Protocol):
    """What wants to know something of a file. Its methods are called on the event loop."""

    def over(self) -> bool:
        """Whether nobody waits for it any more."""
        ...


class Reader(Owner, Protocol):
    """What wants to have the content of a file."""

    def has_read(self, read: Read, digest: hashing.PartDigest) -> None:
        """It was read."""
        ...

    def cannot_read(self, error: Exception | None) -> None:
        """It has to be opened in another way; or it was read, and could not be hashed because of ``error``."""
        ...


class Finder(Owner, Protocol):
    """What wants to know what a file is now."""

    def has_found(self, found: Identity | int) -> None:
        """This is at the path; a number is the errno."""
        ...


class _Reading:
    """A file that a caller waits for."""

    def __init__(self, name: str, future: asyncio.Future[ReadFile | None]) -> None:
        self._name = name
        self._future = future
        self._before_ns = time.time_ns()

    def over(self) -> bool:
        return self._future.done()

    def has_read(self, read: Read, digest: hashing.PartDigest) -> None:
        self._future.set_result((small_file(self._name, read, before_ns=self._before_ns), digest))

    def cannot_read(self, error: Exception | None) -> None:
        if error is None:
            self._future.set_result(None)
        else:
            self._future.set_exception(error)


class _Finding:
    """A path that a caller waits for."""

    def __init__(self, future: asyncio.Future[Found]) -> None:
        self._future = future

    def over(self) -> bool:
        return self._future.done()

    def has_found(self, found: Identity | int) -> None:
        self._future.set_result(
            OSError(found, os.strerror(found)) if isinstance(found, int) else SourceIdentity(*found)
        )


def small_file(name: str, read: Read, *, before_ns: int) -> SmallFile:
    """Return the file of an outcome. ``before_ns`` is a time before it was asked for."""
    content, identity, folder, _ = read
    return SmallFile(name, SourceIdentity(*identity), content, before_ns=before_ns, folder=folder)


class NativeFiles(NativeService[Any]):
    """The native threads that read and identify the files of one client, on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, digest_above=HASHED_IN_LANES_BYTES, at_once=TAKEN_AT_ONCE)

    def read(self, path: str | os.PathLike[str], max_bytes: int) -> asyncio.Future[ReadFile | None]:
        """Read and hash a file of 1 to ``max_bytes`` bytes; None if it has to be opened in another way."""
        future: asyncio.Future[ReadFile | None] = self._loop.create_future()
        name = os.fsdecode(path)
        self.begin_read(name, max_bytes, _Reading(name, future))
        return future

    def begin_read(self, path: str, max_bytes: int, reader: Reader) -> None:
        """Read a file as `read` does. ``reader`` gets the outcome, perhaps before this returns."""
        now = self._begin()
        try:
            self._service.read(os.fsencode(path), max_bytes, now, reader)
        except ValueError:
            reader.cannot_read(None)  # a null byte, or characters that no path has
        except RuntimeError as error:
            raise none_to_be_had(error) from error

    def identify(self, path: str) -> asyncio.Future[Found]:
        """What there is at an absolute path."""
        future: asyncio.Future[Found] = self._loop.create_future()
        self.begin_identify(path, _Finding(future))
        return future

    def begin_identify(self, path: str, finder: Finder) -> None:
        """Identify a file as `identify` does. ``finder`` gets the outcome."""
        now = self._begin()
        try:
            self._service.identify(os.fsencode(path), now, finder)
        except RuntimeError as error:
            raise none_to_be_had(error) from error

    def _take(self, done: Sequence[tuple[Any, Any]]) -> None:
        read: list[tuple[Reader, Read]] = []
        for owner, outcome in done:
            if owner.over():
                continue  # the caller was cancelled
            if outcome is None:
                owner.cannot_read(None)
            elif type(outcome) is tuple and len(outcome) == 4:
                read.append((owner, outcome))
            else:
                owner.has_found(outcome)
        if read:
            _hand_over(read)


def _hand_over(read: list[tuple[Reader, Read]]) -> None:
    """Hash side by side what the threads have not hashed, and hand all of it over."""
    unhashed = [outcome[0] for _, outcome in read if outcome[3] is None]
    try:
        digests = iter(hashing.hash_parts(unhashed) if unhashed else ())
    except Exception as error:
        for reader, outcome in read:
            if outcome[3] is None:
                reader.cannot_read(error)  # nobody may wait for ever
        digests = iter(())
        read = [entry for entry in read if entry[1][3] is not None]
    for reader, outcome in read:
        known = outcome[3]
        reader.has_read(outcome, next(digests) if known is None else hashing.PartDigest(*known, len(outcome[0])))
