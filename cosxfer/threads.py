"""Runs work in threads. If no thread can be started, the call fails and the work never runs.

These pools replace those of ``concurrent.futures`` (and an event loop's default executor), which accept no work after
the main thread has ended. Other threads, exit handlers and logging may still upload then.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

from cosxfer.errors import CosxferError

MAX_WAITING = 128
MAX_SHARED = 32
SIGNAL_SECONDS = 0.5
"""How long a wait of a blocking call may overlook a signal."""

import_lock = threading.RLock()
"""Hold it while importing a module at its first use. A fork waits for it: a child that was forked while another thread
imports a module could never import that one."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=import_lock.acquire, after_in_parent=import_lock.release, after_in_child=import_lock.release
    )

R = TypeVar("R")
Arguments = TypeVarTuple("Arguments")


class Pool(Executor):
    """Up to ``max_workers`` daemon threads, started when needed."""

    def __init__(self, max_workers: int, name: str) -> None:
        self._max_workers = max_workers
        self._name = name
        self._state = _State()
        # The threads reference only the state, so an unreferenced pool ends. It stays at exit, when it may be needed.
        weakref.finalize(self, _State.end, self._state).atexit = False

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Call ``fn`` in a thread. Raises RuntimeError if no thread can be started, or after shutdown."""
        future: Future[R] = Future()
        state = self._state
        with state.lock:
            if state.ended:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if state.idle <= len(state.work) and state.threads < self._max_workers:
                self._start_thread()
            state.work.append((future, partial(fn, *args, **kwargs)))
            state.changed.notify()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more work. Waiting work is finished or cancelled."""
        self._state.end(cancel=cancel_futures)
        if wait:
            with self._state.lock:
                while self._state.threads:
                    self._state.changed.wait()

    def forget_threads(self) -> None:
        """Reset in a forked child: the threads are gone, and one of them may have held the lock."""
        self._state = _State()

    def _start_thread(self) -> None:
        """Start a thread. The caller holds the lock."""
        state = self._state
        thread = threading.Thread(target=state.serve, name=f"{self._name}_{state.threads}", daemon=True)
        state.threads += 1
        try:
            thread.start()
        except RuntimeError:
            state.threads -= 1
            raise


class _State:
    """The state that the threads of a pool share."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # reentrant: garbage collection may end the pool while the lock is held
        self.changed = threading.Condition(self.lock)
        self.work: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self.threads = 0
        self.idle = 0
        self.ended = False

    def end(self, *, cancel: bool = True) -> None:
        with self.lock:
            self.ended = True
            dropped = list(self.work) if cancel else []
            for _ in dropped:
                self.work.popleft()
            self.changed.notify_all()
        for future, _ in dropped:
            future.cancel()

    def serve(self) -> None:
        """The loop of a thread."""
        while (taken := self._take()) is not None:
            future, work = taken
            del taken
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:
                    future.set_exception(error)
            del future, work  # release them before waiting for the next work

    def _take(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self.lock:
            self.idle += 1
            while not self.work and not self.ended:
                self.changed.wait()
            self.idle -= 1
            if self.work:
                return self.work.popleft()
            self.threads -= 1
            self.changed.notify_all()
            return None


class Workers(Pool):
    """The threads of one client: one computing thread per processor, and threads in ``waiting`` that may block.

    So a slow body, such as a pipe, delays neither hashing nor the event loop's executor.
    """

    def __init__(self) -> None:
        super().__init__(os.cpu_count() or 1, "cosxfer-hash")
        self.waiting = Pool(MAX_WAITING, "cosxfer-body")

    def end(self) -> None:
        """Accept no more work and do not wait."""
        for executor in (self, self.waiting):
            executor.shutdown(wait=False, cancel_futures=True)


_SHARED = Pool(MAX_SHARED, "cosxfer-thread")
"""Shared by all clients of the process, for work without a client's pool."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_SHARED.forget_threads)


def submit(executor: Executor, function: Callable[[*Arguments], R], *arguments: *Arguments) -> Future[R]:
    """Call ``function`` in a thread of ``executor``. Raises `CosxferError` if no thread can be started.

    An executor of ``concurrent.futures`` that cannot start a thread keeps the work queued and may run it after the
    caller has closed the file that it reads. This function withdraws such work.
    """
    return _submitted(executor.submit, partial(function, *arguments))


def in_thread(
    executor: Executor | None, function: Callable[[*Arguments], R], *arguments: *Arguments
) -> asyncio.Future[R]:
    """Like `submit`, for the event loop, in the caller's context. None selects the threads that all clients share."""
    work = partial(copy_context().run, function, *arguments)
    return asyncio.wrap_future(_submitted((_SHARED if executor is None else executor).submit, work))


def result_of(future: Future[R], seconds: float | None = None) -> R:
    """Wait as ``future.result(seconds)`` does; an interrupt is raised within `SIGNAL_SECONDS`.

    Python looks for signals, and then waits for a lock. A signal between the two is only seen when the wait ends.
    """
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    while not future.done():
        left = deadline - time.monotonic()
        try:
            return future.result(max(0.0, min(left, SIGNAL_SECONDS)))
        except TimeoutError:
            if left <= SIGNAL_SECONDS and not future.done():
                raise
    return future.result()


async def finished(work: asyncio.Future[R]) -> R:
    """Return the result of ``work``. If this is cancelled, it raises that when ``work`` has ended."""
    await settled(work)
    return work.result()


async def settled(future: asyncio.Future[Any]) -> None:
    """Wait until ``future`` is done, whatever its result. Then raise a cancellation that arrived meanwhile.

    A caller may be cancelled more than once, for example by its connection and by the end of the event loop. ``await``
    would return at the first cancellation, but the thread would continue.
    """
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if not future.cancelled():
        future.exception()  # marks the exception as retrieved
    if cancelled is not None:
        raise cancelled


def none_to_be_had(error: RuntimeError) -> CosxferError:
    """Return the error for a thread that cannot be started."""
    why = ""
    if "start new thread" in str(error):
        why = ": the process is at its limit of threads or memory (ulimit -u and -v, or the container's limits)"
    if "interpreter shutdown" in str(error):
        why = ": the program is ending; finish transfers before it ends"
    return CosxferError(f"no thread is available, {error}{why}")


def _submitted(start: Callable[[Callable[[], None]], Future[None]], work: Callable[[], R]) -> Future[R]:
    outcome: Future[R] = Future()

    def run() -> None:
        if outcome.set_running_or_notify_cancel():
            try:
                outcome.set_result(work())
            except BaseException as error:
                outcome.set_exception(error)

    def ended(started: Future[None]) -> None:
        # The executor was shut down before it started this work. The caller is still waiting.
        if started.cancelled() and outcome.set_running_or_notify_cancel():
            outcome.set_exception(CosxferError("the client was closed during the call"))

    try:
        started = start(run)
    except RuntimeError as error:
        # A busy thread may have taken the work meanwhile; then it runs.
        if outcome.cancel():
            raise none_to_be_had(error) from error
    else:
        started.add_done_callback(ended)
    return outcome
