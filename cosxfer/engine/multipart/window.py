"""The window of parts in flight. The source fills it, and the limiter sets its size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing
from functools import partial
from typing import TypeVar

from cosxfer.engine.limiter import Share

T = TypeVar("T")


async def run_window(
    items: AsyncGenerator[T, None],
    work: Callable[[T], Awaitable[None]],
    *,
    share: Share,
    size_of: Callable[[T], int],
) -> None:
    """Run ``work`` on every item, in the order of the items, as many at a time as ``share`` allows.

    About as many items as may be in flight are taken ahead of the work. The first error cancels all other work and is
    raised. When this returns or raises, nothing is left running.
    """
    # `feed` holds one item that waits for its slot, so the queue holds one less than the window.
    queue: asyncio.Queue[T | None] = asyncio.Queue(maxsize=max(1, share.limit - 1))
    running: set[asyncio.Task[None]] = set()
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def produce() -> None:
        async with aclosing(items):
            async for item in items:
                await queue.put(item)
        await queue.put(None)

    async def feed() -> None:
        while (item := await queue.get()) is not None:
            size = size_of(item)
            await share.acquire(size)
            if failed.done():
                share.release(size)
                return
            task = asyncio.ensure_future(work(item))
            running.add(task)
            task.add_done_callback(partial(ended, size))
        if running:
            await asyncio.wait(running)

    def ended(size: int, task: asyncio.Task[None]) -> None:
        running.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        # Parts that fail together usually have one cause, so only the first error is raised.
        if error is not None and not failed.done():
            failed.set_exception(error)
        share.release(size)

    # No asyncio.TaskGroup: before Python 3.11.3 one that fails leaves its parent marked as cancelled, and a timeout
    # that the parent sets afterwards, for cleaning up, then counts as a cancellation from outside.
    producer, feeder = asyncio.create_task(produce()), asyncio.create_task(feed())
    try:
        waiting: set[asyncio.Future[None]] = {producer, feeder, failed}
        while not feeder.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                future.result()
    finally:
        failed.cancel()
        await _end([producer, feeder, *running])


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel the tasks and wait until they have ended, even if this is cancelled meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    for task in tasks:
        task.cancel()
    while running := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(running)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # retrieve it, or asyncio would log it
    if cancelled is not None:
        raise cancelled
