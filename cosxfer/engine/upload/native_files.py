"""Reads and checks small files in threads of native code, which never wait for the GIL.

A way to a Python thread and back costs more than the rest of the upload of a small file. The native threads hand over
all files that are done in one call on the event loop. What they refuse is opened in a Python thread instead.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cosxfer._native import hashing
from cosxfer.engine.native_service import NativeService
from cosxfer.engine.upload.digests import HASHED_AT_ONCE
from cosxfer.sources import SmallFile, SourceIdentity
from cosxfer.threads import none_to_be_had

if TYPE_CHECKING:
    from cosxfer._native.files import Read

HASHED_IN_LANES_BYTES = 64 * 1024
"""Files up to this long are hashed on the loop, side by side with those that come in the same turn."""

TAKEN_AT_ONCE = HASHED_AT_ONCE
"""Files that are taken over before the event loop has another turn."""

ReadFile = tuple[SmallFile, hashing.PartDigest]
Found = SourceIdentity | OSError


O_contra = TypeVar("O_contra", contravariant=True)


class Receiver(Protocol[O_contra]):
    """What gets an outcome on the event loop: a future, or what stands for one."""

    def done(self) -> bool:
        """Whether nobody waits for it any more."""
        ...

    def set_result(self, result: O_contra, /) -> None: ...

    def set_exception(self, error: Exception, /) -> None: ...


class _Reading:
    """A file that is to be read."""

    __slots__ = ("_before_ns", "digest", "future", "name", "small")

    def __init__(self, name: str, future: Receiver[ReadFile | None]) -> None:
        self.name = name
        self.future = future
        self._before_ns = time.time_ns()
        self.small: SmallFile | None = None
        self.digest: hashing.PartDigest | None = None

    def take(self, read: Read) -> None:
        content, identity, folder, digest = read
        self.small = SmallFile(self.name, SourceIdentity(*identity), content, before_ns=self._before_ns, folder=folder)
        if digest is not None:
            self.digest = hashing.PartDigest(*digest, len(content))


class NativeFiles(NativeService["_Reading | Receiver[Found]"]):
    """The native threads that read and identify the files of one client, on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, digest_above=HASHED_IN_LANES_BYTES, at_once=TAKEN_AT_ONCE)

    def read(self, path: str | os.PathLike[str], max_bytes: int) -> asyncio.Future[ReadFile | None]:
        """Read and hash a file of 1 to ``max_bytes`` bytes; None if it has to be opened in another way."""
        future: asyncio.Future[ReadFile | None] = self._loop.create_future()
        self.begin_read(path, max_bytes, future)
        return future

    def begin_read(self, path: str | os.PathLike[str], max_bytes: int, future: Receiver[ReadFile | None]) -> None:
        """Read a file as `read` does. ``future`` gets the outcome, perhaps before this returns."""
        now = self._begin()
        name = os.fsdecode(path)
        try:
            self._service.read(os.fsencode(name), max_bytes, now, _Reading(name, future))
        except ValueError:
            future.set_result(None)  # a null byte, or characters that no path has
        except RuntimeError as error:
            raise none_to_be_had(error) from error

    def identify(self, path: str) -> asyncio.Future[Found]:
        """What there is at an absolute path."""
        future: asyncio.Future[Found] = self._loop.create_future()
        self.begin_identify(path, future)
        return future

    def begin_identify(self, path: str, future: Receiver[Found]) -> None:
        """Identify a file as `identify` does. ``future`` gets the outcome."""
        now = self._begin()
        try:
            self._service.identify(os.fsencode(path), now, future)
        except RuntimeError as error:
            raise none_to_be_had(error) from error

    def _take(self, done: Sequence[tuple[_Reading | Receiver[Found], Any]]) -> None:
        read: list[_Reading] = []
        for owner, outcome in done:
            if isinstance(owner, _Reading):
                if owner.future.done():
                    continue  # the caller was cancelled
                if isinstance(outcome, tuple) and len(outcome) == 4:
                    owner.take(outcome)
                    read.append(owner)
                else:
                    owner.future.set_result(None)
            elif not owner.done():
                owner.set_result(_found(outcome))
        if read:
            _hash(read)


def _found(outcome: object) -> Found:
    if isinstance(outcome, int):
        return OSError(outcome, os.strerror(outcome))
    assert isinstance(outcome, tuple)
    return SourceIdentity(*outcome)


def _hash(read: list[_Reading]) -> None:
    """Hash side by side what the threads have not hashed, and hand all of it over."""
    unhashed = [(reading, reading.small) for reading in read if reading.small and reading.digest is None]
    try:
        digests = hashing.hash_parts([small.content for _, small in unhashed])
    except Exception as error:
        for reading, _ in unhashed:
            reading.future.set_exception(error)  # nobody may wait for ever
        unhashed = []
        digests = []
    for (reading, _), digest in zip(unhashed, digests, strict=True):
        reading.digest = digest
    for reading in read:
        if reading.small is not None and reading.digest is not None:
            reading.future.set_result((reading.small, reading.digest))
