"""The event loop and the process that a client belongs to."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable

from cosxfer.errors import CosxferError


class Home:
    """Belongs to the event loop of the first call. Other loops and forked children are refused."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._process = os.getpid()

    def check_process(self) -> None:
        """Raise in a forked child, because a lock that another thread held at the fork is never released."""
        if os.getpid() != self._process:
            raise CosxferError("the client was made before this process was forked; make a new one in the child")

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to ``loop`` from the first call on. Raises for another loop."""
        if self.loop is None:
            with self._lock:
                self.loop = self.loop or loop
        if self.loop is not loop:
            raise CosxferError(
                "the client was first used on another event loop, where its connections are; make one for each loop"
            )

    @property
    def bound(self) -> bool:
        """Whether the client belongs to an event loop, and to this process."""
        return self.loop is not None and os.getpid() == self._process

    @property
    def gone(self) -> bool:
        """Whether nothing can run on the loop: there was no call yet, or the loop is closed."""
        return self.loop is None or self.loop.is_closed()

    def post(self, step: Callable[[], object]) -> bool:
        """Call ``step`` on the loop, from any thread. Returns False if the loop is closed."""
        assert self.loop is not None
        if self.loop.is_closed():
            return False
        self.loop.call_soon_threadsafe(step)
        return True
