"""Work for threads, of which a process or its container may be allowed few: what finds none is told, and done never."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TypeVar, TypeVarTuple

from cosxfer.errors import CosxferError

MAX_WAITING = 128

R = TypeVar("R")
Arguments = TypeVarTuple("Arguments")


class Workers(ThreadPoolExecutor):
    """The threads of one client: these compute, as many as there are processors; those in ``waiting`` may stand still.

    A body that is long in coming, such as what is read from a pipe, holds up neither them nor the event loop's own.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=os.cpu_count() or 1, thread_name_prefix="cosxfer-hash")
        self.waiting = ThreadPoolExecutor(max_workers=MAX_WAITING, thread_name_prefix="cosxfer-body")

    def end(self) -> None:
        """Begin nothing any more, and wait for nobody."""
        for executor in (self, self.waiting):
            executor.shutdown(wait=False, cancel_futures=True)


def submit(executor: Executor, function: Callable[[*Arguments], R], *arguments: *Arguments) -> Future[R]:
    """Call ``function`` in a thread of ``executor``. Raises `CosxferError` where it has none and can start none.

    An executor keeps what it could start no thread for, and calls it when it gets one: long after whoever asked for it
    has closed the file that it reads. Not here.
    """
    return _begun(executor.submit, partial(function, *arguments))


def in_thread(
    executor: Executor | None, function: Callable[[*Arguments], R], *arguments: *Arguments
) -> asyncio.Future[R]:
    """`submit` for the event loop, in the caller's context; with None to the loop's own executor."""
    work = partial(copy_context().run, function, *arguments)
    if executor is not None:
        return asyncio.wrap_future(_begun(executor.submit, work))
    loop = asyncio.get_running_loop()
    return asyncio.wrap_future(_begun(partial(loop.run_in_executor, None), work))


def none_to_be_had(error: RuntimeError) -> CosxferError:
    """The error where a thread cannot be started."""
    limits = ""
    if "start new thread" in str(error):
        limits = ": the process is at its limit of threads or of memory (ulimit -u and -v, or its container's)"
    return CosxferError(f"there is no thread to work in, {error}{limits}")


def _begun(
    start: Callable[[Callable[[], None]], Future[None] | asyncio.Future[None]], work: Callable[[], R]
) -> Future[R]:
    outcome: Future[R] = Future()

    def run() -> None:
        if outcome.set_running_or_notify_cancel():
            try:
                outcome.set_result(work())
            except BaseException as error:
                outcome.set_exception(error)

    def ended(started: Future[None] | asyncio.Future[None]) -> None:
        # The executor was shut down before it came to this. Nobody else tells who waits.
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
