"""Opens and checks files in Python threads: those that the native threads refuse, or all if there are none of these.

One thread does the work of one file after another, and wakes the loop once for all that are done by then. Small files
are read whole when they are opened.
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
from cosxfer.engine.thread_count import ThreadCount
from cosxfer.engine.upload.closing import close_later
from cosxfer.engine.upload.native_files import HASHED_IN_LANES_BYTES, TAKEN_AT_ONCE
from cosxfer.errors import CosxferError
from cosxfer.sources import FileSource, SmallFile
from cosxfer.threads import none_to_be_had

Opened = tuple[FileSource | SmallFile, hashing.PartDigest | None]


class _Look:
    """A file that is to be compared with what it was when it was opened."""

    __slots__ = ("_file", "error", "future", "same", "since")

    def __init__(self, file: SmallFile | FileSource, future: asyncio.Future[bool], since: float) -> None:
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
                close_later(self.source)  # the caller was cancelled
        elif self.error is not None:
            self.future.set_exception(self.error)
        else:
            assert self.source is not None
            self.future.set_result((self.source, self.digest))


class FileThreads:
    """The Python threads of one client; used from one event loop."""

    def __init__(self) -> None:
        self._line = _Line()
        # The threads hold the line alone, so that an object that nobody holds ends.
        weakref.finalize(self, _Line.end, self._line).atexit = False
        self._count = ThreadCount(self._line)

    async def open(self, path: str | os.PathLike[str], *, small_bytes: int) -> Opened:
        """Open a file; one of up to ``small_bytes`` is read and hashed. Raises what `FileSource.open` raises."""
        loop = asyncio.get_running_loop()
        opening = _Opening(path, small_bytes, loop.create_future(), loop.time())
        self._enqueue(opening, loop)
        try:
            return await opening.future
        except asyncio.CancelledError:
            if opening.future.done() and not opening.future.cancelled() and opening.source is not None:
                close_later(opening.source)  # it was delivered in the moment in which the caller was cancelled
            raise

    async def check(self, file: SmallFile | FileSource) -> bool:
        """Return what ``file.check()`` returns, or raise what it raises."""
        loop = asyncio.get_running_loop()
        look = _Look(file, loop.create_future(), loop.time())
        self._enqueue(look, loop)
        return await look.future

    def close(self) -> None:
        """Open nothing any more."""
        self._count.stop()
        self._line.end()

    def _enqueue(self, work: _Opening | _Look, loop: asyncio.AbstractEventLoop) -> None:
        self._line.add(work, loop)
        self._count.file_comes(loop, work.since)


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
        try:
            return self._waiting[0].since
        except IndexError:
            return None

    def add(self, work: _Opening | _Look, loop: asyncio.AbstractEventLoop) -> None:
        """Let ``work`` wait for a thread. Raises `CosxferError` if there is none and none can be started."""
        with self._lock:
            if self._ended:
                raise none_to_be_had(RuntimeError("cannot schedule new futures after shutdown"))
            if not self.threads:
                self._start(loop)
            self._waiting.append(work)
        self._tokens.put(True)

    def set_width(self, width: int) -> None:
        """Allow ``width`` threads, and start those for which files wait.

        If a thread cannot be started, those that there are go on.
        """
        self.width = width
        with self._lock, suppress(CosxferError):
            for work in list(self._waiting)[: max(0, width - self.threads)]:
                self._start(work.future.get_loop())

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
            done = [self.done.popleft() for _ in range(min(TAKEN_AT_ONCE, len(self.done)))]
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
