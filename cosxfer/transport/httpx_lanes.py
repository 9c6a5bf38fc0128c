"""The httpx clients ("lanes") of the httpx transport, and which of them a request uses.

httpx keeps one HTTP/2 connection per origin and client, so there are as many lanes as the client's limits allow
connections (`cosxfer.transport.native_pool.ConnectionLimits`). Over HTTP/1.1 a lane opens a connection for each of its
requests. If the server refuses more connections (`cosxfer.transport.ceiling`), requests wait for those that work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import field

import httpx

from cosxfer.records import dataclass
from cosxfer.transport.ceiling import Ceiling
from cosxfer.transport.native_pool import IDLE_SECONDS, ConnectionLimits
from cosxfer.transport.progress import Progress
from cosxfer.transport.proxies import Proxy


@dataclass(eq=False)
class Lane:
    """One httpx client."""

    client: httpx.AsyncClient
    chunk_bytes: int
    http2: bool
    """Whether it speaks HTTP/2, as far as is known."""
    proxy: Proxy | None = None
    active: int = 0
    in_flight: set[Progress] = field(default_factory=set)
    proven: bool = False
    """Whether there was a response over it."""
    idle_since: float = 0.0
    retired: bool = False
    """It gets no new requests and is closed after the last one."""


class Lanes:
    """The lanes of one transport. Used from one event loop."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._lanes: list[Lane] = []
        self._ceiling = Ceiling()
        self._freed = asyncio.Event()
        self._again: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.outages = 0
        """How often a connection was refused while no other worked."""
        limits.when_changed(self._wake)

    def pick(self, proxy: Proxy | None, make: Callable[[], Lane], *, avoid: Lane | None = None) -> Lane | None:
        """Return a lane for one more request, maybe a new one, and count the request.

        None if the server allows no more for now, or only ``avoid`` is left.
        """
        self._expire()
        lanes = [lane for lane in self._lanes if lane.proxy == proxy]
        wanted = self._limits.http2
        most = self._ceiling.bounds(wanted)
        # Always the first ones, so that those that are too many become idle and expire.
        usable = [lane for lane in lanes[:most] if lane is not avoid]
        lane = min(usable, key=lambda lane: lane.active, default=None)
        if (lane is None or lane.active) and len(lanes) < most:
            lane = make()
            self._lanes.append(lane)
        elif lane is None or (lane.active and most < wanted and not lane.http2):
            return None
        lane.active += 1
        return lane

    async def freed(self) -> None:
        """Wait until a request has ended, or the limits have changed."""
        await self._freed.wait()

    def prove(self, lane: Lane) -> None:
        """There was a response over a lane."""
        if lane.proven:
            return
        lane.proven = True
        works = sum(lane.proven for lane in self._lanes)
        self._ceiling.opened(works)
        self._ceiling.proved(works)

    def refuse(self, lane: Lane) -> bool:
        """A connection of a lane was refused. Returns whether others work or may work soon.

        Earlier connections of the lane count only if requests are using them now: the refused request found none.
        """
        if not lane.proven or not any(progress.has_connection for progress in lane.in_flight):
            self.retire(lane)
        works = sum(other.proven for other in self._lanes)
        opening = sum(other.active > 0 and not other.proven for other in self._lanes)
        seconds = self._ceiling.refused(works=works, opening=opening)
        if not works and not opening:
            self.outages += 1
            self._wake()
            return False
        if seconds is not None:
            self._again = asyncio.get_running_loop().call_later(seconds, self._try_again)
        return True

    async def release(self, lane: Lane, *, refused: bool = False) -> None:
        """A request over a lane has ended. If it was ``refused`` and waits itself, that helps no other that waits."""
        lane.active -= 1
        lane.idle_since = asyncio.get_running_loop().time()
        if not refused:
            self._wake()
        if lane.retired and not lane.active:
            await lane.client.aclose()

    def retire(self, lane: Lane) -> None:
        """Give a lane no new requests."""
        lane.retired = True
        self._lanes = [other for other in self._lanes if other is not lane]

    async def aclose(self) -> None:
        """Close all lanes."""
        if self._again is not None:
            self._again.cancel()
        lanes, self._lanes = self._lanes, []
        for lane in lanes:
            await lane.client.aclose()
        if self._closing:
            await asyncio.wait(self._closing)

    def _try_again(self) -> None:
        self._ceiling.try_again()
        self._wake()

    def _wake(self) -> None:
        freed, self._freed = self._freed, asyncio.Event()
        freed.set()

    def _expire(self) -> None:
        """Close the lanes that were idle for too long."""
        loop = asyncio.get_running_loop()
        limit = loop.time() - IDLE_SECONDS
        for lane in [lane for lane in self._lanes if not lane.active and lane.idle_since < limit]:
            self.retire(lane)
            task = loop.create_task(lane.client.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
