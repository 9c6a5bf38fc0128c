"""The limiter: how much all transfers of a client may do at a time. The scheduler and the user move it, nobody else.

It limits five things: tasks that run, requests in flight (slots), the memory that these hold, the connections of the
native transport, and how many requests start in a second if the server has refused some. A transfer takes its slots
through a `Share`, which may have a smaller limit of its own. Each waiting share asks for one slot at a time, and they
are served in the order in which they began to wait, so a large transfer cannot starve a small one. A request that holds
more than the memory limit is sent alone.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple, Protocol, TypeAlias

from cosxfer.address import ObjectAddress
from cosxfer.config import MAX_CONCURRENCY
from cosxfer.models import Verdict
from cosxfer.planning import LinkKnowledge
from cosxfer.transport.native_pool import ConnectionLimits

RequestInFlight: TypeAlias = tuple[float, Callable[[], None]]
"""When a request began, and what gives it up: cancels it, to send it again later."""
PACE_BURST_SECONDS = 0.3
"""At most what may start in so much time is saved up while nothing starts."""


class Left(NamedTuple):
    """What is still to send: requests that have not succeeded, and their bytes. Infinite if it is not known."""

    requests: float
    size: float


class Limiter:
    """The limits of one client, which can change while transfers run. Used from its event loop.

    ``tasks`` is the number of tasks that run, ``slots`` the number of parts and single PUTs in flight, ``max_bytes``
    the memory that these hold (None: no limit). ``max_demand`` is how many slots tasks with several parts may want
    together before no more of them begin (None: no limit).
    """

    def __init__(
        self,
        *,
        tasks: int,
        slots: int,
        max_bytes: int | None = None,
        max_demand: int | None = None,
        connections: ConnectionLimits | None = None,
    ) -> None:
        self.connections = connections or ConnectionLimits()
        """What the native transport reads each time that it opens a connection."""
        self.single = Share(self, MAX_CONCURRENCY, extra=0)
        """The share of all requests that are the whole of their transfer."""
        self.link: LinkKnowledge | None = None
        """What the scheduler knows of the link, for the size of the parts."""
        self.before_plan: Callable[[bool], float | None] | None = None
        """Called before a transfer is planned, with whether it receives. The scheduler may correct slots and link. It
        returns the goodput that a request has at least (bytes per second), if it knows nothing better."""
        self.observe: Observer | None = None
        """The scheduler's way to observe a transfer."""
        self.hashing_seconds = 0.0
        """Time that threads have spent hashing files."""
        self._starving: set[Share] = set()
        self._tasks = tasks
        self._slots = slots
        self._max_bytes = max_bytes
        self.max_demand = max_demand
        self._paused = False
        self._may_start = math.inf
        self._extra = 0
        self._in_flight = 0
        self._most_in_flight = 0
        self._bytes_in_flight = 0
        self._bytes_held = 0
        self._waiting: deque[_Waiting] = deque()
        self._on_more_tasks: Callable[[], None] | None = None
        self._on_busy: Callable[[], None] | None = None
        self._abandonable: dict[Share, Callable[[], Iterable[RequestInFlight]]] = {}
        self._left: dict[Share, Callable[[], Left]] = {}

    @property
    def tasks(self) -> int:
        """How many tasks may run at a time."""
        return self._tasks

    @property
    def slots(self) -> int:
        """How many requests may be in flight, with what calls have asked for by ``async_limit``."""
        return self._slots + self._extra

    @property
    def max_bytes(self) -> int | None:
        """How much memory requests in flight may hold."""
        return self._max_bytes

    @property
    def in_flight(self) -> int:
        """Requests in flight."""
        return self._in_flight

    def take_most_in_flight(self) -> int:
        """Return the largest number of requests in flight since the last call."""
        most, self._most_in_flight = self._most_in_flight, self._in_flight
        return most

    @property
    def bytes_in_flight(self) -> int:
        """Bytes that the requests in flight send."""
        return self._bytes_in_flight

    @property
    def bytes_held(self) -> int:
        """Memory that the requests in flight hold."""
        return self._bytes_held

    @property
    def waiting(self) -> bool:
        """Whether a request waits for a slot or for memory."""
        return any(not entry.waiter.done() for entry in self._waiting)

    @property
    def left(self) -> Left:
        """What the transfers that run have still to send."""
        lefts = [left() for left in self._left.values()]
        waiting = [entry.size for entry in self._waiting if entry.share is self.single and not entry.waiter.done()]
        return Left(
            sum((left.requests for left in lefts), self.single.in_flight + len(waiting)),
            sum((left.size for left in lefts), self.single.bytes_in_flight + sum(waiting)),
        )

    @property
    def memory_is_full(self) -> bool:
        """Whether the next request waits for memory although a slot is free."""
        return bool(self._waiting) and self._in_flight < self.slots and not self._fits(self._waiting[0].held)

    @property
    def starving(self) -> bool:
        """Whether a transfer could send a part, and waits for its source."""
        return bool(self._starving)

    def add_hashing(self, seconds: float) -> None:
        """Count the time of a thread that has hashed."""
        self.hashing_seconds += seconds

    @property
    def paused(self) -> bool:
        """Whether no request starts for now."""
        return self._paused

    def pause(self, paused: bool) -> None:
        """Let no request start until this is called again with False: the server asked for it (Retry-After)."""
        self._paused = paused
        self._serve()

    @property
    def paced(self) -> bool:
        """Whether only so many requests may start in a second."""
        return self._may_start < math.inf

    @property
    def held(self) -> bool:
        """Whether no request starts before the next `pace` or `pause`, even if none is in flight."""
        return self._paused or self._may_start <= 0

    def pace(self, requests_per_second: float, seconds: float) -> None:
        """Let requests start at this rate; called often, with the time since the last call. Infinite: at any rate."""
        if requests_per_second == math.inf:
            if not self.paced:
                return
            self._may_start = math.inf
        else:
            saved = self._may_start if self.paced else 0.0
            most = max(1.0, requests_per_second * PACE_BURST_SECONDS)
            self._may_start = min(most, saved + requests_per_second * seconds)
        self._serve()

    def charge(self, requests: int) -> None:
        """Count more requests against the rate than the one for which a slot was taken."""
        self._may_start -= requests

    def resize(
        self,
        *,
        tasks: int | None = None,
        slots: int | None = None,
        max_bytes: int | None = None,
        max_demand: int | None = None,
    ) -> None:
        """Change limits; None keeps one. What is in flight beyond a smaller limit ends first."""
        if slots is not None:
            self._slots = slots
        if max_bytes is not None:
            self._max_bytes = max_bytes
        more = False
        if max_demand is not None:
            more, self.max_demand = self.max_demand is not None and max_demand > self.max_demand, max_demand
        self._serve()
        if tasks is not None:
            more, self._tasks = more or tasks > self._tasks, tasks
        if more and self._on_more_tasks is not None:
            self._on_more_tasks()

    def when_busy(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` each time that a request starts while none is in flight."""
        self._on_busy = callback

    def when_more_tasks(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when more tasks may begin than before: more may run, or want more slots together."""
        self._on_more_tasks = callback

    def link_for(self, limit: int, *, receives: bool = False) -> LinkKnowledge | None:
        """Return what is known of the link for a transfer with at most ``limit`` requests in flight."""
        least = None if self.before_plan is None else self.before_plan(receives)
        if self.link is None:
            return None
        link = replace(self.link, slots=min(self.link.slots, limit))
        if receives:
            return replace(link, stream_bytes_per_second=link.stream_bytes_per_second or least, response_seconds=None)
        return replace(link, local=least is not None)

    def abandon(self) -> int:
        """Give up the youngest parts in flight beyond the slots, of all transfers; returns how many.

        Their transfers send them again when there is room. Nothing else is lost but the bytes on their way.
        """
        requests = [request for requests_of in self._abandonable.values() for request in requests_of()]
        # What an earlier call gave up may not have ended yet.
        ending = sum(share.in_flight for share in self._abandonable) - len(requests)
        beyond = max(0, self._in_flight - ending - self.slots)
        requests.reverse()  # of those that began together, the last one is the youngest
        requests.sort(key=lambda request: request[0], reverse=True)
        for _, give_up in requests[:beyond]:
            give_up()
        return len(requests[:beyond])

    def share(self, limit: int, *, usual: int) -> Share:
        """Return the share of one transfer: at most ``limit`` requests in flight.

        The slots of the client are made for transfers with the ``usual`` limit. A transfer that asks for more adds the
        difference while it runs.
        """
        return Share(self, limit, extra=max(0, limit - usual))

    def _grow(self, extra: int) -> None:
        self._extra += extra
        self._serve()

    def _serve(self) -> None:
        """Give slots to those that wait, in their order; a share at its own limit does not hold up the others."""
        if not self._waiting:
            return
        left: deque[_Waiting] = deque()
        while self._waiting:
            entry = self._waiting.popleft()
            if entry.waiter.done():
                continue
            if not self._has_slot() or not self._fits(entry.held):
                left.append(entry)
                break
            if entry.share.in_flight >= entry.share.limit:
                left.append(entry)
                continue
            self._take(entry.share, entry.size, entry.held)
            entry.waiter.set_result(None)
        left.extend(self._waiting)
        self._waiting = left

    def _has_slot(self) -> bool:
        return self._in_flight < self.slots and not self.held

    def _fits(self, held: int) -> bool:
        return self._max_bytes is None or not self._in_flight or self._bytes_held + held <= self._max_bytes

    def _take(self, share: Share, size: int, held: int) -> None:
        self._may_start -= 1
        self._in_flight += 1
        if self._in_flight > self._most_in_flight:
            self._most_in_flight = self._in_flight
        self._bytes_in_flight += size
        self._bytes_held += held
        share.in_flight += 1
        share.bytes_in_flight += size
        if self._in_flight == 1 and self._on_busy is not None:
            self._on_busy()

    async def _acquire(self, share: Share, size: int, held: int) -> None:
        if not self._waiting and self._has_slot() and share.in_flight < share.limit and self._fits(held):
            self._take(share, size, held)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue(share, size, held, future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._release(share, size, held)  # it was given in the moment in which it was cancelled
            else:
                future.cancel()
                self._serve()
            raise

    def _queue(self, share: Share, size: int, held: int, waiter: Waiter) -> None:
        self._waiting.append(_Waiting(share, size, held, waiter))
        self._serve()

    def _try_acquire(self, share: Share, size: int, held: int) -> bool:
        if self._waiting and self._others_come_first():
            return False
        if not self._has_slot() or share.in_flight >= share.limit or not self._fits(held):
            return False
        self._take(share, size, held)
        return True

    def _others_come_first(self) -> bool:
        """Whether a request waits that could use a slot."""
        return any(entry.share.in_flight < entry.share.limit for entry in self._waiting if not entry.waiter.done())

    def _release(self, share: Share, size: int, held: int) -> None:
        self._in_flight -= 1
        self._bytes_in_flight -= size
        self._bytes_held -= held
        share.in_flight -= 1
        share.bytes_in_flight -= size
        self._serve()


class Observed(Protocol):
    """The observation of one transfer, from its first part on."""

    def judge(self, *, parts: int) -> Verdict:
        """Return what bounded the transfer, which had so many parts, until now."""
        ...

    def end(self, error: BaseException | None) -> None:
        """Note that the transfer has ended, with this error if it has failed."""
        ...


class Observer(Protocol):
    """Begins observations."""

    def __call__(self, address: ObjectAddress, *, size: int | None, limit: int) -> Observed | None:
        """Begin to observe a transfer of ``size`` bytes (None: unknown) with at most ``limit`` requests in flight.

        Returns None if nobody observes any more.
        """
        ...


class Waiter(Protocol):
    """What waits for a slot: a future, or something else that has these two methods of it."""

    def done(self) -> bool:
        """Whether it waits no longer."""
        ...

    def set_result(self, result: None, /) -> None:
        """Take note that it has the slot."""
        ...


class _Waiting(NamedTuple):
    """A request that waits for a slot."""

    share: Share
    size: int
    held: int
    waiter: Waiter


class Share:
    """The part of a `Limiter` that one transfer takes. A context manager: what it added to the slots ends with it."""

    def __init__(self, limiter: Limiter, limit: int, *, extra: int) -> None:
        self._limiter = limiter
        self._limit = limit
        self._extra = extra
        self.in_flight = 0
        """Requests of this transfer in flight."""
        self.bytes_in_flight = 0
        """The bytes that these send."""

    def __enter__(self) -> Share:
        self._limiter._grow(self._extra)
        return self

    def __exit__(self, *_: object) -> None:
        self._limiter._grow(-self._extra)

    @property
    def limit(self) -> int:
        """How many requests of this transfer may be in flight."""
        return self._limit

    @property
    def capacity(self) -> int:
        """How many parts of this transfer could be in flight now if there were no others."""
        return max(1, min(self._limit, self._limiter.slots))

    def observe(self, address: ObjectAddress, *, size: int | None) -> Observed | None:
        """Begin to observe the transfer; None if nobody does."""
        observe = self._limiter.observe
        return None if observe is None else observe(address, size=size, limit=self._limit)

    def starve(self, starving: bool) -> None:
        """Note whether this transfer waits for its source."""
        if starving:
            self._limiter._starving.add(self)
        else:
            self._limiter._starving.discard(self)

    def resize(self, limit: int) -> None:
        """Change the limit of this transfer."""
        self._limit = limit
        self._limiter._serve()

    async def acquire(self, size: int, held: int | None = None) -> None:
        """Wait until a request of ``size`` bytes may be sent, which holds ``held`` bytes of memory (None: all of them).

        Each call is followed by a `release` with the same numbers.
        """
        await self._limiter._acquire(self, size, size if held is None else held)

    def queue(self, size: int, waiter: Waiter, held: int | None = None) -> None:
        """Wait as `acquire` does, without an event loop: ``waiter`` gets its result when the request may be sent."""
        self._limiter._queue(self, size, size if held is None else held, waiter)

    def try_acquire(self, size: int, held: int | None = None) -> bool:
        """Take a slot as `acquire` does if one is idle: nobody waits who could use it.

        Returns whether it was taken; then a `release` follows.
        """
        return self._limiter._try_acquire(self, size, size if held is None else held)

    def when_abandoned(self, requests: Callable[[], Iterable[RequestInFlight]] | None) -> None:
        """Let `Limiter.abandon` ask ``requests`` for what is in flight and was not given up yet; None: no longer."""
        if requests is None:
            self._limiter._abandonable.pop(self, None)
        else:
            self._limiter._abandonable[self] = requests

    def tell_left(self, left: Callable[[], Left] | None) -> None:
        """Let `Limiter.left` ask ``left`` for what this transfer has still to send; None: no longer."""
        if left is None:
            self._limiter._left.pop(self, None)
        else:
            self._limiter._left[self] = left

    def release(self, size: int, held: int | None = None) -> None:
        """A request is no longer in flight."""
        self._limiter._release(self, size, size if held is None else held)
