"""How many threads do file system calls: one, and more while a file system keeps files waiting."""

from __future__ import annotations

import asyncio
from typing import Protocol

PATIENCE_SECONDS = 0.01
"""How long a file may wait for a thread before there are twice as many."""

SLOW_SECONDS = 1.0
"""How long there are as many afterwards."""

MAX_THREADS = 32


class Crew(Protocol):
    """Threads and the files that wait for them."""

    def oldest(self) -> float | None:
        """Since when the oldest file waits, by the time of the event loop; None if none waits."""

    def set_width(self, width: int) -> None:
        """Allow ``width`` threads, and start them if files wait."""


class ThreadCount:
    """Decides how many threads a crew has; used on one event loop."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._width = 1
        self._slow_until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def file_comes(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """Call this before a file is handed to the crew."""
        if self._width > 1 and now > self._slow_until:
            self._width = 1
            self._crew.set_width(1)
        if self._timer is None:
            self._timer = loop.call_later(PATIENCE_SECONDS, self._look, loop)

    def stop(self) -> None:
        """Change nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Allow more threads if a file has waited for too long."""
        self._timer = None
        now = loop.time()
        oldest = self._crew.oldest()
        if oldest is None:
            return
        if now - oldest >= PATIENCE_SECONDS:
            self._width = min(2 * self._width, MAX_THREADS)
            self._slow_until = now + SLOW_SECONDS
            self._crew.set_width(self._width)
        self._timer = loop.call_later(PATIENCE_SECONDS, self._look, loop)
