"""One body in one request: PUT Object."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from cosxfer.address import ObjectAddress
from cosxfer.cos.requests import check_content_md5
from cosxfer.engine.bodies import BodyInput, PreparedBody, check_content_length, checked_body, in_memory, prepared
from cosxfer.engine.digests import Digests
from cosxfer.engine.report import Reporter
from cosxfer.engine.stream_body import view_of
from cosxfer.limits import MAX_PUT_BYTES
from cosxfer.models import Progress, PutObjectResult
from cosxfer.ops.mistakes import may_be_path, warn_if_path
from cosxfer.ops.put_object import put_object
from cosxfer.ops.session import Session
from cosxfer.threads import Workers


class PutJob:
    """The sending of one body. A ``repeatable`` one may be run again, and begins anew."""

    __slots__ = (
        "_body",
        "_content_length",
        "_content_md5",
        "_digests",
        "_executor",
        "_headers",
        "_session",
        "_text",
        "address",
        "path",
        "repeatable",
        "size",
    )

    abort_on_failure = False
    holds_parts = False
    loaded = 0
    upload_id = ""

    def __init__(
        self,
        session: Session,
        executor: Workers,
        digests: Digests,
        address: ObjectAddress,
        body: BodyInput,
        *,
        content_length: int | None,
        content_md5: str | None,
        headers: Mapping[str, str],
    ) -> None:
        text = body if isinstance(body, str) and may_be_path(body) else None
        body = checked_body(body)
        if content_md5 is not None:
            check_content_md5(content_md5)
        if content_length is not None:
            check_content_length(content_length)
        self._session = session
        self._executor = executor
        self._digests = digests
        self.address = address
        self._body = body
        self._content_length = content_length
        self._content_md5 = content_md5
        self._headers = headers
        self._text = text
        self.repeatable = isinstance(body, bytes | bytearray | memoryview | os.PathLike)
        self.path = os.fsdecode(body) if isinstance(body, os.PathLike) else ""
        self.size = view_of(body).nbytes if isinstance(body, bytes | bytearray | memoryview) else 0
        """Its bytes, of a body in memory."""

    async def run(
        self,
        *,
        on_hash_progress: Callable[[Progress], None] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> PutObjectResult:
        """Send it. Hashing is not reported: it is over before a listener could look."""
        if self._text is not None:
            await warn_if_path(self._text, self._executor)
        body, length, md5 = self._body, self._content_length, self._content_md5
        if isinstance(body, bytes | bytearray | memoryview):
            ready = await in_memory(
                body, self._digests.of, content_length=length, content_md5=md5, largest=MAX_PUT_BYTES
            )
            result, reporter = await self._send(ready, on_progress)
        else:
            async with prepared(
                body, self._executor, content_length=length, content_md5=md5, largest=MAX_PUT_BYTES
            ) as ready:
                result, reporter = await self._send(ready, on_progress)
        reporter.finish()
        return result

    async def _send(
        self, ready: PreparedBody, on_progress: Callable[[Progress], None] | None
    ) -> tuple[PutObjectResult, Reporter]:
        reporter = Reporter(on_progress, ready.content_length)
        reporter.start()
        result, _ = await put_object(
            self._session,
            self.address,
            ready.body,
            content_length=ready.content_length,
            md5=ready.md5,
            crc64=ready.crc64,
            headers=self._headers,
            on_sent=None if on_progress is None else reporter.add,
        )
        return ready.proven(result, operation="PUT Object"), reporter

    async def abort(self) -> tuple[bool, str]:
        """A single PUT leaves nothing behind."""
        return True, "nothing was left on the server"
