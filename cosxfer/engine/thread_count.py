"""How many threads do file system calls: one, and more while a file system keeps files waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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

    def __init__(self, crew: Crew, deliver: Callable[[], bool] | None = None) -> None:
        """``deliver`` takes over what the threads have done and not announced. It is called every `PATIENCE_SECONDS`
        while files wait, and as long as it returns True."""
        self._crew = crew
        self._deliver = deliver
        self._width = 1
        self._slow_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def file_comes(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """Call this before a file is handed to the crew."""
        if self._width > 1 and now > self._slow_until:
            self._width = 1
            self._crew.set_width(1)
        if self._timer is None:
            self._timer = loop.call_later(PATIENCE_SECONDS, self._look, loop)

    def stop(self) -> None:
        """Change nothing any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Allow more threads if a file has waited for too long."""
        self._timer = None
        more = self._deliver is not None and self._deliver()
        if self._stopped:
            return
        now = loop.time()
        oldest = self._crew.oldest()
        if oldest is not None and now - oldest >= PATIENCE_SECONDS:
            self._width = min(2 * self._width, MAX_THREADS)
            self._slow_until = now + SLOW_SECONDS
            self._crew.set_width(self._width)
        # What was delivered may have brought a file, and with it the next look.
        if (more or oldest is not None) and self._timer is None:
            self._timer = loop.call_later(PATIENCE_SECONDS, self._look, loop)
