"""A short way of doing a job: without an asyncio task. What it leaves goes to the usual way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from cosxfer.models import Progress
from cosxfer.records import dataclass

ShortProgress = Callable[[Any, Progress], None]
"""Gets the record of the task and its progress."""

ShortEnd = Callable[[Any, Any], None]
"""Gets the record of the task, and the result, a `Rest`, or None if it was cancelled."""


class SlotWait:
    """Waits for a slot of the limiter, as a future would, and then calls ``then`` on the event loop."""

    __slots__ = ("_then", "over")

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then
        self.over = False
        """Whether it waits no longer. Set it to give up."""

    def done(self) -> bool:
        """Whether it waits no longer."""
        return self.over

    def set_result(self, _: None, /) -> None:
        """It has the slot."""
        self.over = True
        # Not at once: the limiter is giving slots to others.
        asyncio.get_running_loop().call_soon(self._then)


@dataclass(frozen=True, kw_only=True)
class Rest:
    """What is left to do. Each kind of job has its own; this one means: everything."""
