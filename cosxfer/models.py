"""The records that calls return. Sizes in bytes, names after COS's own fields, header names in lower case.

An ``etag`` is kept as COS sends it, with its double quotes. A ``crc64`` is CRC-64/XZ (``x-cos-hash-crc64ecma``) as
an unsigned integer, or None where the server sent none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cosxfer.states import TaskChange, TaskState


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far hashing or sending has come; reported four times a second at most, at the start, and at the end."""

    loaded: int
    """Bytes done; never falls, unless a task is restarted with a file that is shorter now."""
    total: int
    """Bytes in all."""
    speed: float
    """Bytes per second since the report before; 0 in the first one, and the mean over the whole in the last one.

    It counts ``loaded``: while a failed attempt's bytes are sent again, ``loaded`` stands still and the speed is 0.
    """
    percent: float
    """``loaded / total`` from 0 to 1; 1 where there is nothing to do."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What every answer carries."""

    status_code: int = 0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    request_id: str = ""


@dataclass(frozen=True, kw_only=True)
class VerifiedResult(Result):
    """A result of sending bytes, and whether the response proves that the server has them."""

    verified: bool = False
    """True if the server's digest of what was sent agreed with ours. One that differs raises `IntegrityError`."""
    verified_by: str = ""
    """``"crc64"``, ``"etag"`` (the server sent no CRC64, but an ETag that is the MD5), or ``""``."""


@dataclass(frozen=True, kw_only=True)
class PutObjectResult(VerifiedResult):
    """An object that was sent in one request."""

    etag: str
    location: str
    """Host and path of the object, without a scheme."""
    version_id: str | None = None
    crc64: int | None = None


@dataclass(frozen=True, kw_only=True)
class AppendObjectResult(VerifiedResult):
    """An append; where its answer was lost, what HEAD Object said afterwards.

    ``verified`` is False past position 0, unless what was appended was fetched and compared after a lost response: the
    server's CRC64 is that of the whole object. (It has compared the Content-MD5 of the bytes before it appended them.)
    """

    next_append_position: int
    """Where the object ends now, and the next append belongs."""
    etag: str
    crc64: int | None
    """Of the whole object."""


@dataclass(frozen=True, kw_only=True)
class PostObjectResult(VerifiedResult):
    """An object that came by an HTML form."""

    bucket: str
    key: str
    """With ``${filename}`` replaced, where the server said so; else as it was given."""
    etag: str
    location: str
    """As the server sent it: the object's URL, or where ``success_action_redirect`` leads."""
    version_id: str | None = None
    crc64: int | None = None


@dataclass(frozen=True, kw_only=True)
class PresignedPost:
    """What an HTML form needs to send an object: where to, and the fields that go before the file."""

    url: str
    fields: Mapping[str, str] = field(repr=False)
    """In the form's order; the field ``file`` follows them. They hold a signature, and a token with temporary keys."""
    expires_at: float
    """Unix seconds; the server refuses the form afterwards."""


@dataclass(frozen=True, kw_only=True)
class HeadObjectResult(Result):
    """What COS says of an object."""

    size: int
    etag: str
    crc64: int | None
    content_type: str
    last_modified: str
    storage_class: str
    object_type: str
    """``"normal"`` or ``"appendable"``."""
    version_id: str | None
    metadata: Mapping[str, str]
    """The ``x-cos-meta-*`` headers without their prefix."""


@dataclass(frozen=True, kw_only=True)
class GetObjectResult(HeadObjectResult):
    """An object that was fetched, wherever its content went."""

    body: bytes | None = field(repr=False)
    """The content, or None where it was written to ``output``."""
    content_range: str | None
    verified: bool
    """Whether the content's CRC64 was compared with the server's (not for a range, nor where it sent none)."""


@dataclass(frozen=True, kw_only=True)
class GetObjectBytesResult(GetObjectResult):
    """An object whose content is in memory."""

    body: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class GetObjectFileResult(GetObjectResult):
    """An object whose content is in a file."""

    body: None = field(default=None, repr=False)
    path: str
    """The file, as it was given."""


@dataclass(frozen=True, kw_only=True)
class MultipartInitResult(Result):
    """A multipart upload that was begun."""

    bucket: str
    key: str
    upload_id: str


@dataclass(frozen=True, kw_only=True)
class MultipartUploadResult(VerifiedResult):
    """A part that was sent; `multipart_complete` takes it as it is."""

    part_number: int
    etag: str
    crc64: int | None
    size: int = 0
    """Bytes of the part. With its CRC64 they tell `multipart_complete` what the object is to be."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who initiated or owns an upload."""

    id: str
    display_name: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """One uploaded part. ``size`` and ``last_modified`` are the server's, and are not needed to complete an upload."""

    part_number: int
    etag: str
    size: int = 0
    last_modified: str = ""


@dataclass(frozen=True, kw_only=True)
class MultipartListPartResult(Result):
    """A page of the parts that an upload has on the server."""

    bucket: str
    key: str
    upload_id: str
    initiator: Identity | None
    owner: Identity | None
    storage_class: str
    encoding_type: str
    part_number_marker: int
    next_part_number_marker: int | None
    max_parts: int
    is_truncated: bool
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A multipart upload that was begun and neither completed nor aborted."""

    key: str
    upload_id: str
    storage_class: str
    initiator: Identity | None
    owner: Identity | None
    initiated: str


@dataclass(frozen=True, kw_only=True)
class CommonPrefix:
    """Uploads whose keys are alike up to the delimiter."""

    prefix: str


@dataclass(frozen=True, kw_only=True)
class MultipartListResult(Result):
    """A page of the multipart uploads of a bucket."""

    bucket: str
    encoding_type: str
    prefix: str
    delimiter: str
    key_marker: str
    upload_id_marker: str
    next_key_marker: str
    next_upload_id_marker: str
    max_uploads: int
    is_truncated: bool
    uploads: tuple[Upload, ...]
    common_prefixes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MultipartCompleteResult(Result):
    """An object that was put together from its parts."""

    location: str
    """Host and path of the object, without a scheme."""
    bucket: str
    key: str
    etag: str
    crc64: int | None = None
    version_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class MultipartAbortResult(Result):
    """Nothing beyond status, headers and request id."""


@dataclass(frozen=True, kw_only=True)
class UploadResult(Result):
    """A file that is in COS, and how it came there."""

    bucket: str
    key: str
    etag: str
    location: str
    version_id: str | None
    crc64: int | None
    """CRC64 of the file as computed here; equal to the server's where that sent one."""
    verified: bool
    """True when the server's digests of every byte agreed with ours: the object's CRC64, or each part's MD5."""
    verified_by: str
    """``"crc64"``, ``"etag"`` (the server sent no CRC64), or ``""``."""
    size: int
    parts: int
    """Parts sent; 1 for a single PUT."""
    part_size_bytes: int
    upload_id: str
    """Empty for a single PUT."""
    http_version: str
    """``"HTTP/1.1"`` or ``"HTTP/2"``."""
    seconds: float
    hash_seconds: float
    """Time during which hashing was under way; it overlaps the sending."""
    send_seconds: float
    """Time during which parts were under way."""
    retries: int
    """Requests that had to be sent again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskInfo:
    """An upload task as it was when it was asked for."""

    task_id: str
    bucket: str
    key: str
    path: str
    """The file, or empty for a body that is none."""
    region: str
    """Empty for the client's."""
    state: TaskState
    loaded: int
    """Bytes sent; of a paused or failed task, those that need not be sent again."""
    total: int
    """Bytes in all; 0 until it is known."""
    speed: float
    """Bytes per second at the last report."""
    percent: float
    """Sent, from 0 to 1."""
    hash_percent: float
    """Hashed, from 0 to 1."""
    error: Exception | None
    """Why the task is in the state ``error``."""
    upload_id: str
    """The multipart upload that is on the server now, or empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskEvent:
    """One change in the task list, as ``on("list-update", callback)`` tells it: what changed, never the whole list."""

    sequence: int
    """Counts the client's events from 1, without a gap. Progress that newer progress overtook is left out, nothing
    else."""
    change: TaskChange
    """``"added"``, ``"state"``, ``"progress"``, or ``"removed"`` (trimmed from the list)."""
    task: TaskInfo
    """The task after the change."""
    previous: TaskState | None
    """The state before, where ``change`` is ``"state"``."""
