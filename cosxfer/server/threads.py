"""Waits for threads that use a request's file before the file is closed."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

T = TypeVar("T")


async def finished(work: asyncio.Future[T]) -> T:
    """Return the result of a thread's work. A cancellation is raised only after the thread has ended."""
    await settled(work)
    return work.result()


async def settled(work: asyncio.Future[Any]) -> None:
    """Wait until the work is done, whatever its result. Then raise a cancellation that arrived meanwhile.

    A request is cancelled once by its connection and once more by the end of the event loop. ``await work`` would
    return at the first cancellation, but the thread would continue.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if not work.cancelled():
        work.exception()  # marks the exception as retrieved
    if cancelled is not None:
        raise cancelled
