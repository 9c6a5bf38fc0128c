"""What the journal has of the download of one file, and how a later call goes on with its temporary file.

The object has to be the same (ETag, version, size, CRC64), and the file has to be the one that was written. What the
journal claims of its content is read and hashed again before it counts.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.engine.download.options import DownloadSettings
from cosxfer.engine.download.state import DownloadState, ObjectVersion
from cosxfer.engine.multipart.lifecycle import resume_logger
from cosxfer.engine.report import Reporter, logger
from cosxfer.errors import ServerError, TargetError
from cosxfer.figures import human_bytes
from cosxfer.journal_downloads import (
    DownloadClaim,
    DownloadEntry,
    DownloadJournal,
    JournaledDownload,
    JournalRange,
    WantedObject,
)
from cosxfer.limits import MIB
from cosxfer.models import Progress
from cosxfer.ops.head_object import head_object
from cosxfer.ops.session import Session
from cosxfer.planning import Plan
from cosxfer.targets import CannotReopenError, PartFile, path_below, remove_temporary, writing
from cosxfer.threads import finished, in_thread

HASHED_AT_ONCE = 1 * MIB
"""Bytes that are read and hashed in one step. They stay in the cache of the processor."""
HASHING_THREADS = 4
"""Threads that read and hash a file which is continued."""


class Recall:
    """The journal of one file's download."""

    __slots__ = ("_address", "_executor", "_journal", "_path", "_session", "_settings", "_what")

    def __init__(
        self,
        journal: DownloadJournal,
        session: Session,
        address: ObjectAddress,
        executor: Executor,
        path: str,
        *,
        settings: DownloadSettings,
        what: str,
    ) -> None:
        """``path`` is that of the file. ``what`` describes the download in messages."""
        self._journal = journal
        self._session = session
        self._address = address
        self._executor = executor
        self._path = os.path.abspath(path)  # noqa: PTH100 (text; resolve() would read the file system)
        self._settings = settings
        self._what = what

    # -- the beginning and the end ------------------------------------------------------------------------------------

    def begin(self, version: ObjectVersion, plan: Plan, target: PartFile, identity: tuple[int, int]) -> DownloadEntry:
        """A temporary file was created. ``identity`` is its device and inode."""
        return self._journal.begin(
            JournaledDownload(
                path=self._path,
                wanted=self._wanted(),
                etag=version.etag,
                version_id=version.head.version_id or "",
                crc64=version.crc64,
                plan=plan,
                temporary=str(target.path),
                device=identity[0],
                inode=identity[1],
                created=time.time(),
            )
        )

    async def remove(self, entry: DownloadEntry) -> tuple[bool, str]:
        """Remove a temporary file that no run has open, if nobody else goes on with it."""
        taken = await asyncio.wrap_future(self._journal.take(entry))
        if taken is None:
            return True, "no temporary file was left"
        gone = await self._discard(taken)
        return gone, "what was received is removed" if gone else f"The temporary file {entry.download.temporary} stays"

    # -- going on -----------------------------------------------------------------------------------------------------

    async def known(
        self, session: Session, on_hash_progress: Callable[[Progress], None] | None
    ) -> DownloadState | None:
        """Return the state of an earlier call, before the first request. None if the journal has none.

        HEAD shows whether the object is still the same.
        """
        loading = self._journal.load()
        if loading is not None:
            await asyncio.shield(asyncio.wrap_future(loading))
        if not self._journal.may_have(self._path):
            return None
        claim = await self._claim()
        if claim.entry is None:
            return await self._go_on(claim, None, on_hash_progress)
        try:
            head = await head_object(
                session, self._address, version_id=self._settings.version_id, headers=self._settings.headers
            )
        except BaseException as error:
            self._free(claim)
            if isinstance(error, ServerError) and not error.retryable:
                return None  # the first range asks again, and its error says more
            raise
        version = ObjectVersion(head=head, etag=head.etag, size=head.size, crc64=head.crc64)
        return await self._go_on(claim, version, on_hash_progress)

    async def found(
        self, version: ObjectVersion, on_hash_progress: Callable[[Progress], None] | None
    ) -> DownloadState | None:
        """Return the state of an earlier call whose temporary file is there. None if the journal has none."""
        return await self._go_on(await self._claim(), version, on_hash_progress)

    async def forget(self, why: str) -> None:
        """Remove what earlier calls have left, because ``why``."""
        if self._journal.may_have(self._path):
            claim = await self._claim()
            useless = list(claim.useless)
            if claim.entry is not None:
                useless.append((claim.entry, why))
            await self._go_on(DownloadClaim(useless=useless), None, None)

    async def _go_on(
        self,
        claim: DownloadClaim,
        version: ObjectVersion | None,
        on_hash_progress: Callable[[Progress], None] | None,
    ) -> DownloadState | None:
        useless = list(claim.useless)
        state = None
        try:
            if claim.entry is not None and version is not None:
                why = _difference(claim.entry.download, version)
                if not why:
                    try:
                        state = await self._reopened(claim.entry, version, claim.ranges, on_hash_progress)
                    except CannotReopenError as error:
                        why = str(error)
                if why:
                    useless.append((claim.entry, why))
            if claim.busy and state is None:
                logger.warning(
                    "%s is running already, in another process or task; this one fetches the object too", self._what
                )
            while useless:
                entry, why = useless[0]
                await self._drop(entry, why, starts_over=state is None)
                del useless[0]
        except BaseException:
            self._free(DownloadClaim(entry=None if state else claim.entry, useless=useless))
            if state is not None:
                await self._left(state)
            raise
        return state

    async def _left(self, state: DownloadState) -> None:
        assert state.entry is not None
        await finished(in_thread(None, state.target.keep))
        state.entry.hold(False)

    def _wanted(self) -> WantedObject:
        config = self._session.config
        return WantedObject(
            endpoint=config.endpoint,
            region=self._address.region or config.region or "",
            bucket=self._address.bucket,
            key=self._address.key,
            version_id=self._settings.version_id or "",
        )

    async def _claim(self) -> DownloadClaim:
        asked = self._journal.claim(self._path, self._wanted())
        try:
            return await asyncio.wrap_future(asked)
        except asyncio.CancelledError:
            asked.add_done_callback(self._free_claimed)
            raise

    def _free_claimed(self, asked: Future[DownloadClaim]) -> None:
        self._free(asked.result())

    def _free(self, claim: DownloadClaim) -> None:
        """Another call may take what was claimed."""
        for entry in (claim.entry, *(entry for entry, _ in claim.useless)):
            if entry is not None:
                entry.hold(False)

    async def _drop(self, entry: DownloadEntry, why: str, *, starts_over: bool) -> None:
        """Remove what cannot be continued, and report it."""
        gone = await self._discard(entry)
        left = "" if gone else f". Its temporary file {entry.download.temporary} cannot be removed"
        if starts_over:
            logger.warning("%s starts over: %s%s", self._what, why, left)
        elif left:
            logger.warning("%s: %s%s", self._what, why, left)

    async def _discard(self, entry: DownloadEntry) -> bool:
        download = entry.download
        removal = in_thread(self._executor, remove_temporary, download.temporary, download.device, download.inode)
        try:
            gone = await finished(removal)
        except TargetError:
            gone = False
        if gone:
            entry.remove()
        else:
            entry.hold(False)
        return gone

    async def _reopened(
        self,
        entry: DownloadEntry,
        version: ObjectVersion,
        ranges: Sequence[JournalRange],
        on_hash_progress: Callable[[Progress], None] | None,
    ) -> DownloadState:
        """Open the temporary file and return its state. Raises `CannotReopenError`."""
        opening = in_thread(self._executor, self._open, entry.download)
        try:
            target = await finished(opening)
        except asyncio.CancelledError:
            if opening.exception() is None:
                await finished(in_thread(None, opening.result().keep))
            raise
        state = DownloadState(version, entry.download.plan, target, entry)
        try:
            same = await self._compare(target.fd, entry.download.plan, ranges, on_hash_progress)
            state.restore(same)
        except BaseException:
            await finished(in_thread(None, target.keep))
            raise
        damaged = sum(each.length for each in ranges) - sum(each.length for each in same)
        if damaged:
            logger.warning(
                "%s: %s of the temporary file are not what was written there; they are fetched again",
                self._what,
                human_bytes(damaged),
            )
        resume_logger.info(
            "%s goes on with %s of %s that an earlier run has received",
            self._what,
            human_bytes(state.resumed),
            human_bytes(version.size),
        )
        return state

    # -- in threads ---------------------------------------------------------------------------------------------------

    def _open(self, download: JournaledDownload) -> PartFile:
        if self._settings.below is not None:
            path_below(*self._settings.below)  # no folder on the way is a link
        try:
            with writing(self._path):
                return PartFile.reopen(
                    Path(self._path),
                    Path(download.temporary),
                    device=download.device,
                    inode=download.inode,
                    size=download.plan.size,
                )
        except TargetError as error:
            raise CannotReopenError(f"its temporary file cannot be opened ({error})") from error

    async def _compare(
        self,
        fd: int,
        plan: Plan,
        ranges: Sequence[JournalRange],
        on_hash_progress: Callable[[Progress], None] | None,
    ) -> list[JournalRange]:
        """Return those ranges whose bytes in the file have the CRC64 of the journal."""
        reporter = Reporter(on_hash_progress, plan.size)
        loop = asyncio.get_running_loop()
        waiting = iter(sorted(ranges))
        lock, stop = threading.Lock(), threading.Event()
        same: list[JournalRange] = []

        def read(amount: int) -> None:
            loop.call_soon_threadsafe(reporter.add, amount)

        work: list[asyncio.Future[None]] = []
        try:
            work.extend(
                in_thread(self._executor, _hash_all, fd, plan, waiting, lock, stop, same, read)
                for _ in range(min(HASHING_THREADS, len(ranges), os.cpu_count() or 1))
            )
            for each in work:
                await finished(each)
        finally:
            stop.set()
            for each in work:
                await finished(each)
        return same


def _difference(download: JournaledDownload, version: ObjectVersion) -> str:
    """Return why the object is not the one whose ranges are in the temporary file; empty if it is."""
    same = (
        download.etag == version.etag
        and download.version_id == (version.head.version_id or "")
        and download.plan.size == version.size
        and (download.crc64 is None or version.crc64 is None or download.crc64 == version.crc64)
    )
    return "" if same else "the object was replaced since the last run"


def _hash_all(
    fd: int,
    plan: Plan,
    ranges: Iterator[JournalRange],
    lock: threading.Lock,
    stop: threading.Event,
    same: list[JournalRange],
    read: Callable[[int], None],
) -> None:
    """Take one of ``ranges`` after the other, and add it to ``same`` if its bytes have its CRC64."""
    memory = memoryview(bytearray(HASHED_AT_ONCE))
    while True:
        with lock:
            each = next(ranges, None)
        if each is None or stop.is_set():
            return
        if _crc64_of(fd, plan.part(each.number).offset, each.length, memory, stop, read) == each.crc64:
            with lock:
                same.append(each)


def _crc64_of(
    fd: int, offset: int, length: int, memory: memoryview, stop: threading.Event, read: Callable[[int], None]
) -> int | None:
    """Return the CRC64 of a stretch of a file; None if it cannot be read, or if ``stop`` was set meanwhile."""
    crc64 = 0
    while length:
        try:
            count = os.preadv(fd, [memory[:length]], offset)
        except OSError:
            return None  # a page that the disk has lost is fetched again
        if not count or stop.is_set():
            return None
        crc64 = hashing.crc64(memory[:count], crc64)
        offset += count
        length -= count
        read(count)
    return crc64
