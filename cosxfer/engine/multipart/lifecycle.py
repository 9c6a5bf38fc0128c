"""The life of a multipart upload: initiate, send the parts, complete, verify; and what is left after a failure.

An upload that was interrupted goes on from its `Checkpoint`. Parts that the server lists with our digest and length are
not sent again, and not read either.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping

from cosxfer.address import ObjectAddress
from cosxfer.cos import requests
from cosxfer.engine.limiter import Left, Observed, Share
from cosxfer.engine.multipart.abort import Leaving, leave, replace_upload
from cosxfer.engine.multipart.checkpoint import Checkpoint
from cosxfer.engine.multipart.completion import Completion
from cosxfer.engine.multipart.hedge import HedgePolicy, may_hedge
from cosxfer.engine.multipart.part_sender import PartSender
from cosxfer.engine.multipart.source import PartSource, ReadyPart
from cosxfer.engine.multipart.window import Flight, Window
from cosxfer.engine.report import Reporter, logger
from cosxfer.errors import AccessDeniedError, CosxferError, NotFoundError, SourceError, UploadError
from cosxfer.figures import counted
from cosxfer.foreign import clean_logger, shorten
from cosxfer.models import MultipartCompleteResult, Verdict
from cosxfer.ops.multipart_init import multipart_init, warn_of_retry
from cosxfer.ops.outage import Transfer
from cosxfer.ops.pages import all_parts
from cosxfer.ops.session import Session
from cosxfer.planning import StreamPlan
from cosxfer.records import dataclass
from cosxfer.sources import SourceIdentity

RESUMED = "cosxfer.resume"
"""The logger of uploads that go on, at the level INFO."""

resume_logger = clean_logger(RESUMED)

INITIATE_SECONDS = 5.0
"""How long an upload that is cancelled during Initiate waits for its id."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a multipart upload that has succeeded."""

    completed: MultipartCompleteResult
    crc64: int
    verified_by: str
    size: int
    parts: int
    resumed_bytes: int
    """Bytes of the parts that earlier runs had sent."""
    upload_id: str
    http_version: str
    send_seconds: float
    retries: int
    hedges: int
    verdict: Verdict | None


class MultipartUpload:
    """One run of a multipart upload; ``run`` is called once. ``checkpoint`` keeps what it has done."""

    def __init__(
        self,
        session: Session,
        source: PartSource,
        *,
        address: ObjectAddress,
        headers: Mapping[str, str],
        checkpoint: Checkpoint,
        share: Share,
        leaving: Leaving,
        reporter: Reporter,
        identity: SourceIdentity | None = None,
        headers_of_object: Callable[[], Awaitable[Mapping[str, str]]] | None = None,
    ) -> None:
        """``headers`` are those of the object. ``headers_of_object`` replaces them just before Initiate."""
        self._session = session.observed(self._retried, counted=True, transfer=Transfer())
        self._source = source
        self._address = address
        self._headers = headers
        self._headers_of_object = headers_of_object
        self._identity = identity
        self._checkpoint = checkpoint
        self._share = share
        self._leaving = leaving
        self._reporter = reporter
        config = self._session.config
        self._observed: Observed | None = None
        self._verdict: Verdict | None = None
        self._denied_id = ""
        """An upload whose parts may not be listed, so that another one replaces it."""
        policy = self._policy = HedgePolicy[Flight[ReadyPart]](
            hedging=config.hedge and may_hedge(headers), stall_seconds=config.stall_timeout_seconds
        )
        self._sender = PartSender(self._session, source, address, checkpoint, headers=headers, policy=policy)
        self._window = Window(
            self._sender.send,
            self._sender.stored,
            share=share,
            size_of=lambda part: part.hashed.range.length,
            held_by=lambda part: part.held,
            policy=policy,
            on_sent=reporter.add,
        )

    async def run(self) -> Outcome:
        """Upload the source. On failure the parts are aborted or kept on the server, as ``leaving`` says.

        Cancelling ends it at once and keeps what is on the server.
        """
        checkpoint = self._checkpoint
        self._log_begin()
        completed = None
        try:
            if checkpoint.upload_id:
                completed = await self._recall()
        except CosxferError as error:
            raise await self._failure(error) from error
        send_began = time.monotonic()
        resumed_bytes = checkpoint.loaded
        if completed is None:
            if not checkpoint.upload_id or self._denied_id:
                resumed_bytes = 0
                await self._initiate()
            self._reporter.start(checkpoint.loaded)
            send_began = time.monotonic()
            completed = await self._guarded(self._send_observed())
        send_seconds = time.monotonic() - send_began
        crc64, parts, upload_id = self._crc64(), len(checkpoint.done), checkpoint.upload_id
        etags_are_md5s = checkpoint.etags_are_md5s()
        completion = self._completion(crc64)
        checkpoint.clear()
        verified_by = await completion.verify(completed, what=self._what(), etags_are_md5s=etags_are_md5s)
        self._reporter.finish()
        return Outcome(
            completed=completed,
            crc64=crc64,
            verified_by=verified_by,
            size=self._size(),
            parts=parts,
            resumed_bytes=resumed_bytes + self._sender.taken_bytes,
            upload_id=upload_id,
            http_version=self._sender.http_version,
            send_seconds=send_seconds,
            retries=self._session.retries,
            hedges=self._policy.hedges,
            verdict=self._verdict,
        )

    async def _send_observed(self) -> MultipartCompleteResult:
        self._observed = self._share.observe(self._address, size=self._source.size)
        try:
            completed = await self._send_and_complete()
        except BaseException as error:
            if self._observed is not None:
                self._observed.end(error)
            raise
        if self._observed is not None:
            self._observed.end(None)
        return completed

    async def _send_and_complete(self) -> MultipartCompleteResult:
        checkpoint = self._checkpoint
        parts = self._source.parts(done=checkpoint.done, window=lambda: self._share.capacity)
        self._share.tell_left(self._left)
        try:
            await self._window.run(parts)
        finally:
            self._share.tell_left(None)
        if self._observed is not None:
            self._verdict = self._observed.judge(parts=len(checkpoint.done))
        crc64 = self._crc64()
        await self._source.check(checkpoint.hashed())
        checkpoint.begin_completion()
        await checkpoint.settled()
        return await self._completion(crc64).run(checkpoint.to_complete())

    def _left(self) -> Left:
        plan, checkpoint = self._source.plan, self._checkpoint
        if isinstance(plan, StreamPlan):  # how many parts follow is seen at the end
            return Left(math.inf, math.inf)
        return Left(plan.count - len(checkpoint.done), plan.size - checkpoint.loaded)

    async def _guarded(self, work: Awaitable[MultipartCompleteResult]) -> MultipartCompleteResult:
        """Run ``work``; an error says what became of the parts."""
        try:
            return await work
        except SourceError as error:
            # Nothing is wrong with COS: the file's own error stays what it is.
            error.add_note((await self._leave(error))[1])
            raise
        except CosxferError as error:
            raise await self._failure(error) from error
        except Exception as error:
            # A fault of ours: the parts must not stay behind, or not without a word.
            aborted, left = await self._leave(error)
            error.add_note(left)
            if not aborted and not self._leaving.restartable:
                logger.warning("%s failed. %s", self._what(), left)
            raise

    def _log_begin(self) -> None:
        done = len(self._checkpoint.done)
        size = "an unknown number of" if self._source.size is None else self._source.size
        first = self._source.plan.length(1)
        logger.debug(
            "%s: %s bytes, parts of %d bytes, done before: %d, in flight: %d",
            self._what(),
            size,
            first,
            done,
            self._share.capacity,
        )

    def _retried(self, error: CosxferError) -> None:
        if not self._checkpoint.upload_id:
            warn_of_retry(self._what(), error)

    # -- begin or go on -----------------------------------------------------------------------------------------------

    async def _recall(self) -> MultipartCompleteResult | None:
        """Ask the server for the parts of an earlier run; returns the object if it turns out to be complete."""
        checkpoint = self._checkpoint
        try:
            pages = all_parts(self._session, self._address, upload_id=checkpoint.upload_id)
            listed = [part async for part in pages]
        except NotFoundError as error:
            if not error.code:
                raise  # something on the way refused it, not COS: the parts may be there
            completed = None
            # A damaged journal may have lost parts, and then nothing is known of the whole.
            if checkpoint.completing and checkpoint.has_all(self._size()):
                completed = await self._completion(self._crc64()).found(error)
            if completed is None:
                if checkpoint.restored:
                    logger.warning(
                        "%s starts over: the server does not have the multipart upload %s any more",
                        self._what(),
                        checkpoint.upload_id,
                    )
                checkpoint.clear()
            return completed
        except AccessDeniedError as error:
            if not checkpoint.restored or error.code != "AccessDenied":
                raise  # wrong or expired keys: the parts may be listed later
            self._denied_id = checkpoint.upload_id
            return None
        missing, self._sender.listed = checkpoint.keep_listed(listed)
        if missing:
            logger.warning("%s goes on; %d of its parts are not on the server as sent", self._what(), missing)
        self._log_resumed()
        return None

    def _log_resumed(self) -> None:
        checkpoint, plan = self._checkpoint, self._source.plan
        if isinstance(plan, StreamPlan) or not checkpoint.restored:
            return
        others = len(self._sender.listed)
        resume_logger.info(
            "%s resumed: %d of %s were there%s",
            self._what(),
            len(checkpoint.done),
            counted(plan.count, "part"),
            f"; {counted(others, 'other part')} on the server will be compared with the file" if others else "",
        )

    async def _initiate(self) -> None:
        """Begin the upload.

        If this is cancelled, it still waits for the response: an upload without a known id cannot be aborted.
        """
        headers = self._headers if self._headers_of_object is None else await self._headers_of_object()
        work = asyncio.ensure_future(multipart_init(self._session, self._address, headers=headers))
        # `asyncio.run` cancels every task that it knows when the main one has ended; this one ends with its caller.
        asyncio._unregister_task(work)
        try:
            init = await asyncio.shield(work)
        except asyncio.CancelledError:
            try:
                if not work.cancelled():
                    await asyncio.wait([work], timeout=INITIATE_SECONDS)
            except asyncio.CancelledError:
                pass  # cancelled again: it waits no longer, and reports below
            if work.done() and not work.cancelled() and work.exception() is None:
                self._has_begun(work.result().upload_id)
            else:
                logger.warning(
                    "%s was cancelled before the response to Initiate: an empty multipart upload of this key may stay "
                    "on the server; multipart_list shows it",
                    self._what(),
                )
            work.cancel()
            raise
        earlier = self._checkpoint.entry
        self._has_begun(init.upload_id)
        await self._checkpoint.settled()
        if self._denied_id:
            why = f"{self._what()} starts over, because the parts of its earlier run may not be listed"
            await replace_upload(self._session, self._address, self._denied_id, earlier, why=why)
            self._denied_id = ""

    def _has_begun(self, upload_id: str) -> None:
        self._checkpoint.begin(upload_id, self._source.plan, self._identity)

    # -- complete ------------------------------------------------------------------------------------------

    def _size(self) -> int:
        size = self._source.size
        assert size is not None, "the end of the source was not seen"
        return size

    def _crc64(self) -> int:
        return self._checkpoint.check_contiguous(self._size())

    def _completion(self, crc64: int) -> Completion:
        return Completion(
            self._session,
            self._address,
            upload_id=self._checkpoint.upload_id,
            size=self._size(),
            crc64=crc64,
            key_headers=requests.customer_key_headers(self._headers),
            forbid_overwrite=requests.forbids_overwrite(self._headers),
        )

    # -- failure ------------------------------------------------------------------------------------------------------

    async def _failure(self, error: CosxferError) -> UploadError:
        count = getattr(self._source.plan, "count", None)
        failed = self._window.failed_item
        number = None if failed is None else failed.hashed.range.number
        where = f" at part {number}" if number else ""
        where += f" of {count}" if where and count else ""
        sent = "; ".join(getattr(error, "__notes__", []))
        reason = f"{error} ({sent})" if sent else str(error)
        upload_id = self._checkpoint.upload_id
        aborted, left = await self._leave(error)
        return UploadError.of(
            error,
            f"{self._what()} failed{where}: {reason}. {left}",
            upload_id=upload_id,
            part_number=number,
            aborted=aborted,
        )

    async def _leave(self, error: Exception) -> tuple[bool, str]:
        return await leave(self._session, self._address, self._checkpoint, self._leaving, error)

    def _what(self) -> str:
        return f"the upload of {self._source.name} to {self._address.bucket}/{shorten(self._address.shown_key)[1:-1]}"
