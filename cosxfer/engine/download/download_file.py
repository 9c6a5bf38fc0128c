"""Downloading one object into a file: a short one with a single request, any other in ranges."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import Executor
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import TypeVar, TypeVarTuple

from cosxfer.address import ObjectAddress
from cosxfer.arguments import wrong_type
from cosxfer.config import window_bytes
from cosxfer.cos.responses import HttpResponse, seconds_of
from cosxfer.engine.download.first import FIRST_BYTES, FirstBlocks, FirstResponse, fetch_first
from cosxfer.engine.download.kept import Known, is_kept, kept_result
from cosxfer.engine.download.options import DownloadSettings
from cosxfer.engine.download.proof import check_crc64, check_md5, md5_of_file
from cosxfer.engine.download.recall import Recall
from cosxfer.engine.download.short import Rest, ShortDownload, Shorts
from cosxfer.engine.download.state import DownloadState, LeftFile, ObjectVersion
from cosxfer.engine.limiter import Left, Limiter, Share
from cosxfer.engine.multipart.abort import passes
from cosxfer.engine.multipart.hedge import HedgePolicy
from cosxfer.engine.multipart.window import Flight, Request, Window
from cosxfer.engine.report import Reporter, logger
from cosxfer.errors import (
    CosxferError,
    IntegrityError,
    NotFoundError,
    ObjectChangedError,
    ServerError,
    TargetError,
)
from cosxfer.figures import human_bytes
from cosxfer.foreign import shorten
from cosxfer.journal_downloads import DownloadJournal
from cosxfer.limits import KIB, MIB
from cosxfer.models import DownloadResult, Progress
from cosxfer.ops.get_range import get_range
from cosxfer.ops.outage import Transfer
from cosxfer.ops.session import Session
from cosxfer.planning import PartRange, Plan, plan_parts
from cosxfer.records import dataclass
from cosxfer.targets import PartFile, has_temporary, open_target, path_below, write_target, writing
from cosxfer.threads import finished, in_thread
from cosxfer.walls import part_size_of, parts_in_flight, usual_parts

STARTS = 3
"""How often a download begins because the object was replaced meanwhile, or because its checksum differs."""

JOURNALED_BYTES = 64 * MIB
"""A shorter object in a single range is not journaled. It would cost more than it can save: all of it is in flight."""

HELD_BYTES = 512 * KIB
"""The memory that a range in flight holds: one block that is received, hashed and written (`WIRE_READ_BYTES`)."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

R = TypeVar("R")
Arguments = TypeVarTuple("Arguments")


class DownloadJob:
    """The download of one object. ``run`` may be cancelled and called again; it continues with what it has.

    The constructor checks every argument.
    """

    repeatable = True

    __slots__ = (
        "_blocks",
        "_done",
        "_executor",
        "_journal",
        "_left",
        "_limiter",
        "_session",
        "_shorts",
        "_state",
        "address",
        "known",
        "path",
        "settings",
    )

    def __init__(
        self,
        session: Session,
        executor: Executor,
        limiter: Limiter,
        blocks: FirstBlocks,
        address: ObjectAddress,
        path: str | os.PathLike[str],
        *,
        settings: DownloadSettings,
        journal: DownloadJournal | None = None,
        shorts: Shorts | None = None,
    ) -> None:
        """``shorts`` is given for a file of a batch: it may take the short way."""
        if not isinstance(path, str | bytes | os.PathLike):
            raise wrong_type("path", path, "a path")
        self._session = session
        self._executor = executor
        self._limiter = limiter
        self._blocks = blocks
        self.address = address
        self.path = os.fsdecode(path)
        self.settings = settings
        self._journal = journal
        self._shorts = shorts
        self._state: DownloadState | None = None
        self._done: _Done | None = None
        """Set when the file has its name. A run that is cancelled in this moment leaves it for the next one."""
        self._left: LeftFile | None = None
        """The temporary file that the last run has left for a later call."""
        self.known: Known | None = None
        """Set for a file below a folder that an earlier call has completed: it is not fetched if it still is the
        object."""

    @property
    def abort_on_failure(self) -> bool:
        """Whether the temporary file is removed if the download is interrupted."""
        return self._left is None and (self._state is None or not self._is_journaled(self._state))

    @property
    def holds_parts(self) -> bool:
        """Whether a failed run may leave a temporary file for a later run of this task alone."""
        return self.settings.restartable and self._left is None

    @property
    def must_leave(self) -> bool:
        """Whether `leave` or `abort` has to be called, because the temporary file is open."""
        return self._state is not None

    @property
    def upload_id(self) -> str:
        """The path of the temporary file, or empty."""
        if self._state is not None:
            return str(self._state.target.path)
        return "" if self._left is None else self._left.path

    @property
    def kept(self) -> str:
        """A sentence about the temporary file that an interrupted download leaves."""
        state, left = self._state, self._left
        if left is None and state is not None:
            left = LeftFile.of(state)
        if left is None:
            return ""
        sentence = (
            f"The temporary file {left.path} with {human_bytes(left.received)} of {human_bytes(left.size)} was kept"
        )
        return f"{sentence}; the same call goes on with it" if left.entry is not None and left.entry.works else sentence

    @property
    def loaded(self) -> int:
        """The bytes that are in the temporary file."""
        if self._state is not None:
            return self._state.received()
        if self._done is not None:
            return self._done.plan.size
        return 0 if self._left is None else self._left.received

    def demand(self, total: int) -> int:
        """Return how many requests at a time it can use if the object has ``total`` bytes."""
        return 1 if total <= FIRST_BYTES else min(self._plan(total).count, self._limit)

    def shortcut(self) -> ShortDownload | None:
        """Return the short way of doing this, which may end with a `Rest` for `run`; None if there is none."""
        if self._state is not None or self._done is not None:
            return None
        if self._shorts is None or self.settings.sparse or self.known is not None:
            return None
        return ShortDownload(self, self._shorts)

    async def run(
        self,
        *,
        on_hash_progress: Callable[[Progress], None] | None,
        on_progress: Callable[[Progress], None] | None,
        rest: Rest | None = None,
    ) -> DownloadResult:
        """Download the object. Cancelling ends it at once and keeps what was received. ``rest``: see `shortcut`."""
        if self.known is not None and self.settings.below is not None:
            if await is_kept(self._executor, self.settings.below, self.known.finished):
                return kept_result(self.address, self.path, self.known)
            self.known = None
        try:
            return await self._run(on_hash_progress, on_progress, rest or Rest())
        except CosxferError as error:
            if self._is_kept_after(error):
                await self.leave()
                error.add_note(self.kept)
            # What a retry cannot repair would be kept in vain, and a full disk needs its space.
            elif not error.retryable or not self.settings.restartable:
                await self.abort()
            if self._is_deleted(error) and (recall := self._recall()) is not None:
                await recall.forget("the object was deleted")
            raise

    def _is_kept_after(self, error: CosxferError) -> bool:
        """Whether a later call can go on with the temporary file after ``error``."""
        full = isinstance(error, TargetError) and error.errno in _FULL
        return self._state is not None and self._is_journaled(self._state) and passes(error) and not full

    def _is_journaled(self, state: DownloadState) -> bool:
        return state.entry is not None and state.entry.works

    async def leave(self) -> tuple[bool, str]:
        """Close the temporary file and keep it for a later call. Returns False, and a sentence about it."""
        state = self._state
        if state is not None:
            state.note_begun()
            left = LeftFile.of(state)
            await _in_shared_thread(state.target.keep)
            if state.entry is not None:
                await state.entry.settled()
                state.entry.hold(False)
            self._state, self._left = None, left
        return self._left is None, self.kept

    async def abort(self) -> tuple[bool, str]:
        """Remove the temporary file."""
        state, self._state = self._state, None
        left, self._left = self._left, None
        if state is not None:
            await _in_shared_thread(state.target.discard)
            if state.entry is not None:
                state.entry.remove()
            return True, "what was received is removed"
        if left is not None and left.entry is not None and (recall := self._recall()) is not None:
            return await recall.remove(left.entry)
        return True, "no temporary file was left"

    # -- one download ---------------------------------------------------------------------------------------------

    async def _run(
        self,
        on_hash_progress: Callable[[Progress], None] | None,
        on_progress: Callable[[Progress], None] | None,
        rest: Rest,
    ) -> DownloadResult:
        began = time.monotonic()
        session = self._session.observed(counted=True, transfer=Transfer())
        reporter = _Received(on_progress, None if self._state is None else self._state.plan.size)
        restarts = 0
        self._left = None
        if self._state is not None:
            self._state.resumed = self._state.received()
        while True:
            try:
                done = await self._once(session, reporter, on_hash_progress, rest)
                break
            except (ObjectChangedError, IntegrityError) as error:
                rest = Rest()
                await self.abort()
                reporter.forget()
                restarts += 1
                if restarts >= STARTS:
                    raise
                session.note_retry(error, attempt=restarts + 1, delay_seconds=0.0, max_attempts=STARTS)
        reporter.finish()
        return self._result(done, seconds=time.monotonic() - began, retries=session.retries)

    def _result(self, done: _Done, *, seconds: float, retries: int) -> DownloadResult:
        head = done.version.head
        return DownloadResult(
            **vars(head),
            bucket=self.address.bucket,
            key=self.address.shown_key,
            path=self.path,
            verified=bool(done.verified_by),
            verified_by=done.verified_by,
            parts=done.plan.count,
            part_size_bytes=done.plan.part_size_bytes,
            seconds=seconds,
            retries=retries,
            resumed_bytes=done.resumed,
        )

    async def _once(
        self,
        session: Session,
        reporter: Reporter,
        on_hash_progress: Callable[[Progress], None] | None,
        rest: Rest,
    ) -> _Done:
        if self._done is not None:
            reporter.set_total(self._done.plan.size)
            return self._done
        recall = self._recall()
        if self._state is None and recall is not None:
            self._state = await recall.known(session, on_hash_progress)
            if self._state is not None:
                reporter.set_total(self._state.plan.size)
        if self._state is None:
            with self._blocks.block(rest.block) as memory:
                first = rest.first
                if first is None:
                    first = await fetch_first(
                        session,
                        self.address,
                        memory,
                        settings=self.settings,
                        slot=self._limiter.single,
                        on_received=reporter.add,
                        tried=rest.tried,
                    )
                else:
                    reporter.add(first.received)
                reporter.set_total(first.version.size)
                if first.version.size <= FIRST_BYTES:
                    return await self._finish_short(first, memory[: first.received])
                content = memory[: first.received]
                self._state = await self._begin(recall, first, content, on_hash_progress)
                reporter.add(-first.received)  # the first range reports them again
        state = self._state
        await self._fetch(session, state, reporter)
        verified_by = check_crc64(state.version, state.crc64(), what=self._what())
        committing = in_thread(self._executor, self._commit, state, verified_by)
        try:
            verified_by = await finished(committing)
        except asyncio.CancelledError:
            if committing.exception() is None:
                self._has_committed(state, committing.result())
            raise
        return self._has_committed(state, verified_by)

    def _has_committed(self, state: DownloadState, verified_by: str) -> _Done:
        """The file has its name. If the run was cancelled meanwhile, the next one has nothing left to do."""
        self._state = None
        if state.entry is not None:
            state.entry.remove()
        self._done = _Done(version=state.version, plan=state.plan, verified_by=verified_by, resumed=state.resumed)
        return self._done

    async def _finish_short(self, first: FirstResponse, content: memoryview) -> _Done:
        version = first.version
        verified_by = check_crc64(version, first.crc64, what=self._what()) or check_md5(
            version, lambda: hashlib.md5(content, usedforsecurity=False).hexdigest(), what=self._what()
        )
        await self._in_thread(self._write_short, version, content)
        plan = Plan(size=version.size, part_size_bytes=FIRST_BYTES)
        return _Done(version=version, plan=plan, verified_by=verified_by, resumed=0)

    async def _begin(
        self,
        recall: Recall | None,
        first: FirstResponse,
        content: memoryview,
        on_hash_progress: Callable[[Progress], None] | None,
    ) -> DownloadState:
        version = first.version
        opened = await self._opened(version.size, content, ask=recall is not None)
        if opened is None and recall is not None:
            state = await recall.found(version, on_hash_progress)
            if state is not None:
                return state
            opened = await self._opened(version.size, content, ask=False)
        assert opened is not None
        target, identity = opened
        plan = self._plan(version.size)
        entry = None
        if recall is not None and target.nameable and (plan.count > 1 or plan.size >= JOURNALED_BYTES):
            entry = recall.begin(version, plan, target, identity)
        state = DownloadState(version, plan, target, entry)
        state.sparse = self.settings.sparse
        sink = state.sink(plan.part(1))
        sink.received, sink.crc64 = first.received, first.crc64
        return state

    async def _opened(self, size: int, content: memoryview, *, ask: bool) -> tuple[PartFile, tuple[int, int]] | None:
        """Create the temporary file. With ``ask``, None if an earlier call has left one."""
        opening = in_thread(self._executor, self._open, size, content, ask)
        try:
            return await finished(opening)
        except asyncio.CancelledError:
            if opening.exception() is None and (opened := opening.result()) is not None:
                await _in_shared_thread(opened[0].discard)
            raise

    async def _fetch(self, session: Session, state: DownloadState, reporter: Reporter) -> None:
        """Fetch the missing ranges."""
        config = self._session.config
        reporter.add(state.loaded)

        async def fetch(request: Request[PartRange]) -> None:
            sink = state.sink(request.item)
            if sink.received == sink.length:  # the first response had all of it
                request.sent(sink.length)
                return
            response = await self._get(session, state, request)
            self._check_version(response, state.version)

        # A second copy of a range is never fetched: what it wrote after the first one was hashed would not be proven.
        policy = HedgePolicy[Flight[PartRange]](hedging=False, stall_seconds=config.stall_timeout_seconds)
        with self._limiter.share(self._limit, usual=usual_parts(config, in_task=True)) as share:
            share.tell_left(lambda: Left(len(state.missing()), state.plan.size - state.loaded))
            try:
                await self._window(fetch, state, share, policy, reporter).run(_each(state.missing()))
            finally:
                share.tell_left(None)

    def _window(
        self,
        fetch: Callable[[Request[PartRange]], Awaitable[None]],
        state: DownloadState,
        share: Share,
        policy: HedgePolicy[Flight[PartRange]],
        reporter: Reporter,
    ) -> Window[PartRange, None]:
        return Window(
            fetch,
            lambda part, _: state.complete(part),
            share=share,
            size_of=lambda part: part.length,
            held_by=lambda _: HELD_BYTES,
            policy=policy,
            on_sent=reporter.add,
        )

    async def _get(self, session: Session, state: DownloadState, request: Request[PartRange]) -> HttpResponse:
        try:
            return await get_range(
                session,
                self.address,
                state.sink(request.item),
                version_id=self.settings.version_id,
                headers=self.settings.headers,
                on_received=request.sent,
                follower=request,
            )
        except TargetError as error:
            raise TargetError(f"{self._what()}: {error}", path=self.path, errno=error.errno) from error
        except ServerError as error:
            gone = self._is_deleted(error)
            if error.status in (412, 416) or gone:
                raise ObjectChangedError(
                    f"{self._what()}: the object was {'deleted' if gone else 'replaced'} meanwhile"
                ) from error
            raise

    def _check_version(self, response: HttpResponse, version: ObjectVersion) -> None:
        """The ETag was compared. With a key of the customer's two versions may have the same one."""
        crc64 = response.headers.get("x-cos-hash-crc64ecma", "").strip()
        if version.crc64 is not None and crc64 and crc64 != str(version.crc64):
            raise ObjectChangedError(f"{self._what()}: the object was replaced meanwhile")

    def _recall(self) -> Recall | None:
        if self._journal is None:
            return None
        below = self.settings.below
        return Recall(
            self._journal,
            self._session,
            self.address,
            self._executor,
            self.path if below is None else os.path.join(below[0], *below[1]),  # noqa: PTH118 (it is text)
            settings=self.settings,
            what=self._what(),
        )

    @staticmethod
    def _is_deleted(error: Exception) -> bool:
        return isinstance(error, NotFoundError) and error.code in ("NoSuchKey", "NoSuchVersion")

    # -- settings -------------------------------------------------------------------------------------------------

    @property
    def _limit(self) -> int:
        """The most ranges in flight."""
        return parts_in_flight(self._session.config, self.settings.async_limit)

    def _plan(self, size: int) -> Plan:
        part_size, name = part_size_of(self._session.config, self.settings.part_size, "part_size")
        known = self._limiter.link_for(self._limit, receives=True)
        if isinstance(part_size, int):
            return Plan(size=size, part_size_bytes=part_size)  # COS has no limit for the number of ranges
        return plan_parts(
            size,
            part_size_bytes=part_size,
            known=known,
            window_bytes=max(size, window_bytes(self._session.config.memory_budget_bytes)),
            name=name,
        )

    def _what(self) -> str:
        return f"the download of {self.address.bucket}/{shorten(self.address.shown_key)[1:-1]} to {self.path}"

    # -- in threads -----------------------------------------------------------------------------------------------

    async def _in_thread(self, function: Callable[[*Arguments], R], *arguments: *Arguments) -> R:
        return await finished(in_thread(self._executor, function, *arguments))

    def _open(self, size: int, content: memoryview, ask: bool) -> tuple[PartFile, tuple[int, int]] | None:
        place = self._place()
        if ask and has_temporary(place):
            return None
        target = open_target(place)
        try:
            with writing(self.path):
                if self.settings.sparse:
                    target.write_sparse(content, size)
                else:
                    target.reserve(size)
                    target.write([content])
                return target, target.identity
        except BaseException:
            target.discard()
            raise

    def _place(self) -> str:
        below = self.settings.below
        return self.path if below is None else path_below(*below)

    def _write_short(self, version: ObjectVersion, content: memoryview) -> None:
        write_target(self._place(), content, modified=self._modified(version))

    def _commit(self, state: DownloadState, verified_by: str) -> str:
        with writing(self.path):
            if not verified_by:
                verified_by = check_md5(state.version, partial(md5_of_file, state.target.fd), what=self._what())
            if (modified := self._modified(state.version)) is not None:
                state.target.set_modified(modified)
            state.target.commit()
        return verified_by

    def _modified(self, version: ObjectVersion) -> int | None:
        return self.modified(version.head.metadata, version.head.last_modified)

    def modified(self, metadata: Mapping[str, str], last_modified: str) -> int | None:
        """Return the time of the file in nanoseconds, if the object has one and it is wanted."""
        if not self.settings.preserve_mtime or (text := metadata.get("mtime")) is None:
            return self._stored_at(last_modified)
        try:
            nanoseconds = int(Decimal(text) * 10**9)
        except (InvalidOperation, ValueError, OverflowError):
            nanoseconds = 1 << 63
        if -(1 << 63) <= nanoseconds < 1 << 63:
            return nanoseconds
        logger.warning("%s: the metadata mtime is %s, which is no time", self._what(), shorten(text))
        return self._stored_at(last_modified)

    def _stored_at(self, last_modified: str) -> int | None:
        """Return the time at which the object was stored, if that is wanted."""
        if not self.settings.last_modified or not (seconds := seconds_of(last_modified)):
            return None
        return seconds * 10**9


@dataclass(frozen=True, kw_only=True)
class _Done:
    version: ObjectVersion
    plan: Plan
    verified_by: str
    resumed: int
    """Bytes that were in the temporary file at the beginning."""


class _Received(Reporter):
    """Reports the bytes that were received, and forgets them if they have to be received again."""

    def __init__(self, callback: Callable[[Progress], None] | None, total: int | None) -> None:
        super().__init__(callback, total)
        self._count = 0

    def add(self, amount: int) -> None:
        self._count += amount
        super().add(amount)

    def forget(self) -> None:
        """All bytes have to be received again."""
        self.add(-self._count)


async def _in_shared_thread(function: Callable[[], None]) -> None:
    """Close a file, also if the client's own threads have ended."""
    try:
        work = in_thread(None, function)
    except CosxferError:
        function()  # no thread is available: block the event loop rather than leave the file
    else:
        await finished(work)


async def _each(parts: list[PartRange]) -> AsyncGenerator[PartRange, None]:
    for part in parts:
        yield part
