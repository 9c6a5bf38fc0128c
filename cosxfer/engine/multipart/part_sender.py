"""The sending of one part: skip it if the server has it, else send it, and record its ETag."""

from __future__ import annotations

import time
from collections.abc import Mapping

from cosxfer.address import ObjectAddress
from cosxfer.cos import requests
from cosxfer.cos.identifiers import bare_etag
from cosxfer.engine.multipart.checkpoint import Checkpoint
from cosxfer.engine.multipart.hedge import HedgePolicy
from cosxfer.engine.multipart.source import HashedPart, PartSource, ReadyPart
from cosxfer.engine.multipart.window import Flight, Request
from cosxfer.engine.report import logger
from cosxfer.errors import CosxferError
from cosxfer.models import Part
from cosxfer.ops.multipart_upload import multipart_upload
from cosxfer.ops.session import Session

CHECK_SECONDS = 0.1
"""How often the source is checked while parts are sent. A check costs a turn of the event loop."""


class PartSender:
    """Sends the parts of one upload. ``headers`` are those of the object.

    Two requests may send the same part at a time. Both have the same bytes, and COS checks their length and MD5 before
    it stores them. So it does not matter which arrives last: the part stays the same, and so does its ETag, which
    Complete names. If a copy arrives during Complete and the server refuses that, `Completion` tries again. All this is
    true only if the ETag is the MD5. An ETag that is not, for example because the bucket encrypts with a key of the
    KMS, ends the hedging.
    """

    def __init__(
        self,
        session: Session,
        source: PartSource,
        address: ObjectAddress,
        checkpoint: Checkpoint,
        *,
        headers: Mapping[str, str],
        policy: HedgePolicy[Flight[ReadyPart]],
    ) -> None:
        self._session = session
        self._source = source
        self._address = address
        self._checkpoint = checkpoint
        self._policy = policy
        # With a key of the customer's or of the KMS the stored bytes are not the sent ones, and so is the ETag.
        self._etag_is_md5 = requests.etag_may_be_md5(headers)
        self._part_headers = requests.part_headers(headers)
        self.listed: dict[int, Part] = {}
        """Parts that the server has, and of which it is not known yet whether they are this source's."""
        self.taken_bytes = 0
        """Bytes of such parts that turned out to be this source's, so they were not sent."""
        self.http_version = ""
        self._next_check = float("-inf")

    async def send(self, request: Request[ReadyPart]) -> str:
        """Send a part and return its ETag. A hedge is sent once; if it fails, the first request goes on."""
        part = request.item
        hashed = part.hashed
        place = hashed.range
        stored = self._etag_of_stored(hashed)
        if stored is not None:
            self.taken_bytes += place.length
            request.sent(place.length)
            return stored
        if request.hedge:
            logger.debug("part %d of %s straggles and is sent a second time", place.number, self._source.name)
        try:
            result, http_version = await multipart_upload(
                self._session,
                self._address,
                part.body,
                upload_id=self._checkpoint.upload_id,
                part_number=place.number,
                content_length=place.length,
                md5=hashed.md5,
                crc64=hashed.crc64,
                etag_is_md5=self._etag_is_md5,
                headers=self._part_headers,
                on_sent=request.sent,
                follower=None if request.hedge else request,
                max_attempts=1 if request.hedge else None,
            )
            await self._check_source()
        except CosxferError as error:
            # A source that was cut shows up as a broken request; the cause is worth more than the symptom.
            await self._source.check([hashed])
            raise error
        self.http_version = http_version or self.http_version
        return result.etag

    async def _check_source(self) -> None:
        """Notice a source that changes, before more of it is sent in vain. Complete is sent after another check."""
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + CHECK_SECONDS
            await self._source.check(())

    def stored(self, part: ReadyPart, etag: str) -> None:
        """The server has ``part``."""
        if bare_etag(etag) != part.hashed.md5.hex():
            self._policy.stop_hedging()
        self._checkpoint.add(part.hashed, etag)
        self._source.stored(part)

    def _etag_of_stored(self, part: HashedPart) -> str | None:
        """The ETag of a part that the server has already: it was stored, and the response was lost.

        The list proves it by our MD5 and length, if its ETag is an MD5.
        """
        listed = self.listed.pop(part.range.number, None)
        if listed is None or not self._etag_is_md5 or listed.size != part.range.length:
            return None
        return listed.etag if bare_etag(listed.etag) == part.md5.hex() else None
