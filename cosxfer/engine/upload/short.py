"""The short way of a small upload: callbacks on the event loop, and no asyncio task.

For small files the steps of Python are most of the cost. The short way is for a file that a native thread reads, that
is stored by the first request, and that is the same after it. In any other case it ends with the `UploadRest`, which
the job does in the usual way: a failed request is retried, a file that has changed is compared, a large one is sent in
parts.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.cos.responses import HttpResponse
from cosxfer.engine.limiter import Limiter
from cosxfer.engine.report import Reporter, logger
from cosxfer.engine.shortcut import Rest
from cosxfer.engine.upload.native_files import Found, ReadFile
from cosxfer.engine.upload.opening import Opener
from cosxfer.models import Progress, UploadResult
from cosxfer.ops.attempt import Attempt
from cosxfer.ops.begun_put import Puts
from cosxfer.ops.put_object import put_fields, put_request
from cosxfer.ops.session import Session
from cosxfer.records import dataclass
from cosxfer.sources import SmallFile

REPORTED_AFTER_SECONDS = 0.25
"""Only an upload that takes longer reports its progress before its end."""

REPORTED_ABOVE_BYTES = 16 * 1024
"""A smaller file is sent in one step."""


@dataclass(frozen=True, kw_only=True)
class UploadRest(Rest):
    """What the short way has done before it ended."""

    source: SmallFile | None = None
    digest: hashing.PartDigest | None = None
    """That of ``source``."""
    tried: Attempt | None = None
    """The failed attempt at the request."""
    stored: HttpResponse | None = None
    """The response that proves that the content of ``source`` is stored. Whether the file has changed is open."""


class ShortUploads:
    """What the short uploads of one batch share."""

    def __init__(self, session: Session, limiter: Limiter, opener: Opener) -> None:
        self.batch = session
        self.puts = Puts(session.observed(counted=True))
        self.slot = limiter.single
        self.opener = opener


class ShortUpload:
    """One upload by the short way. ``then`` gets the result; or an `UploadRest`; or None if it was cancelled."""

    __slots__ = (
        "_address",
        "_attempt",
        "_began",
        "_cancelled",
        "_digest",
        "_ended",
        "_headers",
        "_on_progress",
        "_path",
        "_reporter",
        "_response",
        "_send_began",
        "_sent",
        "_shared",
        "_small_bytes",
        "_source",
        "_stored",
        "_then",
        "_waiting",
    )

    def __init__(
        self,
        shared: ShortUploads,
        address: ObjectAddress,
        path: str | os.PathLike[str],
        headers: Mapping[str, str],
        *,
        small_bytes: int,
        stored: Callable[[SmallFile, UploadResult], None],
    ) -> None:
        """A file of more than ``small_bytes`` is left to the usual way. ``stored`` is called when all is proven."""
        self._shared = shared
        self._address = address
        self._path = path
        self._headers = headers
        self._small_bytes = small_bytes
        self._stored = stored
        self._cancelled = False
        self._waiting = False
        """Whether it waits for a slot."""
        self._attempt: Attempt | None = None
        self._source: SmallFile | None = None
        self._digest: hashing.PartDigest | None = None
        self._response: HttpResponse | None = None
        self._reporter: Reporter | None = None
        self._sent = 0
        self._ended = False

    def start(
        self, on_progress: Callable[[Progress], None], then: Callable[[UploadResult | UploadRest | None], None]
    ) -> None:
        """Begin. On the event loop."""
        self._on_progress = on_progress
        self._then = then
        self._began = time.monotonic()
        if self._cancelled:
            self._end(None)
        elif not self._step(self._read):
            self._end(UploadRest())

    def cancel(self) -> None:
        """End it at once."""
        self._cancelled = True
        if self._attempt is not None:
            self._attempt.cancel()
        else:
            self._waiting = False
            self._end(None)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _read(self) -> bool:
        return self._shared.opener.begin_read(self._path, self._small_bytes, _Reading(self))

    def _has_read(self, read: ReadFile | None) -> None:
        if read is None:
            self._end(UploadRest())
            return
        self._source, self._digest = source, _ = read
        slot, size = self._shared.slot, source.size
        if slot.try_acquire(size, size):
            self._send()
        else:
            self._waiting = True
            slot.queue(size, self, size)

    # what waits for a slot of the limiter

    def done(self) -> bool:
        """Whether it waits for no slot any more."""
        return not self._waiting

    def set_result(self, _: None, /) -> None:
        """It has the slot."""
        self._waiting = False
        # Not at once: the limiter is giving slots to others.
        asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        if not (not self._cancelled and self._step(self._begin)):
            self._release()
            self._end(UploadRest(source=self._source, digest=self._digest))

    def _begin(self) -> bool:
        source, digest = self._source, self._digest
        assert source is not None
        assert digest is not None
        self._send_began = time.monotonic()
        request = put_request(
            self._address,
            memoryview(source.content),
            content_length=source.size,
            md5=digest.md5,
            crc64=digest.crc64,
            headers=self._headers,
            on_sent=self._has_sent if source.size > REPORTED_ABOVE_BYTES else None,
        )
        self._attempt = self._shared.puts.begin(request, self._responded)
        return self._attempt is not None

    def _has_sent(self, count: int) -> None:
        self._sent += count
        if time.monotonic() - self._began < REPORTED_AFTER_SECONDS:
            return
        if self._reporter is None:
            assert self._source is not None
            self._reporter = Reporter(self._on_progress, self._source.size)
            count = self._sent
        self._reporter.add(count)

    def _responded(self, attempt: Attempt) -> None:
        self._attempt = None
        self._release()
        source = self._source
        assert source is not None
        if attempt.has_failed or attempt.response is None or self._cancelled:
            tried = attempt if attempt.has_failed else None
            self._end(UploadRest(source=source, digest=self._digest, tried=tried))
            return
        self._response = attempt.response
        if not self._step(lambda: self._shared.opener.begin_check(source, _Checking(self))):
            self._changed()

    def _checked(self, found: Found) -> None:
        """Take over what there is at the path after the file was sent."""
        if not self._step(lambda: self._finish(found)):
            self._changed()

    def _finish(self, found: Found) -> bool:
        source, digest, response = self._source, self._digest, self._response
        assert source is not None
        assert digest is not None
        assert response is not None
        if not source.check_found(found):
            return False
        fields = put_fields(self._shared.puts.session, self._address, response, md5=digest.md5, crc64=digest.crc64)
        fields["crc64"] = digest.crc64
        now = time.monotonic()
        result = UploadResult(
            **fields,
            bucket=self._address.bucket,
            key=self._address.shown_key,
            size=source.size,
            parts=1,
            part_size_bytes=source.size,
            upload_id="",
            http_version=response.http_version,
            seconds=now - self._began,
            hash_seconds=0.0,
            send_seconds=now - self._send_began,
            retries=0,
        )
        self._stored(source, result)
        self._end(result)
        return True

    def _changed(self) -> None:
        """The object is stored, but the file may have changed meanwhile."""
        self._end(UploadRest(source=self._source, digest=self._digest, stored=self._response))

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _step(self, step: Callable[[], bool]) -> bool:
        """Make a step. One that fails in an unforeseen way is done in the usual way, which says what is wrong."""
        try:
            return step()
        except Exception:
            logger.debug("%s: the short way has failed", self._address, exc_info=True)
            return False

    def _release(self) -> None:
        assert self._source is not None
        self._shared.slot.release(self._source.size, self._source.size)

    def _end(self, outcome: UploadResult | UploadRest | None) -> None:
        if not self._ended:
            self._ended = True
            self._then(None if self._cancelled else outcome)


class _Reading:
    """Gets the content of a file from the native threads, as a future would."""

    __slots__ = ("_upload",)

    def __init__(self, upload: ShortUpload) -> None:
        self._upload = upload

    def done(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._upload._ended

    def set_result(self, read: ReadFile | None, /) -> None:
        """It is read; None if it has to be opened in the usual way."""
        self._upload._has_read(read)

    def set_exception(self, error: Exception, /) -> None:
        """It could not be hashed."""
        self._upload._has_read(None)


class _Checking:
    """Gets what there is at a path."""

    __slots__ = ("_upload",)

    def __init__(self, upload: ShortUpload) -> None:
        self._upload = upload

    def done(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._upload._ended

    def set_result(self, found: Found, /) -> None:
        """This is there."""
        self._upload._checked(found)

    def set_exception(self, error: Exception, /) -> None:
        """It is unknown."""
        self._upload._changed()
