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
from collections import deque

from cosxfer._native import hashing
from cosxfer.engine.upload.digests import HASHED_AT_ONCE, SMALL_BYTES
from cosxfer.errors import CosxferError
from cosxfer.sources import FileSource, SmallFile
from cosxfer.threads import Pool, submit

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
        self._executor = Pool(MAX_THREADS, "cosxfer-open")
        self._lock = threading.Lock()
        self._waiting: deque[_Opening | _Look] = deque()
        self._done: deque[_Opening | _Look] = deque()
        self._threads = 0
        self._width = 1
        """How many threads there may be."""
        self._slow_until = 0.0
        self._woken = False
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

    def _enqueue(self, work: _Opening | _Look, loop: asyncio.AbstractEventLoop) -> None:
        if self._width > 1 and work.since > self._slow_until:
            self._width = 1
        with self._lock:
            self._waiting.append(work)
        self._start_threads(loop, 1)
        if self._timer is None:
            self._timer = loop.call_later(PATIENCE_SECONDS, self._help_out, loop)

    def close(self) -> None:
        """Open nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _start_threads(self, loop: asyncio.AbstractEventLoop, wanted: int) -> None:
        with self._lock:
            count = max(0, min(wanted, self._width - self._threads))
            self._threads += count
        for _ in range(count):
            self._start_thread(loop)

    def _start_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            submit(self._executor, self._work, loop)
        except CosxferError as error:
            # There can be no more threads, or the interpreter is ending. One that is there goes on.
            with self._lock:
                self._threads -= 1
                left = list(self._waiting) if not self._threads else []
                for _ in left:
                    self._waiting.popleft()
            for work in left:
                work.error = error
                work.deliver()

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                work = self._waiting.popleft()
            work.run()
            with self._lock:
                self._done.append(work)
                wake, self._woken = not self._woken, True
            if wake:
                try:
                    loop.call_soon_threadsafe(self._look, loop)
                except RuntimeError:
                    return  # the loop is closed, and nobody waits

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take over what the threads have done."""
        with self._lock:
            done = [self._done.popleft() for _ in range(min(LOOKED_AT_ONCE, len(self._done)))]
            self._woken = bool(self._done)
        if self._woken:
            loop.call_soon(self._look, loop)
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

    def _help_out(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start more threads where a file has waited for too long."""
        self._timer = None
        now = loop.time()
        with self._lock:
            waiting = len(self._waiting)
            oldest = self._waiting[0].since if waiting else now
        if not waiting:
            return
        if now - oldest >= PATIENCE_SECONDS:
            self._width = min(2 * self._width, MAX_THREADS)
            self._slow_until = now + SLOW_SECONDS
            self._start_threads(loop, waiting)
        self._timer = loop.call_later(PATIENCE_SECONDS, self._help_out, loop)
