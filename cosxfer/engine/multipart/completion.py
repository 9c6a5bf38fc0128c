"""Completing a multipart upload, and finding out whether the object exists if the response is lost.

An upload that is still open was not completed. One that is gone was completed if the object has the size and the CRC64
of its parts. Otherwise the outcome is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.cos.identifiers import bare_etag
from cosxfer.errors import CosxferError, IntegrityError, NotFoundError, ServerError, TransportError, UploadError
from cosxfer.models import HeadObjectResult, MultipartCompleteResult, MultipartUploadResult, Part
from cosxfer.ops.head_object import head_object
from cosxfer.ops.multipart_complete import PartInput, listed_parts, multipart_complete
from cosxfer.ops.multipart_list_part import multipart_list_part
from cosxfer.ops.pages import all_parts
from cosxfer.ops.session import Session

WAITS_FOR_LATE_PARTS = (0.2, 1.0, 3.0)
"""Seconds between the attempts to complete while copies of parts arrive late."""


class Completion:
    """Completes one multipart upload, whose parts have ``size`` bytes and this ``crc64`` together."""

    def __init__(
        self,
        session: Session,
        address: ObjectAddress,
        *,
        upload_id: str,
        size: int,
        crc64: int,
        key_headers: Mapping[str, str] | None = None,
        forbid_overwrite: bool = False,
    ) -> None:
        """``key_headers`` hold the customer's key, which HEAD Object needs for an object that is encrypted with one."""
        self._session = session
        self._address = address
        self._upload_id = upload_id
        self._size = size
        self._crc64 = crc64
        self._key_headers = key_headers
        self._forbid_overwrite = forbid_overwrite

    async def run(self, parts: Iterable[Part]) -> MultipartCompleteResult:
        """Complete the upload."""
        parts = list(parts)
        for seconds in WAITS_FOR_LATE_PARTS:
            try:
                return await self._complete(parts)
            except ServerError as error:
                # A second copy of a part (a hedge, or an attempt that timed out) may be stored during Complete.
                if error.code != "InvalidPart" or not await self._are_listed(parts):
                    raise
            await asyncio.sleep(seconds)
        return await self._complete(parts)

    async def _are_listed(self, parts: Sequence[Part]) -> bool:
        """Whether the server lists these parts, with their ETags."""
        pages = all_parts(self._session, self._address, upload_id=self._upload_id)
        try:
            listed = {part.part_number: bare_etag(part.etag) async for part in pages}
        except CosxferError:
            return False
        return all(listed.get(part.part_number) == bare_etag(part.etag) for part in parts)

    async def _complete(self, parts: Sequence[Part]) -> MultipartCompleteResult:
        try:
            return await multipart_complete(
                self._session,
                self._address,
                upload_id=self._upload_id,
                parts=parts,
                forbid_overwrite=self._forbid_overwrite,
            )
        except (TransportError, ServerError) as error:
            # The response to an earlier attempt may have been lost after the object was created.
            completed = await self.found(error)
            if completed is None:
                raise
            return completed

    async def found(self, error: CosxferError) -> MultipartCompleteResult | None:
        """Return the object if it was created in spite of ``error``, else None."""
        gone = is_gone(error)
        # A retryable error may hide a success. For an error inside a 200 the code decides, not the status.
        if isinstance(error, ServerError) and not gone and not error.retryable and error.status != 409:
            return None
        try:
            if not gone and await self._still_open():
                return None
            head = await self.head()
        except CosxferError:
            return None
        if head.size != self._size or head.crc64 != self._crc64:
            return None
        return MultipartCompleteResult(
            status_code=head.status_code,
            headers=head.headers,
            request_id=head.request_id,
            location=self._session.endpoint(self._address).location(self._address.key),
            bucket=self._address.bucket,
            key=self._address.shown_key,
            etag=head.etag,
            crc64=head.crc64,
            version_id=head.version_id,
        )

    async def head(self) -> HeadObjectResult:
        """Request the properties of the object."""
        return await head_object(self._session, self._address, headers=self._key_headers)

    async def verify(self, completed: MultipartCompleteResult, *, what: str, etags_are_md5s: bool) -> str:
        """Compare the CRC64 of the object with that of its parts; returns how the object was verified.

        Returns ``"crc64"``, ``"etag"`` if the server sends no CRC64 and each part's ETag is its MD5, else ``""``.
        Raises `UploadError` if the object differs.
        """
        theirs = completed.crc64
        if theirs is None:
            try:
                theirs = (await self.head()).crc64
            except CosxferError as error:
                raise UploadError.of(
                    error,
                    f"{what} was completed, but the object could not be compared with its source: {error}",
                    upload_id=self._upload_id,
                ) from error
        if theirs is None:
            return "etag" if etags_are_md5s else ""
        if theirs != self._crc64:
            differs = IntegrityError("the CRC64 of the object differs", expected=self._crc64, actual=theirs)
            raise UploadError.of(
                differs,
                f"{what} was completed, but checksum mismatch: server CRC64 {theirs}, local {self._crc64}. "
                "The object is not what was sent. Do not use it; upload again",
                upload_id=self._upload_id,
            ) from differs
        return "crc64"

    async def _still_open(self) -> bool:
        try:
            await multipart_list_part(
                self._session,
                self._address,
                upload_id=self._upload_id,
                max_parts=1,
            )
        except NotFoundError as error:
            if not error.code:
                raise  # something on the way refused it, not COS
            return False
        return True


def is_gone(error: Exception) -> bool:
    """Whether ``error`` means that the multipart upload does not exist or no longer exists."""
    return isinstance(error, NotFoundError) and error.code == "NoSuchUpload"


async def complete_parts(
    session: Session,
    address: ObjectAddress,
    *,
    upload_id: str,
    parts: Iterable[PartInput],
    forbid_overwrite: bool,
) -> MultipartCompleteResult:
    """Complete an upload of which only the parts are known.

    If the response is lost, parts that `multipart_upload` returned let the object be compared.
    """
    observed = session.observed()
    listed = listed_parts(parts)
    try:
        return await multipart_complete(
            observed, address, upload_id=upload_id, parts=listed, forbid_overwrite=forbid_overwrite
        )
    except (TransportError, ServerError) as error:
        if is_gone(error) and not observed.retries:
            raise
        sent = [part for part in listed if isinstance(part, MultipartUploadResult) and part.crc64 is not None]
        if len(sent) == len(listed):
            size, crc64 = _whole(sent)
            completion = Completion(session, address, upload_id=upload_id, size=size, crc64=crc64)
            if (completed := await completion.found(error)) is not None:
                return completed
        if is_gone(error):
            error.add_note(
                "the response to an earlier attempt was lost or an error, so the object may exist; compare it "
                "(head_object) before you upload again"
            )
        raise


def _whole(parts: Sequence[MultipartUploadResult]) -> tuple[int, int]:
    """Return the size and the CRC64 of the parts together."""
    size = crc64 = 0
    for part in sorted(parts, key=lambda part: part.part_number):
        size += part.size
        crc64 = hashing.crc64_combine(crc64, part.crc64 or 0, part.size)
    return size, crc64
