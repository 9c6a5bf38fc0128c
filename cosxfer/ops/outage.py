"""Waiting for a server that does not work, so that a transfer that has begun outlasts that.

While nothing of a client works, the requests that wait take turns: one of them is sent now and then. The first success
wakes all. `cosxfer.retry` has the rules.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable

from cosxfer.errors import CosxferError, TransportError
from cosxfer.foreign import clean_logger
from cosxfer.retry import RetryPolicy, probe_seconds

RETRIES = "cosxfer.retry"
"""The logger of retries, at the level INFO. ``reason`` of a record is the text of the error."""

retry_logger = clean_logger(RETRIES)

TOLD_AFTER_SECONDS = 5.0
"""An outage that is shorter is not reported."""
LONGEST_WAKING_SECONDS = 1.0
"""The requests that waited are sent within this time after the end of an outage, not all at once."""


class Transfer:
    """What the requests of one transfer share. It has begun once one of them has succeeded."""

    __slots__ = ("begun", "failing_since")

    def __init__(self, *, begun: bool = False) -> None:
        self.begun = begun
        self.failing_since: float | None = None
        """The time of the first failure since the last success, by the clock of the event loop."""

    def succeeded(self) -> None:
        """A request has succeeded."""
        self.begun = True
        self.failing_since = None

    def failed(self, now: float) -> float:
        """A request has failed because of an outage. Returns since when none has succeeded."""
        if self.failing_since is None:
            self.failing_since = now
        return self.failing_since


class Failing:
    """Since when one request fails. ``successes`` is the number of requests of the client that had succeeded."""

    __slots__ = ("_loop", "since", "successes")

    def __init__(self, successes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.since = self._loop.time()
        self.successes = successes

    @property
    def now(self) -> float:
        """The time by the clock of the event loop."""
        return self._loop.time()

    @property
    def seconds(self) -> float:
        """How long it has failed."""
        return self.now - self.since


class Outage:
    """An outage of ``what`` since ``began``. Requests wait for their `turn`."""

    def __init__(self, policy: RetryPolicy, what: str, *, began: float, chance: Callable[[], float] = random.random):
        self._policy = policy
        self._what = what
        self._began = began
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._told = False
        self.over = False
        self.turns = 0
        """How many requests had their turn."""

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return self._loop.time() - self._began

    def tell(self, error: CosxferError, *, left_seconds: float) -> None:
        """Log it once, if it is long enough. It is waited for ``left_seconds`` more."""
        if self._told or self.seconds < TOLD_AFTER_SECONDS:
            return
        self._told = True
        state = "has been unreachable" if isinstance(error, TransportError) else "has failed"
        until = time.strftime("%H:%M:%S", time.localtime(time.time() + left_seconds))
        retry_logger.info(
            "%s %s for %.0f s; trying until %s (%s)",
            self._what,
            state,
            self.seconds,
            until,
            error,
            extra={"reason": f"{self._what} {state}"},
        )

    async def turn(self, seconds: float) -> None:
        """Wait until a request may be sent: it is its turn, the outage is over, or ``seconds`` have passed."""
        if not self.over:  # it may have ended since the request has failed
            await self._wait(seconds)
        if self.over:
            await asyncio.sleep(self._chance() * min(LONGEST_WAKING_SECONDS, self._policy.cap_seconds))

    async def _wait(self, seconds: float) -> None:
        future = self._loop.create_future()
        self._waiting.append(future)
        last = self._loop.call_later(max(0.0, seconds), _wake, future)
        self._schedule()
        try:
            await future
        finally:
            last.cancel()
            if future in self._waiting:
                self._waiting.remove(future)

    def end(self) -> None:
        """A request has succeeded: wake all that wait."""
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._told:
            retry_logger.info("%s works again after %.0f s", self._what, self.seconds)
        while self._waiting:
            _wake(self._waiting.popleft())

    def _schedule(self) -> None:
        if self._timer is None and self._waiting and not self.over:
            pause = probe_seconds(self._policy, outage_seconds=self.seconds, random=self._chance())
            self._timer = self._loop.call_later(pause, self._next)

    def _next(self) -> None:
        self._timer = None
        if self._waiting:
            self.turns += 1
            _wake(self._waiting.popleft())
        self._schedule()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
