"""File system calls for many files, off the event loop: opening them, and looking whether they are still the same.

A slow file system must not stall the caller's loop, but a way to a thread and back for each small file would cost more
than the rest of its upload. So one thread does the work of one file after another, and wakes the loop once for all that
are done by then. Small files are read whole when they are opened. If a file system keeps the thread waiting, other
threads help out.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from contextlib import suppress
from queue import SimpleQueue

from cosxfer._native import hashing
from cosxfer.engine.upload.digests import HASHED_AT_ONCE, SMALL_BYTES
from cosxfer.errors import CosxferError
from cosxfer.sources import FileSource, SmallFile
from cosxfer.threads import none_to_be_had

PATIENCE_SECONDS = 0.01
"""How long a file may wait for a thread before there are twice as many."""

SLOW_SECONDS = 1.0
"""How long there are as many afterwards."""

MAX_THREADS = 32

HASHED_IN_LANES_BYTES = 64 * 1024
"""Files up to this long are hashed on the loop, side by side with those that come in the same turn."""

LOOKED_AT_ONCE = HASHED_AT_ONCE
"""Files that are taken over before the event loop has another turn."""

Opened = tuple[FileSource | SmallFile, hashing.PartDigest | None]


class _Look:
    """A file that is to be compared with what it was when it was opened."""

    __slots__ = ("_file", "error", "future", "same", "since")

    def __init__(self, file: SmallFile, future: asyncio.Future[bool], since: float) -> None:
        self._file = file
        self.future = future
        self.since = since
        self.same = False
        self.error: BaseException | None = None

    def run(self) -> None:
        """In a thread."""
        try:
            self.same = self._file.check()
        except BaseException as error:
            self.error = error

    def deliver(self) -> None:
        """On the loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.same)


class _Opening:
    """A file that is to be opened, and its outcome."""

    __slots__ = ("digest", "error", "future", "path", "since", "small_bytes", "source")

    def __init__(
        self, path: str | os.PathLike[str], small_bytes: int, future: asyncio.Future[Opened], since: float
    ) -> None:
        self.path = path
        self.small_bytes = small_bytes
        self.future = future
        self.since = since
        self.source: FileSource | SmallFile | None = None
        self.digest: hashing.PartDigest | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """In a thread."""
        try:
            small = SmallFile.read(self.path, self.small_bytes) if self.small_bytes else None
            self.source = small or FileSource.open(self.path)
            if small is not None and small.size > HASHED_IN_LANES_BYTES:
                [self.digest] = hashing.hash_parts([small.content])
        except BaseException as error:
            self.error = error

    def deliver(self) -> None:
        """On the loop."""
        if self.future.done():
            if self.source is not None:
                self.source.close()  # whoever asked was cancelled
        elif self.error is not None:
            self.future.set_exception(self.error)
        else:
            assert self.source is not None
            self.future.set_result((self.source, self.digest))


class Opener:
    """Opens and checks the files of one client; used from one event loop."""

    def __init__(self) -> None:
        self._line = _Line()
        # The threads hold the line alone, so that an opener that nobody holds ends.
        weakref.finalize(self, _Line.end, self._line).atexit = False
        self._slow_until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def open(self, path: str | os.PathLike[str], *, small_bytes: int) -> Opened:
        """Open a file; one of up to ``small_bytes``, and of `SMALL_BYTES`, is read and hashed.

        Raises what `FileSource.open` raises.
        """
        loop = asyncio.get_running_loop()
        opening = _Opening(path, min(small_bytes, SMALL_BYTES), loop.create_future(), loop.time())
        self._enqueue(opening, loop)
        return await opening.future

    async def check(self, file: SmallFile) -> bool:
        """Return what ``file.check()`` returns, or raise what it raises."""
        loop = asyncio.get_running_loop()
        look = _Look(file, loop.create_future(), loop.time())
        self._enqueue(look, loop)
        return await look.future

    def close(self) -> None:
        """Open nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._line.end()

    def _enqueue(self, work: _Opening | _Look, loop: asyncio.AbstractEventLoop) -> None:
        line = self._line
        if line.width > 1 and work.since > self._slow_until:
            line.width = 1
        line.add(work, loop)
        if self._timer is None:
            self._timer = loop.call_later(PATIENCE_SECONDS, self._help_out, loop)

    def _help_out(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start more threads if a file has waited for too long."""
        self._timer = None
        line = self._line
        now = loop.time()
        oldest = line.oldest()
        if oldest is None:
            return
        if now - oldest >= PATIENCE_SECONDS:
            line.width = min(2 * line.width, MAX_THREADS)
            self._slow_until = now + SLOW_SECONDS
            line.widen(loop)
        self._timer = loop.call_later(PATIENCE_SECONDS, self._help_out, loop)


class _Line:
    """What the threads and the loop share: the files that wait, and those that are done.

    The threads stay, because starting one for each file costs more than the file. ``width`` is how many there may be; a
    thread beyond it ends after its file.
    """

    def __init__(self) -> None:
        self.width = 1
        self._lock = threading.Lock()
        self._waiting: deque[_Opening | _Look] = deque()
        self._tokens: SimpleQueue[bool] = SimpleQueue()
        """One True for each file that waits, and one False for each thread that is to end."""
        self.done: deque[_Opening | _Look] = deque()
        self.threads = 0
        self._woken = False
        self._ended = False

    def oldest(self) -> float | None:
        """Since when the oldest file waits; None if none waits."""
        with self._lock:
            return self._waiting[0].since if self._waiting else None

    def add(self, work: _Opening | _Look, loop: asyncio.AbstractEventLoop) -> None:
        """Let ``work`` wait for a thread. Raises `CosxferError` if there is none and none can be started."""
        with self._lock:
            if self._ended:
                raise none_to_be_had(RuntimeError("cannot schedule new futures after shutdown"))
            if not self.threads:
                self._start(loop)
            self._waiting.append(work)
        self._tokens.put(True)

    def widen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start as many threads as there may be, for those that wait. If there can be no more, those that are go on."""
        with self._lock, suppress(CosxferError):
            for _ in range(min(len(self._waiting), self.width - self.threads)):
                self._start(loop)

    def end(self) -> None:
        """Let the threads end; a file that has begun is finished."""
        with self._lock:
            self._ended = True
            threads = self.threads
        for _ in range(threads):
            self._tokens.put(False)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Under the lock."""
        thread = threading.Thread(target=self._work, args=(loop,), name=f"cosxfer-open_{self.threads}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise none_to_be_had(error) from error
        self.threads += 1

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._tokens.get():
            work = self._waiting.popleft()
            work.run()
            with self._lock:
                self.done.append(work)
                wake, self._woken = not self._woken, True
                surplus = self.threads > self.width and not self._waiting
                self.threads -= surplus
            del work
            if wake:
                try:
                    loop.call_soon_threadsafe(self._deliver, loop)
                except RuntimeError:
                    break  # the loop is closed, and nobody waits
            if surplus:
                return
        with self._lock:
            self.threads -= 1

    def _deliver(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the loop: take over what the threads have done."""
        with self._lock:
            done = [self.done.popleft() for _ in range(min(LOOKED_AT_ONCE, len(self.done)))]
            self._woken = bool(self.done)
        if self._woken:
            loop.call_soon(self._deliver, loop)
        unhashed = [
            (opening, source)
            for opening in done
            if isinstance(opening, _Opening)
            and isinstance(source := opening.source, SmallFile)
            and not (opening.digest or opening.future.done())
        ]
        try:
            digests = hashing.hash_parts([source.content for _, source in unhashed])
            for (opening, _), digest in zip(unhashed, digests, strict=True):
                opening.digest = digest
        except Exception as error:
            for opening, _ in unhashed:
                opening.error = error  # nobody may wait for ever
        for work in done:
            work.deliver()
