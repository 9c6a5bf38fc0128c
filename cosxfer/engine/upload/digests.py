"""Digests of bodies in memory. A thread hashes long ones; short ones that arrive together share SIMD lanes."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from cosxfer._native import hashing
from cosxfer.threads import in_thread

SMALL_BYTES = 256 * 1024
"""Hashing this much or less is faster than handing it to a thread."""

HASHED_AT_ONCE = 8
"""Bodies that are hashed in one turn of the event loop. More of them gain little speed in the lanes, and the first
request waits for the last digest."""


async def digest_of(view: memoryview, executor: Executor) -> hashing.PartDigest:
    """Return the digests of one body."""
    if len(view) <= SMALL_BYTES:
        [digest] = hashing.hash_parts([view])
    else:
        [digest] = await in_thread(executor, hashing.hash_parts, [view])
    return digest


class Digests:
    """Computes the digests of many bodies. Several may arrive in one turn of the event loop."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._waiting: list[tuple[memoryview, asyncio.Future[hashing.PartDigest]]] = []
        self._last = 0
        """How many bodies waited in the last turn that has hashed."""
        self._waits = False

    async def of(self, view: memoryview) -> hashing.PartDigest:
        """Return the digests of one body, computed in the next turn of the event loop."""
        if len(view) > SMALL_BYTES:
            return await digest_of(view, self._executor)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[hashing.PartDigest] = loop.create_future()
        self._waiting.append((view, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._hash, loop)
        return await future

    def _hash(self, loop: asyncio.AbstractEventLoop) -> None:
        # Others are likely to come, too: calls of several threads. The lanes take as long for eight bodies as for two.
        if self._last > 1 and len(self._waiting) < HASHED_AT_ONCE and not self._waits:
            self._waits = True
            loop.call_soon(self._hash, loop)
            return
        self._last, self._waits = len(self._waiting), False
        waiting = self._waiting[:HASHED_AT_ONCE]
        del self._waiting[:HASHED_AT_ONCE]
        if self._waiting:
            loop.call_soon(self._hash, loop)
        waiting = [(view, future) for view, future in waiting if not future.done()]
        try:
            digests = hashing.hash_parts([view for view, _ in waiting])
        except Exception as error:
            for _, future in waiting:
                future.set_exception(error)  # otherwise the callers would wait for ever
            return
        for (_, future), digest in zip(waiting, digests, strict=True):
            future.set_result(digest)
