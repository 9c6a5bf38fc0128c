"""A server that takes its time: requests wait until the test lets them go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse


class Gate:
    """A fault of `FakeCos`: whoever comes waits, and is counted; ``open`` lets all through, ``cut`` counts the rest."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.inside = 0
        self.most = 0
        self.cut = 0
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._opened = False

    async def __call__(self, request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        if not self._opened:
            event = asyncio.Event()
            self._waiting.append((asyncio.get_running_loop(), event))
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.arrived.release()
            try:
                await event.wait()
            except asyncio.CancelledError:
                self.cut += 1
                raise
            finally:
                self.inside -= 1
        return proceed()

    async def come(self, count: int = 1) -> None:
        """Until so many more have come."""
        for _ in range(count):
            await asyncio.to_thread(self.wait)

    def wait(self) -> None:
        """Until one more has come."""
        assert self.arrived.acquire(timeout=30)

    def open(self) -> None:
        """Let all go, those that wait and those that come."""
        self._opened = True
        for loop, event in self._waiting:
            loop.call_soon_threadsafe(event.set)
        self._waiting.clear()
