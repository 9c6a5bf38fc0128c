"""An event loop in a thread of its own, for calls from threads that have none."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from cosxfer.errors import CosxferError

T = TypeVar("T")

CLEAN_UP_SECONDS = 30.0
"""How long an interrupted call may take to clean up behind itself."""

EXIT_SECONDS = 5.0
"""The same for what is under way when the interpreter ends, or when nobody holds the client any more: a server that
does not answer holds the process no longer. What was not aborted by then stays on the server."""

logger = logging.getLogger("cosxfer")


class LoopThread:
    """Runs coroutines on an event loop in a daemon thread, which begins with the first one."""

    def __init__(self, *, name: str, at_end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """``at_end`` closes what the coroutines have opened; it may be called when that was done already."""
        self._name = name
        self._at_end = at_end
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self.closed = False

    @property
    def forked(self) -> bool:
        """Whether this is a child of the process that the thread runs in."""
        return os.getpid() != self._process

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run ``call`` to its end and return its result. KeyboardInterrupt cancels it and waits until it has ended."""
        ended = threading.Event()

        async def main() -> T:
            try:
                return await call
            finally:
                ended.set()

        try:
            self._check_process()
        except BaseException:
            call.close()
            raise
        # Under the lock: close() in another thread comes before, or ends the call; between the two it would hang.
        with self._lock:
            try:
                loop = self._ready()
            except BaseException:
                call.close()
                raise
            future = asyncio.run_coroutine_threadsafe(main(), loop)
        try:
            return future.result()
        except CancelledError as error:
            raise CosxferError("the client was closed during the call") from error
        except BaseException:
            # Either the call's own error, and it has ended; or an interrupt, and it must not go on behind our back.
            if not ended.is_set() and future.cancel():
                ended.wait(CLEAN_UP_SECONDS)
            raise

    def started(self) -> asyncio.AbstractEventLoop:
        """The event loop, running."""
        self._check_process()
        with self._lock:
            return self._ready()

    def close(self) -> None:
        """End the thread; what still runs in it is cancelled."""
        with self._lock:
            self.closed = True
            finalizer, self._finalizer = self._finalizer, None
        if finalizer is not None and finalizer.detach() is not None:
            assert self._loop is not None
            assert self._thread is not None
            _stop(self._loop, self._thread, self._process, CLEAN_UP_SECONDS)

    def _check_process(self) -> None:
        # Before the lock, which another thread may have held at the fork, and which nobody gives back then.
        if self.forked:
            raise CosxferError("the client was made before this process was forked; make a new one in the child")

    def _ready(self) -> asyncio.AbstractEventLoop:
        if self.closed:
            raise CosxferError("the client is closed; make a new one")
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_serve, args=(self._loop, self._at_end), name=self._name, daemon=True
            )
            self._thread.start()
            self._finalizer = weakref.finalize(self, _stop, self._loop, self._thread, self._process, EXIT_SECONDS)
        if threading.current_thread() is self._thread:
            raise CosxferError("a callback cannot call the client it came from: it would wait for itself")
        return self._loop


def _serve(loop: asyncio.AbstractEventLoop, at_end: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.set_event_loop(loop)
    try:
        while True:
            try:
                loop.run_forever()
                break
            except (KeyboardInterrupt, SystemExit):
                continue  # from a user's callback; its task carries it to the caller, the other calls go on
    finally:
        loop.run_until_complete(_end(at_end))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _end(at_end: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Close in good order what was not closed, then cancel whatever is left."""
    try:
        async with asyncio.timeout(CLEAN_UP_SECONDS):
            await at_end()
    except Exception:
        logger.debug("closing at the end failed", exc_info=True)
    while pending := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending)


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread, process: int, seconds: float) -> None:
    if os.getpid() == process and not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)
        if threading.current_thread() is not thread:
            thread.join(seconds)
