"""Comparing files and objects by the CRC64 of their content.

The journal remembers the CRC64 of a file (as long as size, times and inode stay) and of an object (as long as size and
ETag stay). What it does not know costs a HEAD request, or reading the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future

from cosxfer._native import hashing
from cosxfer.errors import CosxferError, SourceChangedError
from cosxfer.journal import Journal
from cosxfer.journal_rows import TARGET_BYTES, FinishedObject, fingerprint
from cosxfer.limits import MIB
from cosxfer.models import HeadObjectResult
from cosxfer.ops.head_object import head_object
from cosxfer.ops.session import Session
from cosxfer.sorted_tree import Entry
from cosxfer.sources import FileSource
from cosxfer.sync.options import Side
from cosxfer.sync.sides import HEADS_AT_ONCE
from cosxfer.threads import Workers, finished, in_thread

SLICE_BYTES = 8 * MIB
HASHED_AT_ONCE = 4

Pair = tuple[bytes, Entry, Entry]
"""A key, and its entries in the source and in the target."""


class Checksums:
    """The CRC64 of files and objects, from the journal or else from their content."""

    def __init__(self, session: Session, executor: Workers, journal: Journal | None) -> None:
        self._session = session
        self._executor = executor
        self._journal = journal
        self._heads = asyncio.Semaphore(HEADS_AT_ONCE)
        self._files = asyncio.Semaphore(HASHED_AT_ONCE)

    async def equal(self, pairs: Sequence[Pair], source: Side, target: Side) -> list[bool | CosxferError]:
        """Whether the content of each pair is the same, or why that is not known. Their sizes are equal.

        If COS has no CRC64 of an object, the content counts as different.
        """
        ours, theirs = await asyncio.gather(
            self._of(source, [pair[1] for pair in pairs]), self._of(target, [pair[2] for pair in pairs])
        )
        return [
            a if isinstance(a, CosxferError) else b if isinstance(b, CosxferError) else a is not None and a == b
            for a, b in zip(ours, theirs, strict=True)
        ]

    async def known(self, side: Side, entries: Sequence[Entry]) -> list[bool]:
        """Whether the journal has the CRC64 of each entry as it is now."""
        names = [self._name(side, entry[0]) for entry in entries]
        rows = await self._recalled(names)
        return [_current(side, entry, rows.get(name)) is not None for name, entry in zip(names, entries, strict=True)]

    async def known_equal(self, pairs: Sequence[Pair], source: Side, target: Side) -> list[bool]:
        """Whether the journal has the CRC64 of both entries of each pair as they are now, and both are the same."""
        found = []
        for place, side in ((1, source), (2, target)):
            entries: list[Entry] = [pair[place] for pair in pairs]  # type: ignore[misc] # not the key
            names = [self._name(side, entry[0]) for entry in entries]
            rows = await self._recalled(names)
            found.append([_current(side, entry, rows.get(name)) for name, entry in zip(names, entries, strict=True)])
        return [a is not None and a == b for a, b in zip(*found, strict=True)]

    async def _recalled(self, names: Sequence[bytes]) -> dict[bytes, FinishedObject]:
        return {} if self._journal is None else await asyncio.wrap_future(self._journal.objects(names))

    async def _of(self, side: Side, entries: Sequence[Entry]) -> list[int | CosxferError | None]:
        names = [self._name(side, entry[0]) for entry in entries]
        known = await self._recalled(names)
        return await asyncio.gather(
            *[self._one(side, entry, name, known.get(name)) for entry, name in zip(entries, names, strict=True)]
        )

    async def _one(
        self, side: Side, entry: Entry, name: bytes, known: FinishedObject | None
    ) -> int | CosxferError | None:
        if (current := _current(side, entry, known)) is not None:
            return current
        try:
            if side.is_local:
                async with self._files:
                    crc64: int | None = await finished(
                        in_thread(self._executor.waiting, _crc64_of, side.path(entry[0]), entry)
                    )
            else:
                async with self._heads:
                    head = await head_object(self._session, side.object(entry[0]), headers=side.key_headers)
                crc64 = head.crc64 if _is_listed(head, entry) else None
        except CosxferError as error:
            return error
        if crc64 is not None:
            self._remember(name, _row(side, entry, crc64))
        return crc64

    def remember(self, side: Side, entry: Entry, crc64: int | None) -> None:
        """Keep the CRC64 of a file or an object that was transferred. An object's entry has its ETag."""
        if crc64 is not None:
            self._remember(self._name(side, entry[0]), _row(side, entry, crc64))

    def _remember(self, name: bytes, row: FinishedObject) -> None:
        if self._journal is not None and (row.etag or row.content != _NO_FILE):
            self._journal.finished(name, row)

    async def written(self) -> None:
        """Wait until the journal has everything."""
        if self._journal is not None:
            done: Future[None] = self._journal.call(lambda _: None, None)
            await asyncio.wrap_future(done)

    def _name(self, side: Side, key: bytes) -> bytes:
        if side.is_local:
            return fingerprint("file", side.path(key))[:TARGET_BYTES]
        config = self._session.config
        region = side.region or config.region or ""
        return fingerprint("object", config.endpoint, region, side.bucket, side.object(key).key)[:TARGET_BYTES]


_NO_FILE = bytes(8)


def _row(side: Side, entry: Entry, crc64: int) -> FinishedObject:
    if side.is_local:
        content = fingerprint(*map(str, entry[1:]))[: len(_NO_FILE)]
        return FinishedObject(content, 0, entry[1], crc64, "")
    return FinishedObject(_NO_FILE, 0, entry[1], crc64, entry[3])


def _current(side: Side, entry: Entry, known: FinishedObject | None) -> int | None:
    """Return the CRC64 that the journal has of an entry; None if it has none, or that of another content."""
    return known.crc64 if known is not None and known == _row(side, entry, known.crc64) else None


def _is_listed(head: HeadObjectResult, entry: Entry) -> bool:
    """Whether HEAD shows the object that was listed."""
    return head.size == entry[1] and head.etag == entry[3]


def _crc64_of(path: str, entry: Entry) -> int:
    """Read a file. Raises `SourceChangedError` if it is not the one of the walk any more, and `SourceError`."""
    with FileSource.open(path) as source:
        found = source.identity
        if (found.size, found.mtime_ns, found.inode, found.ctime_ns) != entry[1:]:
            raise SourceChangedError(f"{path!r} changed during the sync", path=path, changed="mtime")
        crc64 = 0
        for offset in range(0, source.size, SLICE_BYTES):
            length = min(SLICE_BYTES, source.size - offset)
            crc64 = hashing.crc64(source.slice(offset, length), crc64)
            source.release(offset, length)
        source.check()
    return crc64
