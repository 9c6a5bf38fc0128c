"""Reads and checks small files in threads of native code, which never wait for the GIL.

A way to a Python thread and back costs more than the rest of the upload of a small file. The native threads hand over
all files that are done in one call on the event loop. What they refuse is opened in a Python thread instead.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from cosxfer._native import FileService, hashing
from cosxfer.engine.upload.digests import HASHED_AT_ONCE
from cosxfer.engine.upload.thread_count import ThreadCount
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


class _Reading:
    """A file that is to be read."""

    __slots__ = ("_before_ns", "digest", "future", "name", "small")

    def __init__(self, name: str, future: asyncio.Future[ReadFile | None]) -> None:
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


class NativeFiles:
    """The native threads of one client, on one event loop.

    The event loop holds this object until `close` or `abandon` is called, which its owner must do.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Raises OSError if there is no descriptor, and NotImplementedError if ``loop`` cannot wait for one."""
        self._loop = loop
        self._process = os.getpid()
        self._ended = False
        self._service: FileService[_Reading | asyncio.Future[Found]] = FileService(
            hashing.digest_function, HASHED_IN_LANES_BYTES
        )
        self._count = ThreadCount(self._service)
        try:
            loop.add_reader(self._service.fileno(), self._deliver)
        except BaseException:
            self._service.close()
            raise

    def read(self, path: str | os.PathLike[str], max_bytes: int) -> asyncio.Future[ReadFile | None]:
        """Read and hash a file of 1 to ``max_bytes`` bytes; None if it has to be opened in another way."""
        now = self._begin()
        future: asyncio.Future[ReadFile | None] = self._loop.create_future()
        name = os.fsdecode(path)
        try:
            self._service.read(os.fsencode(name), max_bytes, now, _Reading(name, future))
        except ValueError:
            future.set_result(None)  # a null byte, or characters that no path has
        except RuntimeError as error:
            raise none_to_be_had(error) from error
        return future

    def identify(self, path: str) -> asyncio.Future[Found]:
        """What there is at an absolute path."""
        now = self._begin()
        future: asyncio.Future[Found] = self._loop.create_future()
        try:
            self._service.identify(os.fsencode(path), now, future)
        except RuntimeError as error:
            raise none_to_be_had(error) from error
        return future

    def close(self) -> None:
        """Take no more files; on the event loop. The threads end when those that wait are done."""
        self._ended = True
        self._count.stop()
        if not self._service.pending:
            self._release()

    def abandon(self) -> None:
        """Nobody waits any more: end the threads. May be called from any thread."""
        if os.getpid() != self._process:
            return  # the threads and the event loop belong to the parent process
        if self._loop.is_running() and asyncio._get_running_loop() is not self._loop:
            with suppress(RuntimeError):  # it was closed just now
                self._loop.call_soon_threadsafe(self._release)
        else:
            self._release()

    def _begin(self) -> float:
        if self._ended:
            raise none_to_be_had(RuntimeError("cannot schedule new futures after shutdown"))
        now = self._loop.time()
        self._count.file_comes(self._loop, now)
        return now

    def _release(self) -> None:
        self._ended = True
        self._count.stop()
        if self._service.closed or os.getpid() != self._process:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(self._service.fileno())
        self._service.close()

    def _deliver(self) -> None:
        """On the loop: take over what the threads have done."""
        read: list[_Reading] = []
        for owner, outcome in self._service.collect(TAKEN_AT_ONCE):
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
        if self._ended and not self._service.pending:
            self._release()


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
