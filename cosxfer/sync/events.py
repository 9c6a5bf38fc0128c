"""Events on their way to the caller's callback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cosxfer.sync.records import SyncEvent
from cosxfer.tasks.dispatcher import Dispatcher

PATIENCE_SECONDS = 10.0
"""A callback that takes longer is not waited for. It may itself wait for a call of this client."""


class Events:
    """Calls ``callback`` for each event, in the thread of callbacks. Waiting for it bounds the memory."""

    def __init__(self, callback: Callable[[SyncEvent], None] | None, dispatcher: Dispatcher) -> None:
        self._callback = callback
        self._dispatcher = dispatcher
        self._called = 0

    @property
    def wanted(self) -> bool:
        """Whether there is a callback."""
        return self._callback is not None

    def post(self, event: SyncEvent) -> None:
        """Report an event, later."""
        if self._callback is not None:
            self._dispatcher.post(self._call, event)

    def after_all(self, call: Callable[[], None]) -> None:
        """Call ``call`` in the thread of callbacks, after everything that was posted before."""
        self._dispatcher.post(lambda _: call(), None)

    async def delivered(self) -> None:
        """Wait until the callback has had all events, as long as it takes more of them."""
        waiting = None if self._callback is None else self._dispatcher.delivered()
        if waiting is None:
            return
        done, called = asyncio.wrap_future(waiting), -1
        while not done.done() and called != self._called:
            called = self._called
            await asyncio.wait([done], timeout=PATIENCE_SECONDS)

    def _call(self, event: SyncEvent) -> None:
        assert self._callback is not None
        try:
            self._callback(event)
        finally:
            self._called += 1
