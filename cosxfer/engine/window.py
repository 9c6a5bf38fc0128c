"""The window of parts in flight: as many workers as parts may be under way, fed by the hashing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def run_window(items: AsyncGenerator[T, None], work: Callable[[T], Awaitable[None]], *, limit: int) -> None:
    """Run ``work`` on every item, at most ``limit`` at a time, in the order of the items.

    The first error cancels everything else and is raised; nothing is left running.
    """
    queue: asyncio.Queue[T | None] = asyncio.Queue(maxsize=limit)

    async def produce() -> None:
        async with aclosing(items):
            async for item in items:
                await queue.put(item)
        for _ in range(limit):
            await queue.put(None)

    async def consume() -> None:
        while (item := await queue.get()) is not None:
            await work(item)

    # No asyncio.TaskGroup: before Python 3.11.3 one that fails leaves its parent marked as cancelled, and a time-out
    # that the parent sets afterwards, as for cleaning up, then counts as a cancellation from outside.
    tasks = [asyncio.create_task(produce()), *(asyncio.create_task(consume()) for _ in range(limit))]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await _end(tasks)
    # Parts that fail together fail for one reason: one is told, the others would repeat it.
    for task in ended:
        task.result()


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel what still runs and wait until it has ended, however often we are cancelled ourselves meanwhile."""
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
            task.exception()  # seen, or it would be logged as lost
    if cancelled is not None:
        raise cancelled
