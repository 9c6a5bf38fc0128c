"""The digests of bodies in memory: of long ones in a thread, of short ones that come together side by side in lanes."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from cosxfer._native import hashing
from cosxfer.threads import in_thread

SMALL_BYTES = 256 * 1024
"""Hashing less takes less time than handing it to a thread."""

HASHED_AT_ONCE = 8
"""Bodies that are hashed before the event loop has another turn. Lanes gain little by more, and the first answers wait
for the last of them."""


async def digest_of(view: memoryview, executor: Executor) -> hashing.PartDigest:
    """The digests of one body."""
    if len(view) <= SMALL_BYTES:
        [digest] = hashing.hash_parts([view])
    else:
        [digest] = await in_thread(executor, hashing.hash_parts, [view])
    return digest


class Digests:
    """The digests of many bodies, of which several may come in one turn of the event loop."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._waiting: list[tuple[memoryview, asyncio.Future[hashing.PartDigest]]] = []

    async def of(self, view: memoryview) -> hashing.PartDigest:
        """The digests of one body, in the next turn of the event loop."""
        if len(view) > SMALL_BYTES:
            return await digest_of(view, self._executor)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[hashing.PartDigest] = loop.create_future()
        self._waiting.append((view, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._hash, loop)
        return await future

    def _hash(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting = self._waiting[:HASHED_AT_ONCE]
        del self._waiting[:HASHED_AT_ONCE]
        if self._waiting:
            loop.call_soon(self._hash, loop)
        waiting = [(view, future) for view, future in waiting if not future.done()]
        try:
            digests = hashing.hash_parts([view for view, _ in waiting])
        except Exception as error:
            for _, future in waiting:
                future.set_exception(error)  # nobody may wait for ever
            return
        for (_, future), digest in zip(waiting, digests, strict=True):
            future.set_result(digest)
