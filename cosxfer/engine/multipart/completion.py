"""Complete, also where its answer is lost: the object may be there by then, and whether it is, is found out.

An upload that is still open was not completed. One that is gone was completed where the object has the size and the
CRC64 of what its parts make; else that is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.errors import CosxferError, IntegrityError, NotFoundError, ServerError, TransportError, UploadError
from cosxfer.models import HeadObjectResult, MultipartCompleteResult, MultipartUploadResult, Part
from cosxfer.ops.head_object import head_object
from cosxfer.ops.multipart_complete import PartInput, listed_parts, multipart_complete
from cosxfer.ops.multipart_list_part import multipart_list_part
from cosxfer.ops.session import Session


class Completion:
    """The end of one multipart upload, whose parts make ``size`` bytes of this ``crc64``."""

    def __init__(
        self,
        session: Session,
        address: ObjectAddress,
        *,
        upload_id: str,
        size: int,
        crc64: int,
        key_headers: Mapping[str, str] | None = None,
    ) -> None:
        """``key_headers`` are the customer's key: an object under one tells nothing without it."""
        self._session = session
        self._address = address
        self._upload_id = upload_id
        self._size = size
        self._crc64 = crc64
        self._key_headers = key_headers

    async def run(self, parts: Iterable[Part]) -> MultipartCompleteResult:
        """Complete it."""
        try:
            return await multipart_complete(self._session, self._address, upload_id=self._upload_id, parts=parts)
        except (TransportError, ServerError) as error:
            # The answer to an earlier attempt may have been lost after the object was made.
            completed = await self.found(error)
            if completed is None:
                raise
            return completed

    async def found(self, error: CosxferError) -> MultipartCompleteResult | None:
        """The object, where it was made in spite of ``error``."""
        gone = is_gone(error)
        # What may succeed later may have succeeded already; an error inside a 200 is told by its code, not its status.
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
        """Ask for the object."""
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
        except NotFoundError:
            return False
        return True


def is_gone(error: Exception) -> bool:
    """Whether it says that there is no such multipart upload (any more)."""
    return isinstance(error, NotFoundError) and error.code == "NoSuchUpload"


async def complete_parts(
    session: Session,
    address: ObjectAddress,
    *,
    upload_id: str,
    parts: Iterable[PartInput],
) -> MultipartCompleteResult:
    """Complete an upload of which no more is known than its parts.

    Those that `multipart_upload` returned prove the object where an answer is lost.
    """
    again = False

    def sent_again(error: CosxferError) -> None:
        nonlocal again
        again = True

    listed = listed_parts(parts)
    try:
        return await multipart_complete(session.observed(sent_again), address, upload_id=upload_id, parts=listed)
    except (TransportError, ServerError) as error:
        if is_gone(error) and not again:
            raise
        sent = [part for part in listed if isinstance(part, MultipartUploadResult) and part.crc64 is not None]
        if len(sent) == len(listed):
            size, crc64 = _whole(sent)
            completion = Completion(session, address, upload_id=upload_id, size=size, crc64=crc64)
            if (completed := await completion.found(error)) is not None:
                return completed
        if is_gone(error):
            error.add_note(
                "the answer to an earlier attempt was lost or an error, and the object may have been completed all the "
                "same; compare it (head_object) before anything is sent again"
            )
        raise


def _whole(parts: Sequence[MultipartUploadResult]) -> tuple[int, int]:
    """Size and CRC64 of what the parts make."""
    size = crc64 = 0
    for part in sorted(parts, key=lambda part: part.part_number):
        size += part.size
        crc64 = hashing.crc64_combine(crc64, part.crc64 or 0, part.size)
    return size, crc64
