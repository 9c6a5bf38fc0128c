"""The short way of a download in a batch: callbacks on the event loop, and no asyncio task.

For small objects the steps of Python are most of the cost. The short way is for an object that comes with the first
request, has the right CRC64, and becomes a new file. In any other case it ends with the `Rest`, which the job does in
the usual way: a failed request is retried, an object that is longer is continued, a file is replaced.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Protocol

from cosxfer.address import ObjectAddress
from cosxfer.cos.responses import HttpResponse
from cosxfer.cos.sink import BodySink
from cosxfer.engine import shortcut
from cosxfer.engine.download.first import FIRST_BYTES, FirstBlocks, FirstResponse, first_fields, first_response
from cosxfer.engine.download.options import DownloadSettings
from cosxfer.engine.download.writes import Writes
from cosxfer.engine.limiter import Limiter
from cosxfer.engine.report import Reporter, logger
from cosxfer.engine.shortcut import ShortEnd, ShortProgress, SlotWait
from cosxfer.models import DownloadResult
from cosxfer.ops.attempt import Attempt
from cosxfer.ops.begun_get import Gets
from cosxfer.ops.session import Session
from cosxfer.ops.traffic import SMALL_BYTES
from cosxfer.records import dataclass, from_fields

REPORTED_AFTER_SECONDS = 0.25
"""Only a download that takes longer reports its progress before its end."""


@dataclass(frozen=True, kw_only=True)
class Rest(shortcut.Rest):
    """What the short way has done before it ended."""

    first: FirstResponse | None = None
    block: memoryview | None = None
    """The memory that holds the content of ``first``."""
    tried: Attempt | None = None
    """The failed attempt at the first request."""


class ShortJob(Protocol):
    """The job that may take the short way."""

    address: ObjectAddress
    path: str
    settings: DownloadSettings

    def modified(self, metadata: Mapping[str, str], last_modified: str) -> int | None:
        """Return the time of the file in nanoseconds, if it gets one."""
        ...


class Shorts:
    """What the short downloads of one batch share."""

    def __init__(self, session: Session, limiter: Limiter, blocks: FirstBlocks, writes: Writes) -> None:
        self.batch = session
        self.gets = Gets(session.observed(counted=True))
        self.slot = limiter.single
        self.blocks = blocks
        self.writes = writes


class ShortDownload:
    """One download by the short way. ``then`` is called once, after `start`.

    It gets the result; or a `Rest`; or None if the download was cancelled.
    """

    __slots__ = (
        "_attempt",
        "_began",
        "_block",
        "_cancelled",
        "_fields",
        "_job",
        "_on_progress",
        "_received",
        "_record",
        "_reporter",
        "_response",
        "_shorts",
        "_sink",
        "_then",
        "_waiting",
    )

    def __init__(self, job: ShortJob, shorts: Shorts) -> None:
        self._job = job
        self._shorts = shorts
        self._cancelled = False
        self._waiting: SlotWait | None = None
        self._attempt: Attempt | None = None
        self._block: memoryview | None = None
        self._sink: BodySink | None = None
        self._response: HttpResponse | None = None
        self._fields: dict[str, Any] = {}
        self._reporter: Reporter | None = None
        self._received = 0

    def start(self, record: Any, on_progress: ShortProgress, then: ShortEnd) -> None:
        """Begin. On the event loop."""
        self._record = record
        self._on_progress = on_progress
        self._then = then
        self._began = time.monotonic()
        slot = self._shorts.slot
        if self._cancelled:
            then(record, None)
        elif slot.try_acquire(FIRST_BYTES, FIRST_BYTES):
            self._send()
        else:
            self._waiting = SlotWait(self._send)
            slot.queue(FIRST_BYTES, self._waiting, FIRST_BYTES)

    def cancel(self) -> None:
        """End it at once. A file that is being written is finished."""
        self._cancelled = True
        if self._attempt is not None:
            self._attempt.cancel()
        elif self._waiting is not None and not self._waiting.over:
            self._waiting.over = True
            self._then(self._record, None)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        begun = False
        try:
            begun = not self._cancelled and self._begin()
        except Exception:
            logger.debug("%s: the short way has failed", self._job.address, exc_info=True)
        if not begun:
            self._shorts.slot.release(FIRST_BYTES, FIRST_BYTES)
            self._give_back()
            self._end(Rest())

    def _begin(self) -> bool:
        job, shorts = self._job, self._shorts
        self._block = shorts.blocks.take()
        self._sink = BodySink(length=FIRST_BYTES, shorter=True, memory=self._block)
        self._attempt = shorts.gets.begin(
            job.address,
            self._sink,
            version_id=job.settings.version_id,
            headers=job.settings.headers,
            on_received=self._has_received,
            then=self._responded,
        )
        return self._attempt is not None

    def _has_received(self, count: int) -> None:
        self._received += count
        if time.monotonic() - self._began < REPORTED_AFTER_SECONDS:
            return
        if self._reporter is None:
            self._reporter = Reporter(lambda progress: self._on_progress(self._record, progress), None)
            self._reporter.add(self._received)
        else:
            self._reporter.add(count)

    def _responded(self, attempt: Attempt) -> None:
        self._attempt = None
        self._shorts.slot.release(FIRST_BYTES, FIRST_BYTES)
        rest: Rest | None = Rest(tried=attempt if attempt.has_failed else None)
        if attempt.response is not None and not attempt.has_failed and not self._cancelled:
            try:
                rest = self._write(attempt.response)
            except Exception:  # also what is wrong with the response: the usual way says it
                logger.debug("%s: the short way has failed", self._job.address, exc_info=True)
        if rest is not None:
            if rest.block is None:
                self._give_back()
            self._end(rest)

    def _write(self, response: HttpResponse) -> Rest | None:
        """Write the file if it is proven and small; otherwise return what is left to do."""
        job, block = self._job, self._block
        assert self._sink is not None
        assert block is not None
        self._response = response
        fields = self._fields = first_fields(job.address, self._sink, response)
        if fields["crc64"] is not None and fields["crc64"] == self._sink.crc64 and fields["size"] <= SMALL_BYTES:
            below = job.settings.below
            path = job.path if below is None else os.path.join(below[0], *below[1])  # noqa: PTH118 (it is text)
            root = None if below is None else below[0]
            modified = job.modified(fields["metadata"], fields["last_modified"])
            content = block[: self._sink.received]
            if self._shorts.writes.write(path, content, below=root, modified=modified, then=self._written):
                return None
        return self._unwritten()

    def _unwritten(self) -> Rest:
        assert self._sink is not None
        assert self._response is not None
        return Rest(first=first_response(self._job.address, self._sink, self._response), block=self._block)

    def _written(self, outcome: int) -> None:
        if outcome:
            self._end(self._unwritten())
            return
        self._give_back()
        job = self._job
        fields = self._fields
        fields["bucket"] = job.address.bucket
        fields["key"] = job.address.shown_key
        fields["path"] = job.path
        fields["verified"] = True
        fields["verified_by"] = "crc64"
        fields["parts"] = 1
        fields["part_size_bytes"] = FIRST_BYTES
        fields["seconds"] = time.monotonic() - self._began
        fields["retries"] = fields["resumed_bytes"] = 0
        self._then(self._record, from_fields(DownloadResult, fields))

    def _end(self, rest: Rest) -> None:
        self._then(self._record, None if self._cancelled else rest)

    def _give_back(self) -> None:
        block, self._block = self._block, None
        if block is not None:
            self._shorts.blocks.give_back(block)
