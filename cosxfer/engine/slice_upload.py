"""One file as a multipart upload: Initiate, parts, Complete, and the proof that the object is the file."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import aclosing

from cosxfer._native import hashing
from cosxfer.cos import requests
from cosxfer.cos.names import check_key, shorten
from cosxfer.cos.requests import ObjectHeaders
from cosxfer.engine.hash_ahead import HashAhead, HashedPart
from cosxfer.engine.options import UploadOptions
from cosxfer.engine.part_body import PartBody
from cosxfer.engine.report import Reporter, logger
from cosxfer.engine.window import run_window
from cosxfer.errors import (
    CosxferError,
    IntegrityError,
    NotFoundError,
    ServerError,
    SourceError,
    TransportError,
    UploadError,
)
from cosxfer.models import MultipartCompleteResult, Part, UploadResult
from cosxfer.ops.head_object import head_object
from cosxfer.ops.multipart_abort import multipart_abort
from cosxfer.ops.multipart_complete import multipart_complete
from cosxfer.ops.multipart_init import multipart_init
from cosxfer.ops.multipart_list_part import multipart_list_part
from cosxfer.ops.multipart_upload import multipart_upload
from cosxfer.ops.session import Session
from cosxfer.planning import Plan, hash_batches, leaves_page_cache
from cosxfer.sources import FileSource

ABORT_SECONDS = 15.0
"""How long a failed upload may take to clean up behind itself."""


class SliceUpload:
    """One multipart upload under way; ``run`` is called once."""

    def __init__(
        self,
        session: Session,
        executor: Executor,
        source: FileSource,
        plan: Plan,
        *,
        bucket: str,
        key: str,
        options: UploadOptions,
    ) -> None:
        self._session = session
        self._source = source
        self._plan = plan
        self._bucket = bucket
        self._key = check_key(key)
        self._options = options
        self._limit = session.config.concurrency if options.async_limit is None else options.async_limit
        self._hash_reporter = Reporter(options.on_hash_progress, plan.size)
        self._reporter = Reporter(options.on_progress, plan.size)
        self._whole = hashing.Md5() if options.upload_add_meta_md5 else None
        self._ahead = HashAhead(source, executor=executor, on_hashed=self._hash_reporter.add, whole=self._whole)
        # With a key of the user's or of the KMS the stored bytes are not the sent ones, and so is the ETag.
        own_encryption = options.given.get("server_side_encryption") == "cos/kms"
        self._etag_is_md5 = not own_encryption and "sse_customer_key" not in options.given
        self._part_headers = requests.part_headers(options.given)
        memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self._drop_behind = leaves_page_cache(plan.size, memory_bytes=memory_bytes)
        self._upload_id = ""
        self._failed_part: int | None = None
        self._done: dict[int, tuple[HashedPart, str]] = {}
        self._http_version = ""

    async def run(self) -> UploadResult:
        """Upload the file. On failure the parts are aborted on the server unless the options keep them."""
        began, retries = time.monotonic(), self._session.retries
        self._hash_reporter.start()
        parts = self._hashed_parts()
        given = self._options.given
        if self._whole is not None:
            parts, given = await self._hash_everything_first(parts)
        init = await multipart_init(self._session, self._bucket, self._key, given=given, region=self._options.region)
        self._upload_id = init.upload_id
        try:
            self._reporter.start()
            send_began = time.monotonic()
            await run_window(parts, self._send_part, limit=self._limit)
            send_seconds = time.monotonic() - send_began
            crc64 = self._check_contiguous()
            self._source.check()
            completed = await self._complete(crc64)
        except SourceError as error:
            # Nothing is wrong with COS: the file's own error stays what it is.
            error.add_note((await self._abort())[1])
            raise
        except CosxferError as error:
            raise await self._failure(error) from error
        except BaseException:
            # Cancelled, or a fault of ours: either way the parts must not stay behind, or not without a word.
            aborted, left = await self._abort()
            if not aborted:
                logger.warning("%s was cancelled. %s", self._what(), left)
            raise
        verified_by = await self._verify(completed, crc64)
        self._reporter.finish()
        return UploadResult(
            status_code=completed.status_code,
            headers=completed.headers,
            request_id=completed.request_id,
            bucket=self._bucket,
            key=self._key,
            etag=completed.etag,
            location=completed.location,
            version_id=completed.version_id,
            crc64=crc64,
            verified=bool(verified_by),
            verified_by=verified_by,
            size=self._plan.size,
            parts=self._plan.count,
            part_size_bytes=self._plan.part_size_bytes,
            upload_id=self._upload_id,
            http_version=self._http_version,
            seconds=time.monotonic() - began,
            hash_seconds=self._ahead.seconds,
            send_seconds=send_seconds,
            retries=self._session.retries - retries,
        )

    async def _hashed_parts(self) -> AsyncGenerator[HashedPart, None]:
        batches = hash_batches(self._plan, lanes=hashing.lanes(), concurrency=self._limit)
        async with aclosing(self._ahead.hash(batches)) as parts:
            async for part in parts:
                yield part
        self._hash_reporter.finish()

    async def _hash_everything_first(
        self, parts: AsyncGenerator[HashedPart, None]
    ) -> tuple[AsyncGenerator[HashedPart, None], ObjectHeaders]:
        """x-cos-meta-md5 is metadata, which Initiate takes: so the whole file is hashed before it."""
        assert self._whole is not None
        hashed = [part async for part in parts]
        given = self._options.given
        metadata = {**(given.get("metadata") or {}), "md5": self._whole.hexdigest()}

        async def again() -> AsyncGenerator[HashedPart, None]:
            for part in hashed:
                yield part

        return again(), ObjectHeaders(**{**given, "metadata": metadata})

    async def _send_part(self, part: HashedPart) -> None:
        number = part.range.number
        try:
            result, self._http_version = await multipart_upload(
                self._session,
                self._bucket,
                self._key,
                PartBody(self._source, part.range),
                upload_id=self._upload_id,
                part_number=number,
                content_length=part.range.length,
                md5=part.md5,
                crc64=part.crc64,
                etag_is_md5=self._etag_is_md5,
                headers=self._part_headers,
                region=self._options.region,
                on_sent=self._reporter.add,
            )
            # What went out may have changed since it was hashed; the server's checks catch that, unless it
            # changed back. The file's own times tell.
            self._source.check()
        except CosxferError as error:
            self._failed_part = self._failed_part or number
            # A source that was cut shows up as a broken request; the cause is worth more than the symptom.
            self._source.check()
            raise error
        self._done[number] = (part, result.etag)
        if self._drop_behind:
            self._source.drop_cache(part.range.offset, part.range.length)

    def _check_contiguous(self) -> int:
        """Assert that every byte of the file is in exactly one part, and return the CRC64 of the whole."""
        crc64 = offset = 0
        for number in range(1, self._plan.count + 1):
            part = self._done[number][0]
            assert part.range.offset == offset, f"part {number} begins at {part.range.offset}, not at {offset}"
            offset += part.range.length
            crc64 = hashing.crc64_combine(crc64, part.crc64, part.range.length)
        assert offset == self._plan.size, f"the parts hold {offset} of {self._plan.size} bytes"
        return crc64

    async def _complete(self, crc64: int) -> MultipartCompleteResult:
        parts = [Part(part_number=number, etag=etag) for number, (_, etag) in self._done.items()]
        try:
            return await multipart_complete(
                self._session,
                self._bucket,
                self._key,
                upload_id=self._upload_id,
                parts=parts,
                region=self._options.region,
            )
        except (TransportError, ServerError) as error:
            # The answer to an earlier attempt may have been lost after the object was made.
            completed = await self._completed_anyway(error, crc64)
            if completed is None:
                raise
            return completed

    async def _completed_anyway(self, error: CosxferError, crc64: int) -> MultipartCompleteResult | None:
        gone = isinstance(error, NotFoundError) and error.code == "NoSuchUpload"
        # What may succeed later may have succeeded already; an error inside a 200 is told by its code, not its status.
        if isinstance(error, ServerError) and not gone and not error.retryable and error.status != 409:
            return None
        try:
            if not gone and await self._still_open():
                return None
            head = await head_object(self._session, self._bucket, self._key, region=self._options.region)
        except CosxferError:
            return None
        if head.size != self._plan.size or head.crc64 != crc64:
            return None
        return MultipartCompleteResult(
            status_code=head.status_code,
            headers=head.headers,
            request_id=head.request_id,
            location=self._session.endpoint(self._bucket, self._options.region).location(self._key),
            bucket=self._bucket,
            key=self._key,
            etag=head.etag,
            crc64=head.crc64,
            version_id=head.version_id,
        )

    async def _still_open(self) -> bool:
        try:
            await multipart_list_part(
                self._session,
                self._bucket,
                self._key,
                upload_id=self._upload_id,
                max_parts=1,
                region=self._options.region,
            )
        except NotFoundError:
            return False
        return True

    async def _verify(self, completed: MultipartCompleteResult, crc64: int) -> str:
        """Compare the object's CRC64 with the file's; returns by what the object was verified."""
        theirs = completed.crc64
        if theirs is None:
            try:
                head = await head_object(self._session, self._bucket, self._key, region=self._options.region)
            except CosxferError as error:
                raise UploadError(
                    f"{self._what()} was completed, but the object could not be compared with the file: {error}",
                    upload_id=self._upload_id,
                ) from error
            theirs = head.crc64
        if theirs is None:
            return "etag" if self._etag_is_md5 else ""
        if theirs != crc64:
            raise UploadError(
                f"{self._what()} was completed, but the object is not the file: its CRC64 is {theirs}, the file's "
                f"{crc64}. Do not use the object; upload it again",
                upload_id=self._upload_id,
            ) from IntegrityError("the CRC64 of the object differs", expected=crc64, actual=theirs)
        return "crc64"

    async def _failure(self, error: CosxferError) -> UploadError:
        where = f" at part {self._failed_part} of {self._plan.count}" if self._failed_part else ""
        sent = "; ".join(getattr(error, "__notes__", []))
        reason = f"{error} ({sent})" if sent else str(error)
        aborted, left = await self._abort()
        return UploadError(
            f"{self._what()} failed{where}: {reason}. {left}",
            upload_id=self._upload_id,
            part_number=self._failed_part,
            aborted=aborted,
        )

    async def _abort(self) -> tuple[bool, str]:
        """Delete the parts from the server; returns whether they are gone, and a sentence about it."""
        name = f"multipart upload {self._upload_id}"
        if not self._options.abort_on_failure:
            return False, f"The {name} and its {len(self._done)} parts were kept on the server"
        try:
            async with asyncio.timeout(ABORT_SECONDS):
                await multipart_abort(
                    self._session,
                    self._bucket,
                    self._key,
                    upload_id=self._upload_id,
                    region=self._options.region,
                )
        except NotFoundError:
            return True, f"The {name} is no longer on the server"
        except (CosxferError, TimeoutError) as error:
            why = str(error) or f"no answer in {ABORT_SECONDS:g} s"
            return False, (
                f"The {name} could not be aborted ({why}): its parts stay on the server and are paid for until "
                "multipart_abort is called with this upload id"
            )
        return True, f"The {name} was aborted; nothing is left on the server"

    def _what(self) -> str:
        return f"the upload of {self._source.path} to {self._bucket}/{shorten(self._key)[1:-1]}"
