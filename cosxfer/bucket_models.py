"""The records of calls on buckets and on objects that exist: listings, deletions, copies, rights and tags.

They follow the rules of `cosxfer.models`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TypeAlias

from cosxfer.models import Identity, Result
from cosxfer.records import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedObject:
    """One object of a listing. COS lists neither its CRC64 nor its metadata: `head_object` returns them."""

    key: str
    size: int
    etag: str
    last_modified: str
    """ISO 8601 with milliseconds: ``2020-12-10T03:37:30.000Z``."""
    storage_class: str
    owner: Identity | None = None
    storage_tier: str = ""
    """``FREQUENT`` or ``INFREQUENT`` in the class INTELLIGENT_TIERING, else empty."""
    restore_status: str = ""
    """``ONGOING`` while an archived object is being restored. Empty if COS says nothing about it."""


@dataclass(frozen=True, kw_only=True)
class ListObjectsResult(Result):
    """A page of the objects of a bucket, in the order of their keys' bytes."""

    bucket: str
    prefix: str
    delimiter: str
    marker: str
    next_marker: str
    """Where the next page begins; empty if there is none."""
    max_keys: int
    is_truncated: bool
    objects: tuple[ListedObject, ...]
    common_prefixes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectVersion:
    """One version of an object."""

    key: str
    version_id: str
    """``null`` for an object that was stored without versioning. Empty if the bucket never had versioning."""
    is_latest: bool
    size: int
    etag: str
    last_modified: str
    storage_class: str
    owner: Identity | None = None
    storage_tier: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeleteMarker:
    """A version that says that the object was deleted."""

    key: str
    version_id: str
    is_latest: bool
    last_modified: str
    owner: Identity | None = None


VersionEntry: TypeAlias = ObjectVersion | DeleteMarker


@dataclass(frozen=True, kw_only=True)
class ListObjectVersionsResult(Result):
    """A page of the versions of a bucket: in the order of their keys' bytes, the newest of a key first."""

    bucket: str
    prefix: str
    delimiter: str
    key_marker: str
    version_id_marker: str
    next_key_marker: str
    next_version_id_marker: str
    max_keys: int
    is_truncated: bool
    versions: tuple[VersionEntry, ...]
    """Versions and delete markers in the order of the response."""
    common_prefixes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DeletedObject:
    """A key, or one version of it, that does not exist any more, or did not before."""

    key: str
    version_id: str | None
    """The version that was named; None if the key was."""
    delete_marker: bool
    """Whether a delete marker was made, or deleted if ``version_id`` named one."""
    delete_marker_version_id: str | None
    """The version of that delete marker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeleteFailure:
    """A key that COS did not delete, or of which it did not say what became."""

    key: str
    version_id: str | None
    code: str
    """COS's error code. Empty if the response did not mention the key."""
    message: str


@dataclass(frozen=True, kw_only=True)
class DeleteObjectsResult:
    """What became of each key."""

    deleted: tuple[DeletedObject, ...]
    errors: tuple[DeleteFailure, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CopySource:
    """The object to copy."""

    bucket: str
    key: str
    region: str | None = None
    """None means the client's region."""
    version_id: str | None = None
    """None means the latest version."""


@dataclass(frozen=True, kw_only=True)
class CopyObjectResult(Result):
    """An object that was made by one copy. The request alone proves nothing: `Client.copy` compares the CRC64."""

    etag: str
    """Not comparable with that of the source: it changes with the parts and with the encryption."""
    crc64: int | None
    last_modified: str
    version_id: str | None = None
    source_version_id: str | None = None
    """The version that was copied, if the call named one."""


@dataclass(frozen=True, kw_only=True)
class UploadPartCopyResult(Result):
    """A part that was copied. Pass it to `multipart_complete` as ``(result.part_number, result.etag)``."""

    part_number: int
    etag: str
    last_modified: str
    source_version_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class CopyResult:
    """An object that was copied and compared with its source."""

    bucket: str
    key: str
    etag: str
    crc64: int | None
    """None if the source has none: it was stored before COS computed them."""
    verified: bool
    """Whether size and CRC64 of the copy are those of the source. A difference raises `IntegrityError`."""
    size: int
    parts: int
    """Copied parts; 1 for a single copy."""
    upload_id: str
    """Empty for a single copy."""
    version_id: str | None
    source: CopySource
    """With the version that was copied, if the source's bucket has versions."""
    source_etag: str
    seconds: float
    retries: int


@dataclass(frozen=True, kw_only=True)
class HeadBucketResult(Result):
    """Properties of a bucket that exists and that the keys may read."""

    region: str
    az_type: str
    """``MAZ`` for several availability zones, else empty."""
    arch: str
    """``OFS`` for a bucket with metadata acceleration, else empty."""


@dataclass(frozen=True, kw_only=True)
class PutBucketResult(Result):
    """A new bucket."""

    location: str
    """Its address, as COS names it; empty if COS sent none."""


@dataclass(frozen=True, kw_only=True)
class DeleteBucketResult(Result):
    """A bucket was deleted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """One bucket of the account."""

    name: str
    region: str
    created: str
    type: str = ""


@dataclass(frozen=True, kw_only=True)
class ListBucketsResult(Result):
    """A page of the buckets of the account."""

    owner: Identity | None
    marker: str
    next_marker: str
    is_truncated: bool
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True, kw_only=True)
class RestoreObjectResult(Result):
    """A restore that was requested."""

    already_in_progress: bool
    """Whether an earlier request is still being carried out, so this one changed nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """A permission of an account or a group."""

    permission: str
    """``READ``, ``WRITE``, ``READ_ACP``, ``WRITE_ACP`` or ``FULL_CONTROL``."""
    id: str = ""
    """The account; empty for a group."""
    uri: str = ""
    """The group; empty for an account."""


@dataclass(frozen=True, kw_only=True)
class GetObjectAclResult(Result):
    """The access control list of an object."""

    owner: Identity | None
    grants: tuple[Grant, ...]
    is_default: bool
    """Whether the object has no rights of its own, so those of the bucket hold."""


@dataclass(frozen=True, kw_only=True)
class PutObjectAclResult(Result):
    """Only status, headers and request id."""


@dataclass(frozen=True, kw_only=True)
class GetObjectTaggingResult(Result):
    """The tags of an object; empty if it has none."""

    tags: Mapping[str, str]
    version_id: str | None


@dataclass(frozen=True, kw_only=True)
class PutObjectTaggingResult(Result):
    """Only status, headers and request id."""


@dataclass(frozen=True, kw_only=True)
class DeleteObjectTaggingResult(Result):
    """Only status, headers and request id."""


@dataclass(frozen=True, kw_only=True)
class PresignedUrl:
    """A URL that carries the signature of one request."""

    url: str = field(repr=False)
    """It contains a signature and, with temporary keys, a token."""
    method: str
    headers: Mapping[str, str]
    """Headers that the request must have, with these values."""
    expires_at: float
    """Unix seconds. After this time the server refuses the URL."""
