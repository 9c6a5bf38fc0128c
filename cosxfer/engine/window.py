"""The window of parts in flight: as many workers as parts may be under way, fed by the hashing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
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

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            for _ in range(limit):
                group.create_task(consume())
    except BaseExceptionGroup as failures:
        # Parts that fail together fail for one reason: the first is told, the others would repeat it.
        raise failures.exceptions[0] from failures.exceptions[0].__cause__
