"""Waiting for threads that hold a request's file, which is closed when the request ends."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

T = TypeVar("T")


async def finished(work: asyncio.Future[T]) -> T:
    """The result of a thread's work. A cancellation is raised only when the thread has ended too."""
    await settled(work)
    return work.result()


async def settled(work: asyncio.Future[Any]) -> None:
    """Wait until it is done, whatever its result; a cancellation that comes meanwhile is raised then.

    A request is cancelled once by its connection, and once more by the end of the event loop. An ``await work`` would
    be over at the first of them, though nothing stops the thread.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if not work.cancelled():
        work.exception()  # seen: whoever wants it takes the result
    if cancelled is not None:
        raise cancelled
