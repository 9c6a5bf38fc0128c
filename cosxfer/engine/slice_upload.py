"""One file as a multipart upload: Initiate, parts, Complete, and the proof that the object is the file.

An upload that was interrupted goes on from its `Checkpoint`: parts that the server lists with our digest and length
are not sent again, and not read either.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Executor
from contextlib import aclosing

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.cos import requests
from cosxfer.cos.names import bare_etag, shorten
from cosxfer.engine.abort import abort_upload, kept
from cosxfer.engine.checkpoint import Checkpoint, DonePart
from cosxfer.engine.completion import Completion, is_gone
from cosxfer.engine.hash_ahead import HashAhead, HashedPart
from cosxfer.engine.options import UploadOptions
from cosxfer.engine.part_body import PartBody
from cosxfer.engine.report import Reporter, logger
from cosxfer.engine.unchanged import check_unchanged
from cosxfer.engine.window import run_window
from cosxfer.errors import (
    ConnectError,
    CosxferError,
    IntegrityError,
    NotFoundError,
    SourceChangedError,
    SourceError,
    TransportError,
    UploadError,
)
from cosxfer.models import MultipartCompleteResult, Part, Progress, UploadResult
from cosxfer.ops.multipart_init import multipart_init
from cosxfer.ops.multipart_list_part import multipart_list_part
from cosxfer.ops.multipart_upload import multipart_upload
from cosxfer.ops.session import Session
from cosxfer.planning import Plan, hash_batches, leaves_page_cache
from cosxfer.sources import FileSource

INITIATE_SECONDS = 5.0
"""How long an upload that is cancelled during Initiate waits for its id."""


class SliceUpload:
    """One run of a multipart upload; ``run`` is called once. What it did stands in ``checkpoint``."""

    def __init__(
        self,
        session: Session,
        executor: Executor,
        source: FileSource,
        plan: Plan,
        *,
        address: ObjectAddress,
        headers: Mapping[str, str],
        options: UploadOptions,
        checkpoint: Checkpoint,
        on_hash_progress: Callable[[Progress], None] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._session = session.observed(self._retried)
        self._retries = 0
        self._source = source
        self._plan = plan
        self._address = address
        self._headers = headers
        self._options = options
        self._limit = session.config.concurrency if options.async_limit is None else options.async_limit
        self._hash_reporter = Reporter(on_hash_progress, plan.size)
        self._reporter = Reporter(on_progress, plan.size)
        self._whole: hashing.Md5 | None = None
        self._executor = executor
        self._hash_seconds = 0.0
        # With a key of the customer's or of the KMS the stored bytes are not the sent ones, and so is the ETag.
        self._etag_is_md5 = requests.etag_may_be_md5(headers)
        self._part_headers = requests.part_headers(headers)
        memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self._drop_behind = leaves_page_cache(plan.size, memory_bytes=memory_bytes)
        self._checkpoint = checkpoint
        self._listed: dict[int, Part] = {}
        """Parts that the server has, and of which it is not known yet whether they are this file's."""
        self._failed_part: int | None = None
        self._http_version = ""

    async def run(self) -> UploadResult:
        """Upload the file. On failure the parts are aborted on the server unless the options keep them.

        Cancelling ends it at once and keeps what is on the server.
        """
        began = time.monotonic()
        checkpoint = self._checkpoint
        plan = self._plan
        logger.debug(
            "%s: %d bytes, parts of %d bytes: %d, done before: %d, in flight: %d",
            self._what(),
            plan.size,
            plan.part_size_bytes,
            plan.count,
            len(checkpoint.done),
            self._limit,
        )
        completed = None
        try:
            if checkpoint.upload_id:
                completed = await self._recall()
        except CosxferError as error:
            raise await self._failure(error) from error
        done_bytes = checkpoint.loaded
        self._hash_reporter.start(done_bytes)
        send_began = time.monotonic()
        if completed is None:
            hashed = await self._begin()
            try:
                self._reporter.start(done_bytes)
                send_began = time.monotonic()
                await run_window(hashed, self._send_part, limit=self._limit)
                crc64 = self._check_contiguous()
                await check_unchanged(self._source, self._executor, checkpoint.hashed(plan))
                checkpoint.completing = True
                parts = [Part(part_number=number, etag=part.etag) for number, part in checkpoint.done.items()]
                completed = await self._completion(crc64).run(parts)
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
                if not aborted and not self._options.restartable:
                    logger.warning("%s failed. %s", self._what(), left)
                raise
        crc64 = self._check_contiguous()
        send_seconds = time.monotonic() - send_began
        upload_id = checkpoint.upload_id
        etags_agree = all(bare_etag(part.etag) == part.md5.hex() for part in checkpoint.done.values())
        completion = self._completion(crc64)
        checkpoint.clear()
        verified_by = await self._verify(completed, completion, crc64, upload_id, etags_agree=etags_agree)
        self._reporter.finish()
        return UploadResult(
            status_code=completed.status_code,
            headers=completed.headers,
            request_id=completed.request_id,
            bucket=self._address.bucket,
            key=self._address.shown_key,
            etag=completed.etag,
            location=completed.location,
            version_id=completed.version_id,
            crc64=crc64,
            verified=bool(verified_by),
            verified_by=verified_by,
            size=self._plan.size,
            parts=self._plan.count,
            part_size_bytes=self._plan.part_size_bytes,
            upload_id=upload_id,
            http_version=self._http_version,
            seconds=time.monotonic() - began,
            hash_seconds=self._hash_seconds,
            send_seconds=send_seconds,
            retries=self._retries,
        )

    def _retried(self, error: CosxferError) -> None:
        self._retries += 1
        unanswered = isinstance(error, TransportError) and not isinstance(error, ConnectError)
        if unanswered and not self._checkpoint.upload_id:
            # Initiate makes a new upload each time, and there is no way to ask which one a lost answer named.
            logger.warning(
                "%s begins again, as the answer to Initiate was lost (%s): an empty multipart upload of this key "
                "may stay on the server; multipart_list shows it",
                self._what(),
                error,
            )

    async def _recall(self) -> MultipartCompleteResult | None:
        """Ask the server for the parts of an earlier run; returns the object where it turns out to be complete."""
        checkpoint = self._checkpoint
        listed: list[Part] = []
        marker: int | None = None
        try:
            while True:
                page = await multipart_list_part(
                    self._session,
                    self._address,
                    upload_id=checkpoint.upload_id,
                    part_number_marker=marker,
                )
                listed += page.parts
                marker = page.next_part_number_marker
                if not page.is_truncated or marker is None:
                    break
        except NotFoundError as error:
            completed = None
            if checkpoint.completing:
                completed = await self._completion(self._check_contiguous()).found(error)
            if completed is None:
                checkpoint.clear()
            return completed
        missing, self._listed = checkpoint.keep_listed(listed)
        if missing:
            logger.warning("%s goes on; %d of its parts are not on the server as sent", self._what(), missing)
        return None

    async def _begin(self) -> AsyncGenerator[HashedPart, None]:
        """Initiate, unless an earlier run has; returns the parts that are to be sent."""
        if self._checkpoint.upload_id:
            return self._hashed_parts()
        if not self._options.upload_add_meta_md5:
            await self._initiate(self._headers)
            return self._hashed_parts()
        # x-cos-meta-md5 is metadata, which Initiate takes: so the whole file is hashed before it.
        self._whole = hashing.Md5()
        hashed = [part async for part in self._hashed_parts()]
        await self._initiate(requests.with_md5_metadata(self._headers, self._whole.hexdigest()))

        async def again() -> AsyncGenerator[HashedPart, None]:
            for part in hashed:
                yield part

        return again()

    async def _initiate(self, headers: Mapping[str, str]) -> None:
        """Cancelled meanwhile, it still waits for the answer: an upload whose id nobody knows cannot be aborted."""
        call = multipart_init(self._session, self._address, headers=headers)
        work = asyncio.ensure_future(call)
        # `asyncio.run` cancels every task that it knows when the main one has ended; this one ends with its caller.
        asyncio._unregister_task(work)
        try:
            init = await asyncio.shield(work)
        except asyncio.CancelledError:
            try:
                if not work.cancelled():
                    await asyncio.wait([work], timeout=INITIATE_SECONDS)
            except asyncio.CancelledError:
                pass  # once more: it is not waited for any longer, but told of below
            if work.done() and not work.cancelled() and work.exception() is None:
                self._begun(work.result().upload_id)
            else:
                logger.warning(
                    "%s was given up before Initiate was answered: an empty multipart upload of this key may stay on "
                    "the server; multipart_list shows it",
                    self._what(),
                )
            work.cancel()
            raise
        self._begun(init.upload_id)

    def _begun(self, upload_id: str) -> None:
        self._checkpoint.upload_id = upload_id
        self._checkpoint.identity = self._source.identity

    async def _hashed_parts(self) -> AsyncGenerator[HashedPart, None]:
        ahead = HashAhead(self._source, executor=self._executor, on_hashed=self._hash_reporter.add, whole=self._whole)
        batches = hash_batches(self._plan, lanes=hashing.lanes(), concurrency=self._limit, done=self._checkpoint.done)
        try:
            async with aclosing(ahead.hash(batches)) as parts:
                async for part in parts:
                    yield part
        finally:
            self._hash_seconds = ahead.seconds
        self._hash_reporter.finish()

    async def _send_part(self, part: HashedPart) -> None:
        number = part.range.number
        if (etag := self._etag_of_stored(part)) is not None:
            self._reporter.add(part.range.length)
            self._part_is_done(part, etag)
            return
        try:
            result, http_version = await multipart_upload(
                self._session,
                self._address,
                PartBody(self._source, part, self._executor),
                upload_id=self._checkpoint.upload_id,
                part_number=number,
                content_length=part.range.length,
                md5=part.md5,
                crc64=part.crc64,
                etag_is_md5=self._etag_is_md5,
                headers=self._part_headers,
                on_sent=self._reporter.add,
            )
            self._http_version = http_version or self._http_version
            # What went out may have changed since it was hashed; the server's checks catch that, unless it
            # changed back. The file's own times tell.
            self._source.check()
        except CosxferError as error:
            self._failed_part = self._failed_part or number
            # A source that was cut shows up as a broken request; the cause is worth more than the symptom.
            await check_unchanged(self._source, self._executor, [part])
            raise error
        self._part_is_done(part, result.etag)

    def _etag_of_stored(self, part: HashedPart) -> str | None:
        """The ETag of a part that the server has already: it was stored, and the response was lost.

        The list proves it by our MD5 and length, where an ETag is an MD5.
        """
        listed = self._listed.pop(part.range.number, None)
        if listed is None or not self._etag_is_md5 or listed.size != part.range.length:
            return None
        return listed.etag if bare_etag(listed.etag) == part.md5.hex() else None

    def _part_is_done(self, part: HashedPart, etag: str) -> None:
        self._checkpoint.done[part.range.number] = DonePart(part.range.length, part.md5, part.crc64, etag)
        if self._drop_behind:
            self._source.drop_cache(part.range.offset, part.range.length)

    def _check_contiguous(self) -> int:
        """Assert that every byte of the file is in exactly one part, and return the CRC64 of the whole."""
        crc64 = offset = 0
        for number in range(1, self._plan.count + 1):
            part = self._checkpoint.done[number]
            begins = self._plan.part(number).offset
            assert begins == offset, f"part {number} begins at {begins}, not at {offset}"
            offset += part.length
            crc64 = hashing.crc64_combine(crc64, part.crc64, part.length)
        assert offset == self._plan.size, f"the parts hold {offset} of {self._plan.size} bytes"
        return crc64

    def _completion(self, crc64: int) -> Completion:
        return Completion(
            self._session,
            self._address,
            upload_id=self._checkpoint.upload_id,
            size=self._plan.size,
            crc64=crc64,
            key_headers=requests.customer_key_headers(self._headers),
        )

    async def _verify(
        self,
        completed: MultipartCompleteResult,
        completion: Completion,
        crc64: int,
        upload_id: str,
        *,
        etags_agree: bool,
    ) -> str:
        """Compare the object's CRC64 with the file's; returns by what the object was verified."""
        theirs = completed.crc64
        if theirs is None:
            try:
                head = await completion.head()
            except CosxferError as error:
                raise UploadError.of(
                    error,
                    f"{self._what()} was completed, but the object could not be compared with the file: {error}",
                    upload_id=upload_id,
                ) from error
            theirs = head.crc64
        if theirs is None:
            return "etag" if etags_agree else ""
        if theirs != crc64:
            differs = IntegrityError("the CRC64 of the object differs", expected=crc64, actual=theirs)
            raise UploadError.of(
                differs,
                f"{self._what()} was completed, but the object is not the file: its CRC64 is {theirs}, the file's "
                f"{crc64}. Do not use the object; upload it again",
                upload_id=upload_id,
            ) from differs
        return "crc64"

    async def _failure(self, error: CosxferError) -> UploadError:
        where = f" at part {self._failed_part} of {self._plan.count}" if self._failed_part else ""
        sent = "; ".join(getattr(error, "__notes__", []))
        reason = f"{error} ({sent})" if sent else str(error)
        upload_id = self._checkpoint.upload_id
        aborted, left = await self._leave(error)
        return UploadError.of(
            error,
            f"{self._what()} failed{where}: {reason}. {left}",
            upload_id=upload_id,
            part_number=self._failed_part,
            aborted=aborted,
        )

    async def _leave(self, error: Exception) -> tuple[bool, str]:
        """Keep the parts on the server, or delete them; returns whether they are gone, and a sentence about it."""
        checkpoint = self._checkpoint
        # The parts of a file that has changed are of no use, and what the server has forgotten cannot be gone on with.
        useless = isinstance(error, SourceChangedError) or is_gone(error)
        if not self._options.abort_on_failure or (self._options.restartable and not useless):
            return False, kept(checkpoint, self._options)
        gone, left = await abort_upload(
            self._session,
            self._address,
            upload_id=checkpoint.upload_id,
            completing=checkpoint.completing,
        )
        if gone:
            checkpoint.clear()
        return gone, left

    def _what(self) -> str:
        return f"the upload of {self._source.path} to {self._address.bucket}/{shorten(self._address.shown_key)[1:-1]}"
