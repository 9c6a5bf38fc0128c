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
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.cos.responses import CRC64_HEADER, HttpResponse
from cosxfer.engine.limiter import Limiter
from cosxfer.engine.report import Reporter, logger
from cosxfer.engine.shortcut import Rest, ShortEnd, ShortProgress, SlotWait
from cosxfer.engine.upload.digests import SMALL_BYTES
from cosxfer.engine.upload.native_files import small_file
from cosxfer.engine.upload.opening import Opener
from cosxfer.engine.upload.recall import Finished
from cosxfer.engine.upload.short_result import ShortResult
from cosxfer.ops.attempt import Attempt
from cosxfer.ops.begun_put import Puts
from cosxfer.ops.session import Session
from cosxfer.records import dataclass
from cosxfer.sources import SmallFile, SourceIdentity, absolute, is_fresh
from cosxfer.transport.base import Begun

if TYPE_CHECKING:
    from cosxfer._native.files import Identity, Read

REPORTED_AFTER_SECONDS = 0.25
"""Only an upload that takes longer reports its progress before its end."""

CHECKED_AT_ONCE = 16
"""Files that are sent before they are checked. If fewer requests are in flight, half of their number."""

CHECKED_AFTER_SECONDS = 0.001
"""How long a file that was sent waits for others at most."""

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
    """What the short uploads of one batch share. Used from one event loop."""

    def __init__(self, session: Session, limiter: Limiter, opener: Opener) -> None:
        self.batch = session
        self.puts = Puts(session.observed(counted=True))
        self.slot = limiter.single
        self.opener = opener
        self._limiter = limiter
        self._unchecked: list[ShortUpload] = []
        self._timer: asyncio.TimerHandle | None = None

    def upload(
        self,
        address: ObjectAddress,
        path: str | os.PathLike[str],
        headers: Mapping[str, str],
        *,
        slice_size: int,
        finished: Finished | None,
    ) -> ShortUpload | None:
        """Return the short way for a file of up to ``slice_size`` bytes; None if there is none."""
        small_bytes = min(slice_size, SMALL_BYTES)
        if not small_bytes or not self.puts.works:
            return None
        return ShortUpload(self, address, path, headers, small_bytes=small_bytes, finished=finished)

    def check_soon(self, upload: ShortUpload) -> None:
        """Call ``upload.check`` when several are sent, or a moment later.

        To wake a thread for each file would cost more than the check. What follows a check comes together as well: the
        next files are read and hashed side by side.
        """
        unchecked = self._unchecked
        unchecked.append(upload)
        if len(unchecked) >= min(CHECKED_AT_ONCE, self._limiter.in_flight // 2):
            self._check()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CHECKED_AFTER_SECONDS, self._check)

    def _check(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        unchecked, self._unchecked = self._unchecked, []
        for upload in unchecked:
            upload.check()


class ShortUpload:
    """One upload by the short way. It ends with the `ShortResult`; or an `UploadRest`; or None if it was cancelled."""

    __slots__ = (
        "_address",
        "_before_ns",
        "_began",
        "_begun",
        "_cancelled",
        "_digest",
        "_ended",
        "_file",
        "_finished",
        "_headers",
        "_name",
        "_on_progress",
        "_path",
        "_record",
        "_reporter",
        "_response",
        "_send_began",
        "_sent",
        "_shared",
        "_small_bytes",
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
        finished: Finished | None,
    ) -> None:
        """A file of more than ``small_bytes`` is left to the usual way.

        ``finished`` notes an object that is stored, if the server has the same CRC64.
        """
        self._shared = shared
        self._address = address
        self._path = path
        self._headers = headers
        self._small_bytes = small_bytes
        self._finished = finished
        self._cancelled = False
        self._waiting: SlotWait | None = None
        self._begun: Begun | None = None
        self._file: Read | None = None
        self._digest: hashing.PartDigest | None = None
        self._response: HttpResponse | None = None
        self._reporter: Reporter | None = None
        self._sent = 0
        self._ended = False

    def start(self, record: Any, on_progress: ShortProgress, then: ShortEnd) -> None:
        """Begin. On the event loop."""
        self._record = record
        self._on_progress = on_progress
        self._then = then
        self._began = time.monotonic()
        if self._cancelled:
            self._end(None)
            return
        begun = False
        try:
            begun = self._open()
        except Exception:
            self._has_failed()
        if not begun:
            self._end(UploadRest())

    def cancel(self) -> None:
        """End it at once."""
        self._cancelled = True
        if self._begun is not None:
            self._begun.cancel()
        else:
            if self._waiting is not None:
                self._waiting.over = True
            self._end(None)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _open(self) -> bool:
        name = self._name = os.fsdecode(self._path)
        self._before_ns = time.time_ns()
        return self._shared.opener.begin_read(name, self._small_bytes, self)

    def over(self) -> bool:
        """Whether nobody waits for what is read or found."""
        return self._ended

    def cannot_read(self, error: Exception | None) -> None:
        """It has to be opened in the usual way, or it could not be hashed."""
        self._end(UploadRest())

    def has_read(self, read: Read, digest: hashing.PartDigest) -> None:
        """It is in memory."""
        self._file, self._digest = read, digest
        slot, size = self._shared.slot, digest.length
        if slot.try_acquire(size, size):
            self._send()
        else:
            self._waiting = SlotWait(self._send)
            slot.queue(size, self._waiting, size)

    def _send(self) -> None:
        self._waiting = None
        if not self._cancelled:
            try:
                self._begun = self._begin()
            except Exception:
                self._has_failed()
        if self._begun is None:
            self._release()
            self._end(UploadRest(source=self._source(), digest=self._digest))

    def _begin(self) -> Begun | None:
        read, digest = self._file, self._digest
        assert read is not None
        assert digest is not None
        self._send_began = time.monotonic()
        return self._shared.puts.begin(
            self._address,
            read[0],
            md5=digest.md5,
            crc64=digest.crc64,
            headers=self._headers,
            on_sent=self._has_sent if digest.length > REPORTED_ABOVE_BYTES else None,
            owner=self,
        )

    def _has_sent(self, count: int) -> None:
        self._sent += count
        if time.monotonic() - self._began < REPORTED_AFTER_SECONDS:
            return
        if self._reporter is None:
            assert self._digest is not None
            self._reporter = Reporter(lambda progress: self._on_progress(self._record, progress), self._digest.length)
            count = self._sent
        self._reporter.add(count)

    def has_stored(self, response: HttpResponse) -> None:
        """The response proves that the content is stored."""
        self._begun = None
        self._release()
        if self._cancelled:
            self._end(None)
        else:
            self._response = response
            self._shared.check_soon(self)

    def has_not_stored(self, attempt: Attempt) -> None:
        """The request has failed, or has to be sent in the usual way if there is no error."""
        self._begun = None
        self._release()
        tried = attempt if attempt.error is not None else None
        self._end(UploadRest(source=self._source(), digest=self._digest, tried=tried))

    def check(self) -> None:
        """Ask what there is at the path after the file was sent."""
        if self._ended:
            return  # it was cancelled
        try:
            if self._shared.opener.begin_check(self._location(), self):
                return
        except Exception:
            self._has_failed()
        self._changed()

    def has_found(self, found: Identity | int) -> None:
        """This is at the path."""
        try:
            if self._finish(found):
                return
        except Exception:
            self._has_failed()
        self._changed()

    def _finish(self, found: Identity | int) -> bool:
        """End it if the file is the same. Otherwise the usual way looks what has changed."""
        read, digest, response = self._file, self._digest, self._response
        assert read is not None
        assert digest is not None
        assert response is not None
        identity, etag = read[1], response.header("etag")
        # As `SmallFile` does: the times of a file that was written a moment before do not show a change.
        if found != identity or is_fresh(identity[4], read_after_ns=self._before_ns) or not etag:
            return False
        address, now = self._address, time.monotonic()
        endpoint = self._shared.puts.session.endpoint(address)
        result: ShortResult = (
            endpoint.authority,
            endpoint.base_path,
            address.bucket,
            address.key,
            response.status,
            response.packed_headers(),
            response.http_version,
            digest.md5,
            digest.crc64,
            digest.length,
            now - self._began,
            now - self._send_began,
        )
        if self._finished is not None and response.header(CRC64_HEADER):
            self._finished.note(
                address, self._headers, self._location(), SourceIdentity(*identity), crc64=digest.crc64, etag=etag
            )
        self._end(result)
        return True

    def _location(self) -> str:
        """Return the absolute path."""
        assert self._file is not None
        return absolute(self._name, self._file[2])

    def _source(self) -> SmallFile:
        assert self._file is not None
        return small_file(self._name, self._file, before_ns=self._before_ns)

    def _changed(self) -> None:
        """The object is stored, but the file may have changed meanwhile."""
        self._end(UploadRest(source=self._source(), digest=self._digest, stored=self._response))

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _has_failed(self) -> None:
        """A step has failed in an unforeseen way. It is done in the usual way, which says what is wrong."""
        logger.debug("%s: the short way has failed", self._address, exc_info=True)

    def _release(self) -> None:
        assert self._digest is not None
        size = self._digest.length
        self._shared.slot.release(size, size)

    def _end(self, outcome: ShortResult | UploadRest | None) -> None:
        if not self._ended:
            self._ended = True
            self._then(self._record, None if self._cancelled else outcome)
