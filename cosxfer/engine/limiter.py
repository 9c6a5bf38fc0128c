"""The limiter: how much all transfers of a client may do at a time. The tuner and the user move it, nobody else.

It limits four things: tasks that run, parts in flight (slots), bytes of these parts, and the connections of the native
transport. A transfer takes its slots through a `Share`, which may have a smaller limit of its own. Each waiting share
asks for one part at a time, and they are served in the order in which they began to wait, so a large transfer cannot
starve a small one. A part that is larger than the byte limit is sent alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from cosxfer.transport.native_pool import ConnectionLimits


class Limiter:
    """The limits of one client, which can change while transfers run. Used from its event loop.

    ``tasks`` is the number of tasks under way, ``slots`` the number of parts in flight, ``max_bytes`` the bytes of
    these parts (None: no limit).
    """

    def __init__(
        self, *, tasks: int, slots: int, max_bytes: int | None = None, connections: ConnectionLimits | None = None
    ) -> None:
        self.connections = connections or ConnectionLimits()
        """What the native transport reads each time that it opens a connection."""
        self._tasks = tasks
        self._slots = slots
        self._max_bytes = max_bytes
        self._extra = 0
        self._in_flight = 0
        self._bytes_in_flight = 0
        self._waiting: deque[tuple[Share, int, asyncio.Future[None]]] = deque()
        self._on_more_tasks: Callable[[], None] | None = None

    @property
    def tasks(self) -> int:
        """How many tasks may run at a time."""
        return self._tasks

    @property
    def slots(self) -> int:
        """How many parts may be in flight, with what calls have asked for by ``async_limit``."""
        return self._slots + self._extra

    @property
    def max_bytes(self) -> int | None:
        """How many bytes of parts may be in flight."""
        return self._max_bytes

    @property
    def in_flight(self) -> int:
        """Parts in flight."""
        return self._in_flight

    @property
    def bytes_in_flight(self) -> int:
        """Bytes of the parts in flight."""
        return self._bytes_in_flight

    def resize(self, *, tasks: int | None = None, slots: int | None = None, max_bytes: int | None = None) -> None:
        """Change limits; None keeps one. What is in flight beyond a smaller limit ends first."""
        if slots is not None:
            self._slots = slots
        if max_bytes is not None:
            self._max_bytes = max_bytes
        self._serve()
        if tasks is not None:
            more, self._tasks = tasks > self._tasks, tasks
            if more and self._on_more_tasks is not None:
                self._on_more_tasks()

    def when_more_tasks(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when more tasks may run than before."""
        self._on_more_tasks = callback

    def share(self, limit: int, *, usual: int) -> Share:
        """Return the share of one transfer: at most ``limit`` parts in flight.

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
        left: deque[tuple[Share, int, asyncio.Future[None]]] = deque()
        while self._waiting:
            share, size, future = self._waiting.popleft()
            if future.done():
                continue
            if self._in_flight >= self.slots or not self._fits(size):
                left.append((share, size, future))
                break
            if share.in_flight >= share.limit:
                left.append((share, size, future))
                continue
            self._take(share, size)
            future.set_result(None)
        left.extend(self._waiting)
        self._waiting = left

    def _fits(self, size: int) -> bool:
        return self._max_bytes is None or not self._in_flight or self._bytes_in_flight + size <= self._max_bytes

    def _take(self, share: Share, size: int) -> None:
        self._in_flight += 1
        self._bytes_in_flight += size
        share.in_flight += 1

    async def _acquire(self, share: Share, size: int) -> None:
        room = self._in_flight < self.slots and share.in_flight < share.limit and self._fits(size)
        if room and not self._waiting:
            self._take(share, size)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((share, size, future))
        self._serve()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._release(share, size)  # it was given in the moment in which it was cancelled
            else:
                future.cancel()
                self._serve()
            raise

    def _release(self, share: Share, size: int) -> None:
        self._in_flight -= 1
        self._bytes_in_flight -= size
        share.in_flight -= 1
        self._serve()


class Share:
    """The part of a `Limiter` that one transfer takes. A context manager: what it added to the slots ends with it."""

    def __init__(self, limiter: Limiter, limit: int, *, extra: int) -> None:
        self._limiter = limiter
        self._limit = limit
        self._extra = extra
        self.in_flight = 0
        """Parts of this transfer in flight."""

    def __enter__(self) -> Share:
        self._limiter._grow(self._extra)
        return self

    def __exit__(self, *_: object) -> None:
        self._limiter._grow(-self._extra)

    @property
    def limit(self) -> int:
        """How many parts of this transfer may be in flight."""
        return self._limit

    def resize(self, limit: int) -> None:
        """Change the limit of this transfer."""
        self._limit = limit
        self._limiter._serve()

    async def acquire(self, size: int) -> None:
        """Wait until a part of ``size`` bytes may be sent; each is followed by a `release`."""
        await self._limiter._acquire(self, size)

    def release(self, size: int) -> None:
        """A part is no longer in flight."""
        self._limiter._release(self, size)
