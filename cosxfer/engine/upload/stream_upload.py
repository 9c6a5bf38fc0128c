"""A stream into COS: a single PUT if it ends within the first part, else a multipart upload. Memory stays bounded."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from functools import partial

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.arguments import NumberOrAuto, wrong_type
from cosxfer.config import check_concurrency, stream_bytes, window_bytes
from cosxfer.cos.requests import Buffer
from cosxfer.engine.limiter import Limiter
from cosxfer.engine.multipart import in_use
from cosxfer.engine.multipart.abort import Leaving, abort_checkpoint
from cosxfer.engine.multipart.checkpoint import Checkpoint
from cosxfer.engine.multipart.lifecycle import MultipartUpload
from cosxfer.engine.report import Reporter, logger
from cosxfer.engine.upload.bodies import BodyInput, PreparedBody, check_content_length, checked_body, measured
from cosxfer.engine.upload.digests import digest_of
from cosxfer.engine.upload.file_body import ReadableFile
from cosxfer.engine.upload.sent import SentInParts, SinglePut
from cosxfer.engine.upload.single_put import put_body
from cosxfer.engine.upload.stream_body import pieces_of
from cosxfer.engine.upload.stream_parts import StreamParts
from cosxfer.errors import IntegrityError, ServerError, TransportError, UploadError, UsageError
from cosxfer.models import Progress, UploadResult
from cosxfer.ops.session import Session
from cosxfer.planning import plan_stream
from cosxfer.threads import Workers
from cosxfer.walls import part_size_of, parts_in_flight, usual_parts

StreamInput = ReadableFile | Iterable[Buffer] | AsyncIterable[Buffer]


class StreamUpload:
    """One stream on its way into COS. ``run`` is called once: a stream can be read once."""

    def __init__(
        self,
        session: Session,
        executor: Workers,
        limiter: Limiter,
        address: ObjectAddress,
        body: StreamInput,
        *,
        content_length: int | None,
        headers: Mapping[str, str],
        part_size: NumberOrAuto | None = None,
        async_limit: NumberOrAuto | None = None,
        announced: int | None = None,
    ) -> None:
        """``announced`` is what a file object says of its length, for the progress; it is not trusted."""
        self._announced = announced
        self._session = session
        self._executor = executor
        self._limiter = limiter
        self._address = address
        self._body = body
        self._content_length = content_length
        self._headers = headers
        size, name = part_size_of(session.config, part_size, "part_size")
        self._limit = parts_in_flight(session.config, async_limit)
        self._plan = plan_stream(
            content_length,
            part_size_bytes=size,
            known=limiter.link_for(self._limit),
            window_bytes=window_bytes(session.config.memory_budget_bytes),
            name=name,
        )
        self._checkpoint = Checkpoint(name=partial(in_use.name_of, session, address))

    @property
    def upload_id(self) -> str:
        """The multipart upload that is on the server now, or empty."""
        return self._checkpoint.upload_id

    async def run(self, *, on_progress: Callable[[Progress], None] | None) -> SinglePut | SentInParts:
        """Send it to its end. If it fails, its parts are deleted from the server."""
        began = time.monotonic()
        body, name = self._body, f"<{type(self._body).__name__}>"
        if self._announced is None:
            self._announced = await measured(body, self._executor)
        reporter = Reporter(on_progress, self._announced if self._content_length is None else self._content_length)

        def ended(size: int) -> None:
            if self._content_length not in (None, size):
                more = f"more than {size - 1}" if size > (self._content_length or 0) else str(size)
                raise UsageError(
                    f"content_length is {self._content_length}, but the body {name} is {more} bytes; "
                    "nothing was stored",
                    name="content_length",
                    value=self._content_length,
                )
            reporter.set_total(size)

        parts = StreamParts(
            pieces_of(body),
            self._plan,
            executor=self._executor,
            name=name,
            most_bytes=stream_bytes(self._session.config.memory_budget_bytes),
            on_end=ended,
        )
        if isinstance(body, ReadableFile):
            await parts.watch(body)
        first = await parts.read_first()
        if parts.size is not None:
            if not first and self._content_length is None and isinstance(body, Iterator | AsyncIterator | ReadableFile):
                logger.warning(
                    "the body %s has no bytes, so an empty body is sent; an iterator or a stream gives its bytes only "
                    "once",
                    name,
                )
            return await self._put(first, on_progress, began)
        config = self._session.config
        with self._limiter.share(self._limit, usual=usual_parts(config, in_task=False)) as share:
            upload = MultipartUpload(
                self._session,
                parts,
                address=self._address,
                headers=self._headers,
                checkpoint=self._checkpoint,
                share=share,
                leaving=Leaving(abort_on_failure=True, restartable=False),
                reporter=reporter,
            )
            try:
                outcome = await upload.run()
            finally:
                self._checkpoint.hold(False)
        return SentInParts(
            outcome=outcome,
            part_size_bytes=self._plan.length(1),
            seconds=time.monotonic() - began,
            hash_seconds=parts.hash_seconds,
        )

    async def _put(
        self, content: memoryview, on_progress: Callable[[Progress], None] | None, began: float
    ) -> SinglePut:
        hash_began = time.monotonic()
        digest: hashing.PartDigest = await digest_of(content, self._executor)
        hash_seconds = time.monotonic() - hash_began
        session = self._session.observed()
        ready = PreparedBody(body=content, content_length=len(content), md5=digest.md5, crc64=digest.crc64)
        result, http_version, reporter = await put_body(
            session, self._address, ready, slot=None, headers=self._headers, on_progress=on_progress
        )
        reporter.finish()
        seconds = time.monotonic() - began
        return SinglePut(
            result=result,
            crc64=digest.crc64,
            size=len(content),
            http_version=http_version,
            seconds=seconds,
            hash_seconds=hash_seconds,
            send_seconds=seconds,
            retries=session.retries,
        )

    async def abort(self) -> tuple[bool, str]:
        """Delete the parts from the server; returns whether they are gone, and a sentence about it."""
        return await abort_checkpoint(self._session, self._address, self._checkpoint)


class StreamJob:
    """A `StreamUpload` as the work of a task: it can be cancelled, but neither paused nor restarted."""

    __slots__ = ("_upload", "address")

    abort_on_failure = True
    holds_parts = False
    must_leave = False
    kept = ""
    loaded = 0
    path = ""
    repeatable = False
    size = 0

    def __init__(
        self,
        session: Session,
        executor: Workers,
        limiter: Limiter,
        address: ObjectAddress,
        stream: BodyInput,
        *,
        content_length: int | None,
        part_size: NumberOrAuto | None,
        async_limit: NumberOrAuto | None,
        headers: Mapping[str, str],
    ) -> None:
        if not isinstance(stream, ReadableFile | AsyncIterable | Iterable) or isinstance(
            stream, str | Buffer | os.PathLike | Mapping
        ):
            raise wrong_type(
                "stream",
                stream,
                "a binary file object, or an iterable or asynchronous iterable of bytes; put_object sends bytes, and "
                "upload_file a file",
            )
        body = checked_body(stream)
        assert not isinstance(body, Buffer | os.PathLike)
        check_content_length(content_length)
        if async_limit is not None:
            check_concurrency(async_limit, name="async_limit")
        self.address = address
        self._upload = StreamUpload(
            session,
            executor,
            limiter,
            address,
            body,
            content_length=content_length,
            headers=headers,
            part_size=part_size,
            async_limit=async_limit,
        )

    @property
    def upload_id(self) -> str:
        """The multipart upload that is on the server now, or empty."""
        return self._upload.upload_id

    def demand(self, total: int) -> int:
        """Return 1: how long the stream is remains to be seen."""
        return 1

    async def run(
        self, *, on_hash_progress: Callable[[Progress], None] | None, on_progress: Callable[[Progress], None] | None
    ) -> UploadResult:
        """Send the stream; raises `UploadError` for what the server or the connection refuses."""
        try:
            return (await self._upload.run(on_progress=on_progress)).as_upload_result(self.address)
        except (ServerError, TransportError, IntegrityError) as error:
            if isinstance(error, UploadError):
                raise
            raise UploadError.with_notes_of(error) from error

    async def leave(self) -> tuple[bool, str]:
        """Nothing is open."""
        return True, ""

    async def abort(self) -> tuple[bool, str]:
        """Delete the parts from the server; returns whether they are gone, and a sentence about it."""
        return await self._upload.abort()
