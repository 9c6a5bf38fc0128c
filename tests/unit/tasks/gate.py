"""A fault that keeps requests waiting until the test opens the gate."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse


class Gate:
    """A fault of `FakeCos`: requests wait for ``open`` and are counted; ``cut`` counts those cancelled before."""

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
        """Wait until ``count`` more requests have come."""
        for _ in range(count):
            await asyncio.to_thread(self.wait)

    def wait(self) -> None:
        """Wait until one more request has come."""
        assert self.arrived.acquire(timeout=30)

    def open(self) -> None:
        """Release all requests, waiting and future."""
        self._opened = True
        for loop, event in self._waiting:
            loop.call_soon_threadsafe(event.set)
        self._waiting.clear()
