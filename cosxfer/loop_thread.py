"""An event loop in a thread of its own, for calls from threads that have none."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

from cosxfer.errors import CosxferError
from cosxfer.foreign import clean_logger
from cosxfer.threads import none_to_be_had

T = TypeVar("T")

CLEAN_UP_SECONDS = 30.0
"""How long an interrupted call may take to clean up behind itself."""

EXIT_SECONDS = 5.0
"""The same for what is under way when the interpreter ends, or when nobody holds the client any more: a server that
does not answer holds the process no longer. What was not aborted by then stays on the server."""

logger = clean_logger("cosxfer")


_alive: weakref.WeakSet[LoopThread] = weakref.WeakSet()


def _end_what_is_under_way() -> None:
    """At exit. Exit handlers that were registered before this one may still use the clients that are idle."""
    for thread in list(_alive):
        thread.end_if_busy()


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
        waiting = _Waiting(call)
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
            try:
                loop.call_soon_threadsafe(waiting.start, loop)
            except RuntimeError:
                call.close()
                raise CosxferError("the client is closed; make a new one") from None
        try:
            waiting.wait()
        except BaseException:
            # An interrupt: the call must not go on behind our back. (It does not on a loop that is closed.)
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(waiting.cancel)
                waiting.wait(CLEAN_UP_SECONDS)
            raise
        return waiting.outcome()

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

    def end_if_busy(self) -> None:
        """End the thread, in good order, if anything is under way in it."""
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
        # Before the lock, which another thread may have held at the fork, and which nobody gives back then.
        if self.forked:
            raise CosxferError("the client was made before this process was forked; make a new one in the child")

    def _ready(self) -> asyncio.AbstractEventLoop:
        if self.closed:
            raise CosxferError("the client is closed; make a new one")
        if self._loop is None:
            self._loop, self._thread = _begun(self._name, self._at_end)
            self._finalizer = weakref.finalize(self, _stop, self._loop, self._thread, self._process, EXIT_SECONDS)
            self._finalizer.atexit = False
            _alive.add(self)
        if threading.current_thread() is self._thread:
            raise CosxferError("a callback cannot call the client it came from: it would wait for itself")
        return self._loop


atexit.register(_end_what_is_under_way)


class _Waiting(Generic[T]):
    """A call on the loop and the thread that waits for it: a lock, where futures of both worlds would cost more."""

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
        """On the loop."""
        self._task = loop.create_task(self._run())
        self._task.add_done_callback(self._done)

    def cancel(self) -> None:
        """On the loop, after `start`."""
        self._task.cancel()

    def wait(self, seconds: float = -1) -> None:
        """In the thread: wait until the call has ended; an interrupt is raised here."""
        if not self._ended:
            self._running.acquire(timeout=seconds)

    def outcome(self) -> T:
        """The result of a call that has ended; raises its error."""
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            if isinstance(error, asyncio.CancelledError):
                raise CosxferError("the client was closed during the call") from error
            raise error
        finally:
            del error  # its traceback holds this frame

    async def _run(self) -> None:
        try:
            self._result = await self._call
        except BaseException as error:
            # Also KeyboardInterrupt and SystemExit, from a user's callback: they are the caller's, not the loop's.
            self._error = error
        self._end()

    def _done(self, task: asyncio.Task[None]) -> None:
        if not self._ended:
            # Cancelled before it began: the loop is coming to its end.
            self._call.close()
            self._error = asyncio.CancelledError()
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._running.release()


def _begun(
    name: str, at_end: Callable[[], Coroutine[Any, Any, None]]
) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    try:
        loop = asyncio.new_event_loop()
    except OSError as error:
        raise CosxferError(f"no event loop can be made: {error.strerror}") from error
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
                continue  # from a user's callback; its task carries it to the caller, the other calls go on
    finally:
        loop.run_until_complete(_end(at_end))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _is_busy() -> bool:
    return len(asyncio.all_tasks()) > 1  # besides this one


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
