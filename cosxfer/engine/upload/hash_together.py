"""Small files that are hashed at the same time share SIMD lanes.

One file fills one lane, and sixteen lanes take hardly longer than one. So while a thread hashes a small file, others
wait, and are hashed together when it has ended. Nobody waits for a disk: a file that is not in the page cache is hashed
alone, and nobody waits for it. If the hashing of several files fails, each is hashed alone again, and fails alone.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from weakref import WeakKeyDictionary

from cosxfer._native import hashing
from cosxfer.engine.report import logger
from cosxfer.errors import CosxferError
from cosxfer.limits import MIB
from cosxfer.planning import PartRange
from cosxfer.sources import ASKED_BYTES, FileSource
from cosxfer.threads import in_thread, settled

GROUP_BYTES = 64 * MIB
"""What is hashed together at most: some hundredths of a second."""

GROUP_FILES = 64

FEWEST_LANES = 4
"""With fewer lanes, waiting brings nothing."""


@dataclass(kw_only=True, eq=False)
class Hashed:
    """The digests of the parts of one file, and the seconds of a thread that they took."""

    digests: list[hashing.PartDigest]
    seconds: float


@dataclass(kw_only=True, eq=False)
class _Wanted:
    source: FileSource
    parts: list[PartRange]
    result: asyncio.Future[Hashed | None]
    size: int = field(init=False)
    begun: bool = False

    def __post_init__(self) -> None:
        self.size = sum(part.length for part in self.parts)


class HashTogether:
    """The small files that one executor hashes. All methods run on the event loop."""

    def __init__(self) -> None:
        self._running = 0
        self._waiting: list[_Wanted] = []

    @staticmethod
    def of(executor: Executor) -> HashTogether:
        """The one of an executor."""
        found = _all.get(executor)
        if found is None:
            found = _all[executor] = HashTogether()
        return found

    @staticmethod
    def can_share(source: FileSource, parts: list[PartRange]) -> bool:
        """Whether parts of a file may be hashed together with others."""
        small = sum(part.length for part in parts) <= ASKED_BYTES
        return small and source.mapped and source.in_cache and hashing.lanes() >= FEWEST_LANES

    @contextmanager
    def alone(self, executor: Executor) -> Iterator[None]:
        """A file that could share is hashed alone. Others wait meanwhile."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._begin(executor)

    async def hash(self, source: FileSource, parts: list[PartRange], executor: Executor) -> Hashed | None:
        """Hash parts of a file that can share. None: nothing else is hashed, or it failed, so hash them `alone`.

        If the caller is cancelled, this returns when no thread reads the file any more.
        """
        if not self._running:
            return None
        wanted = _Wanted(source=source, parts=parts, result=asyncio.get_running_loop().create_future())
        self._waiting.append(wanted)
        self._begin(executor)
        try:
            return await asyncio.shield(wanted.result)
        except asyncio.CancelledError:
            if wanted.begun:
                await settled(wanted.result)
            else:
                self._waiting.remove(wanted)
            raise

    def _begin(self, executor: Executor) -> None:
        """Hash those that wait, if nothing is hashed, or if they fill the lanes of another thread."""
        lanes, threads = hashing.lanes(), os.cpu_count() or 1
        while self._waiting and (not self._running or (len(self._waiting) >= lanes and self._running < threads)):
            group = [self._waiting.pop(0)]
            size = group[0].size
            while self._waiting and len(group) < GROUP_FILES and size + self._waiting[0].size <= GROUP_BYTES:
                size += self._waiting[0].size
                group.append(self._waiting.pop(0))
            for wanted in group:
                wanted.begun = True
            try:
                work = in_thread(executor, _hash_group, group)
            except (CosxferError, RuntimeError):
                _give_back(group)  # each reports by itself that there is no thread
                continue
            self._running += 1
            work.add_done_callback(partial(self._ended, executor, group))

    def _ended(self, executor: Executor, group: list[_Wanted], work: asyncio.Future[list[Hashed | None]]) -> None:
        self._running -= 1
        error = None if work.cancelled() else work.exception()
        if work.cancelled() or error is not None:
            logger.debug("%d files are hashed one by one, because it failed together: %r", len(group), error)
            _give_back(group)
        else:
            for wanted, hashed in zip(group, work.result(), strict=True):
                wanted.result.set_result(hashed)
        self._begin(executor)


_all: WeakKeyDictionary[Executor, HashTogether] = WeakKeyDictionary()


def _hash_group(group: list[_Wanted]) -> list[Hashed | None]:
    """Hash several files. None: hash this one alone."""
    began = time.monotonic()
    views: dict[_Wanted, list[memoryview]] = {}
    # A long part that begins last would run alone. No part of a file is longer than its first one.
    for wanted in sorted(group, key=lambda wanted: -wanted.parts[0].length):
        with suppress(CosxferError):  # it has changed; hashed alone it says so
            views[wanted] = [wanted.source.slice(part.offset, part.length) for part in wanted.parts]
    hasher = hashing.PartHasher(list(chain.from_iterable(views.values())), mapped=True)
    hasher.advance(hasher.total_bytes)
    seconds = (time.monotonic() - began) / max(1, hasher.total_bytes)
    digests = iter(hasher.digests())
    result: dict[_Wanted, Hashed] = {}
    for wanted in views:
        of_file = list(islice(digests, len(wanted.parts)))
        with suppress(CosxferError):
            if not hasher.releases:
                for part in wanted.parts:
                    wanted.source.release(part.offset, part.length)
            wanted.source.check()
            result[wanted] = Hashed(digests=of_file, seconds=seconds * wanted.size)
    return [result.get(wanted) for wanted in group]


def _give_back(group: list[_Wanted]) -> None:
    for wanted in group:
        wanted.result.set_result(None)
