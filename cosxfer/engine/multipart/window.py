"""The window of parts in flight. The source fills it, and the limiter sets its size.

A part is in flight as one request. A second one, its hedge, follows if the part straggles and a slot is idle
(`cosxfer.engine.multipart.hedge`). The first that succeeds wins, and the other one is cancelled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any, Generic, TypeVar

from cosxfer.engine.limiter import RequestInFlight, Share
from cosxfer.engine.multipart.hedge import HedgePolicy, Overdue
from cosxfer.errors import CosxferError, SourceError

T = TypeVar("T")
R = TypeVar("R")

LOOK_SECONDS = 0.25
"""How often the window looks for stragglers at most."""

LEAST_AHEAD_BYTES = 64 * 1024 * 1024
"""Items that are ready, for a small window: hashing goes on while these are sent."""
MOST_AHEAD_BYTES = 256 * 1024 * 1024
"""Items that are ready, for a large window: what was hashed should still be in the page cache when it is sent."""


class Flight(Generic[T]):
    """An item on its way, with its requests in flight: none, one, or one and its hedge."""

    def __init__(self, item: T, size: int, held: int | None) -> None:
        self.item = item
        self.size = size
        self.held = held
        self.requests: list[Request[T]] = []
        self.won = False
        """Whether a request has succeeded."""
        self.error: CosxferError | None = None
        """Why its first request has failed for good; its hedge is still under way."""
        self.reported = 0

    def progress(self) -> int:
        """Return how many more bytes to report. Of two requests, the one that has sent more counts."""
        if self.won:
            return 0
        sent = max((request.count for request in self.requests), default=0)
        more, self.reported = sent - self.reported, sent
        return more


class Request(Generic[T]):
    """One sending of an item. The first one follows its attempts (`cosxfer.cos.requests.AttemptFollower`)."""

    def __init__(self, window: Window[T, Any], flight: Flight[T], *, hedge: bool, began: float) -> None:
        self.flight = flight
        self.hedge = hedge
        """Whether it is the second one."""
        self.began = began
        self.count = 0
        self.given_up = False
        self.task: asyncio.Future[Any] | None = None
        self.give_up_attempt: Callable[[str], None] | None = None
        """Ends the attempt under way like a timeout."""
        self._window = window

    @property
    def item(self) -> T:
        """What is sent."""
        return self.flight.item

    def sent(self, amount: int) -> None:
        """``amount`` more bytes were sent; negative if they have to be sent again."""
        self.count += amount
        self._window.report(self.flight)

    def begins(self, give_up: Callable[[str], None]) -> None:
        """See `AttemptFollower`."""
        self.give_up_attempt = give_up
        self._window.attempt_begins(self)

    def ends(self) -> None:
        """See `AttemptFollower`."""
        self.give_up_attempt = None
        self._window.attempt_ends(self)

    def give_up(self) -> None:
        """Cancel it; the item is sent again later."""
        self.given_up = True
        self.cancel()

    def cancel(self) -> None:
        """End it."""
        assert self.task is not None
        self.task.cancel()


class Window(Generic[T, R]):
    """Runs ``work`` on items, as many at a time as ``share`` allows. ``run`` is called once.

    ``held_by`` returns the memory that an item holds while it is sent; None: ``size_of`` bytes.
    ``stored(item, result)`` is called once for each item, when a request for it has succeeded. ``on_sent`` gets what
    the requests report, without the bytes that were sent twice.
    """

    def __init__(
        self,
        work: Callable[[Request[T]], Awaitable[R]],
        stored: Callable[[T, R], None],
        *,
        share: Share,
        size_of: Callable[[T], int],
        held_by: Callable[[T], int | None] = lambda _: None,
        policy: HedgePolicy[Flight[T]],
        on_sent: Callable[[int], None],
    ) -> None:
        self._work = work
        self._stored = stored
        self._share = share
        self._size_of = size_of
        self._held_by = held_by
        self._policy = policy
        self._on_sent = on_sent
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Flight[T]] = deque()
        self._ready_bytes = 0
        self._taken = asyncio.Event()
        """Set when an item has left `_ready`: there may be room for another one."""
        self._changed = asyncio.Event()
        """Set when there may be an item in `_ready`, or nothing more to wait for."""
        self._exhausted = False
        self._requests: dict[Request[T], None] = {}
        """In the order in which they began."""
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self.failed_item: T | None = None
        """The item whose error `run` has raised; None if it was another error."""
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at = float("-inf")

    async def run(self, items: AsyncGenerator[T, None]) -> None:
        """Begin the items in their order. The first error cancels all other work and is raised.

        When this returns or raises, nothing is left running.
        """
        # No asyncio.TaskGroup: before Python 3.11.3 one that fails leaves its parent marked as cancelled, and a timeout
        # that the parent sets afterwards, for cleaning up, then counts as a cancellation from outside.
        self._share.when_abandoned(self._in_flight)
        producer, feeder = asyncio.create_task(self._produce(items)), asyncio.create_task(self._feed())
        try:
            waiting: set[asyncio.Future[None]] = {producer, feeder, self._failed}
            while not feeder.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for future in done:
                    future.result()
        finally:
            self._share.when_abandoned(None)
            self._share.starve(False)
            if self._timer is not None:
                self._timer.cancel()
            self._failed.cancel()
            requests = [request.task for request in self._requests if request.task is not None]
            await _end([producer, feeder, *requests, self._failed])

    # -- from the source to the requests --------------------------------------------------------------------------

    async def _produce(self, items: AsyncGenerator[T, None]) -> None:
        async with aclosing(items):
            async for item in items:
                while not self._has_room():
                    self._taken.clear()
                    await self._taken.wait()
                flight = Flight(item, self._size_of(item), self._held_by(item))
                self._ready.append(flight)
                self._ready_bytes += flight.size
                self._changed.set()
        self._exhausted = True
        self._changed.set()

    def _has_room(self) -> bool:
        """Whether one more item may be ready: about as many as may be in flight, or a few MiB of them."""
        if not self._ready or self._ready_bytes < LEAST_AHEAD_BYTES:
            return True
        # `_feed` holds one more item, which waits for its slot.
        return len(self._ready) < self._share.capacity - 1 and self._ready_bytes < MOST_AHEAD_BYTES

    async def _feed(self) -> None:
        while True:
            while not self._ready:
                if self._exhausted and not self._requests:
                    return
                self._changed.clear()
                self._share.starve(not self._exhausted)
                await self._changed.wait()
            self._share.starve(False)
            flight = self._ready.popleft()
            self._ready_bytes -= flight.size
            self._taken.set()
            await self._share.acquire(flight.size, flight.held)
            if self._failed.done():
                self._share.release(flight.size, flight.held)
                return
            self._start(flight, hedge=False)

    def _start(self, flight: Flight[T], *, hedge: bool) -> None:
        request = Request(self, flight, hedge=hedge, began=self._loop.time())
        flight.requests.append(request)
        self._requests[request] = None
        task = request.task = asyncio.ensure_future(self._work(request))
        task.add_done_callback(partial(self._ended, request))

    # -- the end of a request ---------------------------------------------------------------------------------------

    def _ended(self, request: Request[T], task: asyncio.Future[R]) -> None:
        flight = request.flight
        del self._requests[request]
        flight.requests.remove(request)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        try:
            if error is None:
                self._succeeded(request, task.result())
            elif not flight.won:
                self._failed_or_given_up(request, error)
        except BaseException as fault:
            self._fail(fault, flight)
        finally:
            self.report(flight)
            request.task = None  # a cycle, which would hold the part's memory
            self._share.release(flight.size, flight.held)
            self._changed.set()

    def _succeeded(self, request: Request[T], result: R) -> None:
        flight = request.flight
        if flight.won:
            return  # it has ended in spite of its cancellation
        # From now on, what another request for it reports does not count.
        self._on_sent(request.count - flight.reported)
        flight.won = True
        for loser in flight.requests:
            loser.cancel()
        self._policy.finish(flight, self._loop.time())
        self._look_soon()
        self._stored(flight.item, result)

    def _failed_or_given_up(self, request: Request[T], error: BaseException) -> None:
        flight = request.flight
        other = flight.requests[0] if flight.requests else None
        if isinstance(error, asyncio.CancelledError) and request.given_up:
            if other is None:
                flight.error = None
                self._ready.appendleft(flight)
                self._ready_bytes += flight.size
        elif other is None:
            self._fail(flight.error or error, flight)
        elif request.hedge and isinstance(error, CosxferError) and not isinstance(error, SourceError):
            pass  # the first request goes on as if there had been no hedge
        elif not request.hedge and isinstance(error, CosxferError) and error.retryable:
            flight.error = error
        else:
            self._fail(error, flight)

    def _fail(self, error: BaseException, flight: Flight[T]) -> None:
        # Parts that fail together usually have one cause, so only the first error is raised.
        if not self._failed.done():
            self.failed_item = flight.item
            self._failed.set_exception(error)

    def _in_flight(self) -> Iterator[RequestInFlight]:
        for request in self._requests:
            if not request.given_up and not request.flight.won:
                yield request.began, request.give_up

    def report(self, flight: Flight[T]) -> None:
        """Report the progress of an item if it has changed."""
        more = flight.progress()
        if more:
            self._on_sent(more)

    # -- stragglers -------------------------------------------------------------------------------------------------

    def attempt_begins(self, request: Request[T]) -> None:
        """An attempt of ``request`` begins. It is not a hedge."""
        self._policy.begin(request.flight, request.flight.size, self._loop.time())
        self._look_soon()

    def attempt_ends(self, request: Request[T]) -> None:
        """The attempt of ``request`` has ended."""
        self._policy.rest(request.flight, self._loop.time())

    def _look_soon(self) -> None:
        self._look_by(self._looked_at + LOOK_SECONDS)

    def _look_by(self, when: float) -> None:
        if self._failed.done():
            return
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        """Hedge and end what the policy names, and come back when it may name more."""
        self._timer = None
        self._looked_at = now = self._loop.time()
        stragglers = self._policy.decide(now)
        if stragglers.next_at is not None:
            self._look_by(stragglers.next_at)
        for overdue in stragglers.overdue:
            self._time_out(overdue)
        for flight in stragglers.late:
            if not self._share.try_acquire(flight.size, flight.held):
                self._look_by(now + LOOK_SECONDS)
                return
            self._policy.hedge(flight)
            self._start(flight, hedge=True)

    def _time_out(self, overdue: Overdue[Flight[T]]) -> None:
        request = next((request for request in overdue.part.requests if not request.hedge), None)
        if request is not None and request.give_up_attempt is not None:
            self._policy.time_out(overdue.part)
            request.give_up_attempt(
                f"not finished after {overdue.seconds:.0f} s, though other parts take {overdue.usual_seconds:.1f} s"
            )


async def _end(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Cancel the tasks and wait until they have ended, even if this is cancelled meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    for task in tasks:
        task.cancel()
    while running := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(running)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # retrieve it, or asyncio would log it
    if cancelled is not None:
        raise cancelled
