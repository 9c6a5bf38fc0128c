"""A copy in parts: Upload Part - Copy of ranges, side by side, and their completion."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from functools import partial

from cosxfer.cos.requests import customer_key_headers, forbids_overwrite
from cosxfer.engine.copy.request import CopyRequest
from cosxfer.engine.limiter import Limiter
from cosxfer.engine.multipart.abort import abort_upload
from cosxfer.engine.multipart.completion import Completion
from cosxfer.engine.multipart.hedge import HedgePolicy
from cosxfer.engine.multipart.window import Flight, Request, Window
from cosxfer.engine.report import Reporter, logger
from cosxfer.errors import CosxferError, UploadError
from cosxfer.limits import MAX_PART_NUMBER, MIB
from cosxfer.models import HeadObjectResult, MultipartInitResult, Part
from cosxfer.ops.multipart_init import multipart_init, warn_of_retry
from cosxfer.ops.session import Session
from cosxfer.ops.upload_part_copy import upload_part_copy
from cosxfer.planning import PartRange, Plan, plan_parts
from cosxfer.records import dataclass
from cosxfer.walls import parts_in_flight, usual_parts

PREFERRED_PART_BYTES = 64 * MIB
"""Larger than a part that is sent: its bytes do not cross the client's link, and a retry costs the client nothing."""

INITIATE_SECONDS = 5.0
"""How long a copy that is cancelled during Initiate waits for the id of the upload, to abort it."""


@dataclass(frozen=True, kw_only=True)
class PartsOutcome:
    """What became of a copy in parts that has succeeded."""

    etag: str
    crc64: int | None
    version_id: str | None
    parts: int
    upload_id: str


class CopyInParts:
    """One copy in parts; ``run`` is called once. ``headers`` are those of the new object.

    ``pins`` are conditions on the source, for each part.
    """

    def __init__(
        self,
        session: Session,
        limiter: Limiter,
        request: CopyRequest,
        head: HeadObjectResult,
        *,
        headers: Mapping[str, str],
        pins: Mapping[str, str],
        reporter: Reporter,
    ) -> None:
        self._session = session
        self._limiter = limiter
        self._request = request
        self._head = head
        self._headers = headers
        self._key_headers = customer_key_headers(headers)
        self._part_headers = {**pins, **self._key_headers}
        self._reporter = reporter
        self._plan = plan_of(head.size, request.part_size)
        self._parts: dict[int, Part] = {}
        self._upload_id = ""
        self._completing = False

    async def run(self) -> PartsOutcome:
        """Copy all parts and complete them. If that fails or is cancelled, the parts are deleted from the server."""
        await self._initiate()
        try:
            await self._copy_parts()
            self._completing = True
            completion = Completion(
                self._session,
                self._request.target,
                upload_id=self._upload_id,
                size=self._head.size,
                # Without the CRC64 of the source nothing can prove that a lost Complete has succeeded.
                crc64=-1 if self._head.crc64 is None else self._head.crc64,
                key_headers=self._key_headers,
                forbid_overwrite=forbids_overwrite(self._headers),
            )
            completed = await completion.run([self._parts[number] for number in sorted(self._parts)])
        except CosxferError as error:
            gone, left = await self._abort()
            what = f"the copy of {self._request.source} to {self._request.target}"
            raise UploadError.of(
                error, f"{what} failed: {error}. {left}", upload_id=self._upload_id, aborted=gone
            ) from error
        except BaseException as error:
            # Cancelled: the parts must not stay behind, or not without a word.
            gone, left = await asyncio.shield(self._abort())
            error.add_note(left)
            if not gone:
                logger.warning("the copy to %s was cancelled. %s", self._request.target, left)
            raise
        return PartsOutcome(
            etag=completed.etag,
            crc64=completed.crc64,
            version_id=completed.version_id,
            parts=self._plan.count,
            upload_id=self._upload_id,
        )

    async def _initiate(self) -> None:
        """Begin the upload. If this is cancelled, it still waits for the id: without it, nothing can be aborted."""
        what = f"the copy of {self._request.source} to {self._request.target}"
        session = self._session.observed(partial(self._initiate_retried, what))
        work = asyncio.ensure_future(multipart_init(session, self._request.target, headers=self._headers))
        try:
            init: MultipartInitResult = await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work], timeout=INITIATE_SECONDS)
            if work.done() and not work.cancelled() and work.exception() is None:
                self._upload_id = work.result().upload_id
                _, left = await self._abort()
            else:
                work.cancel()
                left = "an empty multipart upload of this key may stay on the server; multipart_list shows it"
            logger.warning("the copy to %s was cancelled during Initiate. %s", self._request.target, left)
            raise
        self._upload_id = init.upload_id

    def _initiate_retried(self, what: str, error: CosxferError) -> None:
        self._session.retries += 1
        warn_of_retry(what, error)

    async def _copy_parts(self) -> None:
        config = self._session.config
        limit = self._request.async_limit or parts_in_flight(config)
        with self._limiter.share(limit, usual=usual_parts(config, in_task=False)) as share:
            window = Window[PartRange, str](
                self._copy_part,
                self._stored,
                share=share,
                size_of=lambda part: part.length,
                held_by=lambda _: 0,
                # A copy takes the time that COS needs. A second request for the same part would not make it faster.
                policy=HedgePolicy[Flight[PartRange]](hedging=False, stall_seconds=config.complete_timeout_seconds),
                on_sent=self._reporter.add,
            )
            await window.run(self._ranges())

    async def _ranges(self) -> AsyncGenerator[PartRange, None]:
        for part in self._plan:
            yield part

    async def _copy_part(self, request: Request[PartRange]) -> str:
        part = request.item
        result = await upload_part_copy(
            self._session,
            self._request.target,
            source=self._request.source,
            version_id=self._request.version_id,
            upload_id=self._upload_id,
            part_number=part.number,
            byte_range=(part.offset, part.offset + part.length - 1),
            headers=self._part_headers,
        )
        request.sent(part.length)
        return result.etag

    def _stored(self, part: PartRange, etag: str) -> None:
        self._parts[part.number] = Part(part_number=part.number, etag=etag, size=part.length)

    async def _abort(self) -> tuple[bool, str]:
        return await abort_upload(
            self._session,
            self._request.target,
            upload_id=self._upload_id,
            completing=self._completing,
            empty=not self._parts,
        )


def plan_of(size: int, part_size: int | None) -> Plan:
    """Plan the parts of a copy of ``size`` bytes. Without ``part_size`` they are as large as 10,000 parts require."""
    smallest = -(-size // MAX_PART_NUMBER)
    chosen = part_size or max(PREFERRED_PART_BYTES, -(-smallest // MIB) * MIB)
    return plan_parts(size, part_size_bytes=chosen)
