"""Sending one body as an object: in one request, or in parts if it is a stream of unknown length or above 5 GiB."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from cosxfer.address import ObjectAddress
from cosxfer.cos.requests import check_content_md5
from cosxfer.engine.limiter import Limiter
from cosxfer.engine.upload.bodies import (
    BodyInput,
    check_content_length,
    check_size,
    checked_body,
    in_memory,
    measured,
    prepared,
)
from cosxfer.engine.upload.closing import close_source
from cosxfer.engine.upload.digests import SMALL_BYTES, Digests
from cosxfer.engine.upload.opening import Opener
from cosxfer.engine.upload.single_put import put_body, put_file
from cosxfer.engine.upload.stream_body import view_of
from cosxfer.engine.upload.stream_upload import StreamUpload
from cosxfer.limits import MAX_PUT_BYTES
from cosxfer.models import Progress, PutObjectResult
from cosxfer.ops.mistakes import may_be_path, warn_if_path
from cosxfer.ops.session import Session
from cosxfer.threads import Workers


class PutJob:
    """The sending of one body. A ``repeatable`` one may be run again, and starts from the beginning."""

    __slots__ = (
        "_body",
        "_content_length",
        "_content_md5",
        "_digests",
        "_executor",
        "_headers",
        "_limiter",
        "_opener",
        "_session",
        "_slot",
        "_stream",
        "_text",
        "address",
        "path",
        "repeatable",
        "size",
    )

    abort_on_failure = True
    holds_parts = False
    must_leave = False
    kept = ""

    def __init__(
        self,
        session: Session,
        executor: Workers,
        opener: Opener,
        digests: Digests,
        limiter: Limiter,
        address: ObjectAddress,
        body: BodyInput,
        *,
        content_length: int | None,
        content_md5: str | None,
        headers: Mapping[str, str],
        at_once: bool = False,
    ) -> None:
        """``at_once`` takes no slot: the caller decides how many such requests are in flight."""
        text = body if isinstance(body, str) and may_be_path(body) else None
        body = checked_body(body)
        check_content_length(content_length)
        self.address = address
        self._session = session
        self._executor = executor
        self._opener = opener
        self._digests = digests
        self._limiter = limiter
        self._slot = None if at_once else limiter.single
        self._body = body
        self._content_length = content_length
        self._content_md5 = check_content_md5(content_md5)
        self._headers = headers
        self._text = text
        self._stream: StreamUpload | None = None
        self.repeatable = isinstance(body, bytes | bytearray | memoryview | os.PathLike)
        self.path = os.fsdecode(body) if isinstance(body, os.PathLike) else ""
        self.size = view_of(body).nbytes if isinstance(body, bytes | bytearray | memoryview) else 0
        """The size of a body in memory, else 0."""

    @property
    def upload_id(self) -> str:
        """The id of the multipart upload of a stream that is on the server now, or empty."""
        return "" if self._stream is None else self._stream.upload_id

    @property
    def loaded(self) -> int:
        """Always 0: nothing is kept for a later run."""
        return 0

    def demand(self, total: int) -> int:
        """Return 1: the body is one request, unless it turns out to be a long stream."""
        return 1

    async def run(
        self,
        *,
        on_hash_progress: Callable[[Progress], None] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> PutObjectResult:
        """Send the body. The hashing is not reported."""
        if self._text is not None:
            await warn_if_path(self._text, self._executor)
        body, length, md5 = self._body, self._content_length, self._content_md5
        if isinstance(body, bytes | bytearray | memoryview):
            ready = await in_memory(
                body, self._digests.of, content_length=length, content_md5=md5, largest=MAX_PUT_BYTES
            )
            result, _, reporter = await put_body(
                self._session, self.address, ready, slot=self._slot, headers=self._headers, on_progress=on_progress
            )
            reporter.finish()
            return result
        if isinstance(body, os.PathLike):
            return await self._put_path(body, on_progress)
        announced = await measured(body, self._executor)
        if md5 is None and _goes_in_parts(announced, length):
            self._stream = StreamUpload(
                self._session,
                self._executor,
                self._limiter,
                self.address,
                body,
                content_length=length,
                announced=announced,
                headers=self._headers,
            )
            return (await self._stream.run(on_progress=on_progress)).as_put_result()
        async with prepared(
            body, self._executor, content_length=length, content_md5=md5, largest=MAX_PUT_BYTES, announced=announced
        ) as ready:
            result, _, reporter = await put_body(
                self._session, self.address, ready, slot=self._slot, headers=self._headers, on_progress=on_progress
            )
        reporter.finish()
        return result

    async def _put_path(
        self, path: os.PathLike[str], on_progress: Callable[[Progress], None] | None
    ) -> PutObjectResult:
        source, digest = await self._opener.open(path, small_bytes=SMALL_BYTES)
        try:
            check_size(source.size, MAX_PUT_BYTES, self._content_length)
            put = await put_file(
                self._session,
                self.address,
                source,
                digest,
                executor=self._executor,
                opener=self._opener,
                slot=self._slot,
                headers=self._headers,
                content_md5=self._content_md5,
                on_progress=on_progress,
            )
            return put.result
        finally:
            await close_source(source, self._executor)

    async def leave(self) -> tuple[bool, str]:
        """Nothing is open."""
        return True, ""

    async def abort(self) -> tuple[bool, str]:
        """Delete the parts of a stream from the server. A single PUT leaves nothing."""
        if self._stream is None:
            return True, "nothing was left on the server"
        return await self._stream.abort()


def _goes_in_parts(announced: int | None, content_length: int | None) -> bool:
    """Whether a file object that reports this size (None for a stream) is sent as a multipart upload."""
    if content_length is not None:
        return content_length > MAX_PUT_BYTES
    return announced is None or announced > MAX_PUT_BYTES
