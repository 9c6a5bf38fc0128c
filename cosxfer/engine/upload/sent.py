"""What was sent, in a single PUT or in parts, and the results that the calls return for it."""

from __future__ import annotations

from cosxfer.address import ObjectAddress
from cosxfer.engine.multipart.lifecycle import Outcome
from cosxfer.models import PutObjectResult, UploadResult
from cosxfer.records import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class SinglePut:
    """A file or a stream that was sent in a single PUT."""

    result: PutObjectResult
    crc64: int
    """The CRC64 as computed here."""
    size: int
    http_version: str
    seconds: float
    hash_seconds: float
    send_seconds: float
    retries: int

    def as_put_result(self) -> PutObjectResult:
        """As `put_object` returns it."""
        return self.result

    def as_upload_result(self, address: ObjectAddress) -> UploadResult:
        """As `upload_file` and `upload_stream` return it."""
        result = self.result
        return UploadResult(
            status_code=result.status_code,
            headers=result.headers,
            request_id=result.request_id,
            bucket=address.bucket,
            key=address.shown_key,
            etag=result.etag,
            location=result.location,
            version_id=result.version_id,
            crc64=self.crc64,
            verified=result.verified,
            verified_by=result.verified_by,
            size=self.size,
            parts=1,
            part_size_bytes=self.size,
            upload_id="",
            http_version=self.http_version,
            seconds=self.seconds,
            hash_seconds=self.hash_seconds,
            send_seconds=self.send_seconds,
            retries=self.retries,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SentInParts:
    """A file or a stream that was sent as a multipart upload."""

    outcome: Outcome
    part_size_bytes: int
    seconds: float
    hash_seconds: float

    def as_put_result(self) -> PutObjectResult:
        """As `put_object` returns it."""
        outcome, completed = self.outcome, self.outcome.completed
        return PutObjectResult(
            status_code=completed.status_code,
            headers=completed.headers,
            request_id=completed.request_id,
            verified=bool(outcome.verified_by),
            verified_by=outcome.verified_by,
            etag=completed.etag,
            location=completed.location,
            version_id=completed.version_id,
            crc64=outcome.crc64,
        )

    def as_upload_result(self, address: ObjectAddress) -> UploadResult:
        """As `upload_file` and `upload_stream` return it."""
        outcome, completed = self.outcome, self.outcome.completed
        return UploadResult(
            status_code=completed.status_code,
            headers=completed.headers,
            request_id=completed.request_id,
            bucket=address.bucket,
            key=address.shown_key,
            etag=completed.etag,
            location=completed.location,
            version_id=completed.version_id,
            crc64=outcome.crc64,
            verified=bool(outcome.verified_by),
            verified_by=outcome.verified_by,
            size=outcome.size,
            parts=outcome.parts,
            resumed_bytes=outcome.resumed_bytes,
            part_size_bytes=self.part_size_bytes,
            upload_id=outcome.upload_id,
            http_version=outcome.http_version,
            seconds=self.seconds,
            hash_seconds=self.hash_seconds,
            send_seconds=outcome.send_seconds,
            retries=outcome.retries,
            hedges=outcome.hedges,
            verdict=outcome.verdict,
        )
