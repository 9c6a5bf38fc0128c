"""An event loop whose time moves only when nothing else is left to do: timers fire at once, in their order.

For code without threads: a thread's work takes no time on this clock.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

R = TypeVar("R")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its clock starts at zero."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is left that could happen"
        self._loop.now += max(0.0, timeout)
        return super().select(0)


def run_in_virtual_time(main: Coroutine[Any, Any, R]) -> R:
    """As `asyncio.run`."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
