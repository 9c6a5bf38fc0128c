"""Work for threads, of which a process or its container may be allowed few. What finds no thread fails, and never runs.

The pools are our own. Those of ``concurrent.futures``, an event loop's default one among them, take no more work as
soon as the main thread ends, though threads of the program, its exit handlers and its logging still upload.
"""

from __future__ import annotations

import asyncio
import os
import threading
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

R = TypeVar("R")
Arguments = TypeVarTuple("Arguments")


class Pool(Executor):
    """Up to ``max_workers`` daemon threads, begun as they are needed."""

    def __init__(self, max_workers: int, name: str) -> None:
        self._max_workers = max_workers
        self._name = name
        self._state = _State()
        # The threads hold the state alone: a pool that nobody holds ends. Not at exit, where it is still of use.
        weakref.finalize(self, _State.end, self._state).atexit = False

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Call ``fn`` in a thread. Raises RuntimeError if there is none and none can be started, or after the end."""
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
        """Begin nothing any more. What waits is done first, or cancelled."""
        self._state.end(cancel=cancel_futures)
        if wait:
            with self._state.lock:
                while self._state.threads:
                    self._state.changed.wait()

    def forget_threads(self) -> None:
        """In a child after a fork, where the threads are gone, and one of them may have held the lock."""
        self._state = _State()

    def _start_thread(self) -> None:
        """Under the lock."""
        state = self._state
        thread = threading.Thread(target=state.serve, name=f"{self._name}_{state.threads}", daemon=True)
        state.threads += 1
        try:
            thread.start()
        except RuntimeError:
            state.threads -= 1
            raise


class _State:
    """What the threads of a pool share."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # the garbage may be collected, and the pool end, while it is held
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
        """A thread's life."""
        while (taken := self._take()) is not None:
            future, work = taken
            del taken
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:
                    future.set_exception(error)
            del future, work  # not until the next work comes

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
    """The threads of one client: these compute, as many as there are processors; those in ``waiting`` may stand still.

    A body that is long in coming, such as what is read from a pipe, holds up neither them nor the event loop's own.
    """

    def __init__(self) -> None:
        super().__init__(os.cpu_count() or 1, "cosxfer-hash")
        self.waiting = Pool(MAX_WAITING, "cosxfer-body")

    def end(self) -> None:
        """Begin nothing any more, and wait for nobody."""
        for executor in (self, self.waiting):
            executor.shutdown(wait=False, cancel_futures=True)


_SHARED = Pool(MAX_SHARED, "cosxfer-thread")
"""Where a client has no pool of its own at hand: for all clients of the process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_SHARED.forget_threads)


def submit(executor: Executor, function: Callable[[*Arguments], R], *arguments: *Arguments) -> Future[R]:
    """Call ``function`` in a thread of ``executor``. Raises `CosxferError` if it has none and can start none.

    An executor of ``concurrent.futures`` keeps what it could start no thread for, and calls it when it gets one: long
    after the caller has closed the file that it reads. Not here.
    """
    return _begun(executor.submit, partial(function, *arguments))


def in_thread(
    executor: Executor | None, function: Callable[[*Arguments], R], *arguments: *Arguments
) -> asyncio.Future[R]:
    """`submit` for the event loop, in the caller's context; with None to threads that all clients share."""
    work = partial(copy_context().run, function, *arguments)
    return asyncio.wrap_future(_begun((_SHARED if executor is None else executor).submit, work))


def none_to_be_had(error: RuntimeError) -> CosxferError:
    """The error if a thread cannot be started."""
    why = ""
    if "start new thread" in str(error):
        why = ": the process is at its limit of threads or of memory (ulimit -u and -v, or its container's)"
    if "interpreter shutdown" in str(error):
        why = ": the program is ending; finish uploads before it does"
    return CosxferError(f"there is no thread to work in, {error}{why}")


def _begun(start: Callable[[Callable[[], None]], Future[None]], work: Callable[[], R]) -> Future[R]:
    outcome: Future[R] = Future()

    def run() -> None:
        if outcome.set_running_or_notify_cancel():
            try:
                outcome.set_result(work())
            except BaseException as error:
                outcome.set_exception(error)

    def ended(started: Future[None]) -> None:
        # The executor was shut down before it came to this. Nobody else tells the waiting caller.
        if started.cancelled() and outcome.set_running_or_notify_cancel():
            outcome.set_exception(CosxferError("the client was closed during the call"))

    try:
        started = start(run)
    except RuntimeError as error:
        # Unless a thread that was busy has taken it just now.
        if outcome.cancel():
            raise none_to_be_had(error) from error
    else:
        started.add_done_callback(ended)
    return outcome
