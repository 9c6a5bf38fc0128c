"""An event loop in its own thread, for blocking calls from other threads."""

from __future__ import annotations

import asyncio
import atexit
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

from cosxfer.errors import CosxferError
from cosxfer.foreign import clean_logger
from cosxfer.threads import SIGNAL_SECONDS, none_to_be_had

T = TypeVar("T")

CLEAN_UP_SECONDS = 30.0
"""How long an interrupted call may take to clean up."""

EXIT_SECONDS = 5.0
"""The same when the interpreter exits or the client is garbage-collected, so that a silent server cannot delay the
exit. Uploads that are not aborted by then stay on the server."""

logger = clean_logger("cosxfer")


_alive: weakref.WeakSet[LoopThread] = weakref.WeakSet()


def _end_what_is_under_way() -> None:
    """End busy clients at exit. Idle ones stay open for exit handlers that were registered before this one."""
    for thread in list(_alive):
        thread.end_if_busy()


class LoopThread:
    """Runs coroutines on an event loop in a daemon thread. The first call starts the thread."""

    def __init__(self, *, name: str, at_end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """``at_end`` closes the resources of the coroutines. It may be called more than once."""
        self._name = name
        self._at_end = at_end
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._submitted: list[_Waiting[Any]] = []
        """Calls that the loop starts in its next turn."""
        self.closed = False

    @property
    def forked(self) -> bool:
        """Whether this process was forked from the one that the thread runs in."""
        return os.getpid() != self._process

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run ``call`` and return its result. KeyboardInterrupt cancels it and waits until it has ended."""
        waiting = _Waiting(call)
        try:
            self._check_process()
        except BaseException:
            call.close()
            raise
        # Hold the lock: close() in another thread then comes before this call or ends it. Otherwise it could hang.
        with self._lock:
            try:
                loop = self._ready()
            except BaseException:
                call.close()
                raise
            try:
                self._submit(loop, waiting)
            except RuntimeError:
                call.close()
                raise CosxferError("the client is closed; create a new one") from None
        try:
            waiting.wait()
        except BaseException:
            # After an interrupt, the call must not continue. (On a closed loop it does not run.)
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(waiting.cancel)
                waiting.wait(CLEAN_UP_SECONDS)
            raise
        return waiting.outcome()

    def _submit(self, loop: asyncio.AbstractEventLoop, waiting: _Waiting[Any]) -> None:
        """Start a call on the loop, under the lock. The loop is woken once for all calls that come before its turn."""
        if not self._submitted:
            loop.call_soon_threadsafe(self._start_submitted, loop)
        elif loop.is_closed():
            raise RuntimeError
        self._submitted.append(waiting)

    def _start_submitted(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the calls that have come. Runs on the loop."""
        with self._lock:
            submitted, self._submitted = self._submitted, []
        for waiting in submitted:
            waiting.start(loop)

    def started(self) -> asyncio.AbstractEventLoop:
        """Return the running event loop."""
        self._check_process()
        with self._lock:
            return self._ready()

    def close(self) -> None:
        """End the thread and cancel everything that still runs in it."""
        with self._lock:
            self.closed = True
            finalizer, self._finalizer = self._finalizer, None
        if finalizer is not None and finalizer.detach() is not None:
            assert self._loop is not None
            assert self._thread is not None
            _stop(self._loop, self._thread, self._process, CLEAN_UP_SECONDS)

    def end_if_busy(self) -> None:
        """End the thread cleanly if a call is running in it."""
        loop = self._loop
        if loop is None or self.closed or self.forked or self._finalizer is None:
            return
        busy = _Waiting(_is_busy())
        try:
            loop.call_soon_threadsafe(busy.start, loop)
        except RuntimeError:
            return  # it has ended
        busy.wait(EXIT_SECONDS)
        if not busy.ended or busy.outcome():
            self._finalizer()

    def _check_process(self) -> None:
        # Before taking the lock: another thread may have held it at the fork, and then nobody releases it.
        if self.forked:
            raise CosxferError("the client was created before this process was forked; create a new one in the child")

    def _ready(self) -> asyncio.AbstractEventLoop:
        if self.closed:
            raise CosxferError("the client is closed; create a new one")
        if self._loop is None:
            self._loop, self._thread = _started_loop(self._name, self._at_end)
            self._finalizer = weakref.finalize(self, _stop, self._loop, self._thread, self._process, EXIT_SECONDS)
            self._finalizer.atexit = False
            _alive.add(self)
        if threading.current_thread() is self._thread:
            raise CosxferError("a callback on the client's event loop cannot call the client: it would wait for itself")
        return self._loop


atexit.register(_end_what_is_under_way)


class _Waiting(Generic[T]):
    """Connects a call on the loop with the thread that waits for it. A lock is cheaper than two futures."""

    __slots__ = ("_call", "_ended", "_error", "_result", "_running", "_task")

    _result: T
    _task: asyncio.Task[None]

    def __init__(self, call: Coroutine[Any, Any, T]) -> None:
        self._call = call
        self._error: BaseException | None = None
        self._running = threading.Lock()
        self._running.acquire()
        self._ended = False

    @property
    def ended(self) -> bool:
        return self._ended

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the call. Runs on the loop."""
        self._task = loop.create_task(self._run())
        self._task.add_done_callback(self._done)

    def cancel(self) -> None:
        """Cancel the call. Runs on the loop, after `start`."""
        self._task.cancel()

    def wait(self, seconds: float = -1) -> None:
        """Wait in the thread until the call has ended. An interrupt is raised here, within `SIGNAL_SECONDS`.

        Python looks for signals, and then waits for the lock. A signal between the two is only seen when the wait ends.
        """
        deadline = math.inf if seconds < 0 else time.monotonic() + seconds
        while not self._ended and (left := deadline - time.monotonic()) > 0:
            if self._running.acquire(timeout=min(left, SIGNAL_SECONDS)):
                return

    def outcome(self) -> T:
        """Return the result of a call that has ended, or raise its error."""
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            if isinstance(error, asyncio.CancelledError):
                raise CosxferError("the client was closed during the call") from error
            raise error
        finally:
            del error  # its traceback references this frame

    async def _run(self) -> None:
        try:
            self._result = await self._call
        except BaseException as error:
            # Also KeyboardInterrupt and SystemExit from a user's callback: they go to the caller, not to the loop.
            self._error = error
        self._end()

    def _done(self, task: asyncio.Task[None]) -> None:
        if not self._ended:
            # The task was cancelled before it started, because the loop is ending.
            self._call.close()
            self._error = asyncio.CancelledError()
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._running.release()


def _started_loop(
    name: str, at_end: Callable[[], Coroutine[Any, Any, None]]
) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    try:
        loop = asyncio.new_event_loop()
    except OSError as error:
        raise CosxferError(f"cannot create an event loop: {error.strerror}") from error
    thread = threading.Thread(target=_serve, args=(loop, at_end), name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        loop.close()
        raise none_to_be_had(error) from error
    return loop, thread


def _serve(loop: asyncio.AbstractEventLoop, at_end: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.set_event_loop(loop)
    try:
        while True:
            try:
                loop.run_forever()
                break
            except (KeyboardInterrupt, SystemExit):
                continue  # from a user's callback: its task passes it to the caller, and other calls continue
    finally:
        loop.run_until_complete(_end(at_end))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _is_busy() -> bool:
    return len(asyncio.all_tasks()) > 1  # besides this one


async def _end(at_end: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Close the client cleanly, then cancel everything that still runs."""
    try:
        async with asyncio.timeout(CLEAN_UP_SECONDS):
            await at_end()
    except Exception:
        logger.debug("closing failed", exc_info=True)
    while pending := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending)


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread, process: int, seconds: float) -> None:
    if os.getpid() == process and not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)
        if threading.current_thread() is not thread:
            thread.join(seconds)
