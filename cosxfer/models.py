"""The records that calls return. Sizes are bytes, fields have COS's names, header names are lower case.

An ``etag`` has its double quotes, as COS sends it. A ``crc64`` is CRC-64/XZ (``x-cos-hash-crc64ecma``) as an unsigned
integer, or None if the server sent none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal, TypeAlias

from cosxfer.records import dataclass
from cosxfer.states import TaskChange, TaskState


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of hashing or sending. Reported at the start, at most four times a second, and at the end."""

    loaded: int
    """Bytes done. Never decreases, unless a task is restarted and its file has become shorter."""
    total: int
    """Bytes in all."""
    speed: float
    """Bytes per second since the previous report. 0 in the first report; the overall mean in the last.

    It follows ``loaded``: while the bytes of a failed attempt are sent again, ``loaded`` does not change and the speed
    is 0.
    """
    percent: float
    """``loaded / total`` from 0 to 1; 1 if there is nothing to do."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Fields of every response."""

    status_code: int = 0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    request_id: str = ""


@dataclass(frozen=True, kw_only=True)
class VerifiedResult(Result):
    """A result of sending bytes, and whether the response proves that the server has them."""

    verified: bool = False
    """True if the server's digest matches the local one. A mismatch raises `IntegrityError`."""
    verified_by: str = ""
    """``"crc64"``, ``"etag"`` (the server sent no CRC64, but an ETag that is the MD5), or ``""``."""


@dataclass(frozen=True, kw_only=True)
class PutObjectResult(VerifiedResult):
    """The result of uploading an object in one request."""

    etag: str
    location: str
    """Host and path of the object, without a scheme."""
    version_id: str | None = None
    crc64: int | None = None


@dataclass(frozen=True, kw_only=True)
class AppendObjectResult(VerifiedResult):
    """The result of an append. If the response was lost, the fields come from HEAD Object.

    ``verified`` is False after position 0, because the server's CRC64 is that of the whole object. Exception: after a
    lost response the appended bytes were fetched and compared. (The server always checks the Content-MD5 of the bytes.)
    """

    next_append_position: int
    """The end of the object, where the next append belongs."""
    etag: str
    crc64: int | None
    """CRC64 of the whole object."""


@dataclass(frozen=True, kw_only=True)
class PostObjectResult(VerifiedResult):
    """The result of an upload by an HTML form."""

    bucket: str
    key: str
    """The stored key if the server returned it; otherwise the key as passed, with ``${filename}``."""
    etag: str
    location: str
    """The object's URL or the target of ``success_action_redirect``, as the server sent it."""
    version_id: str | None = None
    crc64: int | None = None


@dataclass(frozen=True, kw_only=True)
class PresignedPost:
    """The URL and the fields of an HTML form that uploads an object."""

    url: str
    fields: Mapping[str, str] = field(repr=False)
    """The fields in order, before the field ``file``. They contain a signature and, with temporary keys, a token."""
    expires_at: float
    """Unix seconds. After this time the server refuses the form."""


@dataclass(frozen=True, kw_only=True)
class DeleteObjectResult(Result):
    """An object that does not exist any more, or did not before."""

    version_id: str | None
    """The version that was deleted, or that of the new delete marker. None without versioning."""
    delete_marker: bool
    """Whether a delete marker was made, or deleted if ``version_id`` named one."""


@dataclass(frozen=True, kw_only=True)
class HeadObjectResult(Result):
    """The metadata of an object."""

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
    """A downloaded object, in memory or in a file."""

    body: bytes | None = field(repr=False)
    """The content, or None if it was written to ``output``."""
    content_range: str | None
    verified: bool
    """Whether the content's CRC64 matches the server's. False for a range and if the server sent no CRC64."""


@dataclass(frozen=True, kw_only=True)
class GetObjectBytesResult(GetObjectResult):
    """A downloaded object in memory."""

    body: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class GetObjectFileResult(GetObjectResult):
    """A downloaded object in a file."""

    body: None = field(default=None, repr=False)
    path: str
    """The file, as it was passed to the call."""


@dataclass(frozen=True, kw_only=True)
class GetObjectIntoResult(GetObjectResult):
    """A downloaded object in memory of the caller. ``size`` is how many bytes were written there."""

    body: None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class DownloadResult(HeadObjectResult):
    """The result of downloading an object into a file."""

    bucket: str
    key: str
    path: str
    """The file, as it was passed to the call."""
    verified: bool
    """True if the file's digest matches the server's. A mismatch raises `IntegrityError`."""
    verified_by: str
    """``"crc64"``, ``"etag"`` (the server has no CRC64, but an ETag that is the MD5), or ``""``."""
    parts: int
    """How many ranges were fetched; 1 for a small object."""
    part_size_bytes: int
    seconds: float
    retries: int
    """Number of retried requests."""
    resumed_bytes: int = 0
    """Bytes that an earlier run of the task had received."""


@dataclass(frozen=True, kw_only=True)
class MultipartInitResult(Result):
    """A new multipart upload."""

    bucket: str
    key: str
    upload_id: str


@dataclass(frozen=True, kw_only=True)
class MultipartUploadResult(VerifiedResult):
    """An uploaded part. Pass it to `multipart_complete`."""

    part_number: int
    etag: str
    crc64: int | None
    size: int = 0
    """Bytes of the part. `multipart_complete` needs size and CRC64 to verify the object after a lost response."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The initiator or owner of an upload."""

    id: str
    display_name: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """One uploaded part. Completing an upload does not need ``size`` and ``last_modified``."""

    part_number: int
    etag: str
    size: int = 0
    last_modified: str = ""


@dataclass(frozen=True, kw_only=True)
class MultipartListPartResult(Result):
    """A page of the uploaded parts of a multipart upload."""

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
    """A multipart upload that is neither completed nor aborted."""

    key: str
    upload_id: str
    storage_class: str
    initiator: Identity | None
    owner: Identity | None
    initiated: str


@dataclass(frozen=True, kw_only=True)
class CommonPrefix:
    """A group of keys that are equal up to the delimiter."""

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
    """An object that was assembled from its parts."""

    location: str
    """Host and path of the object, without a scheme."""
    bucket: str
    key: str
    etag: str
    crc64: int | None = None
    version_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class MultipartAbortResult(Result):
    """Only status, headers and request id."""


BoundBy: TypeAlias = Literal[
    "client cpu",
    "hashing",
    "reading",
    "throttling",
    "rate limit",
    "memory budget",
    "connections",
    "user limit",
    "too few parts",
    "link",
    "unknown",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What bounded the goodput of a transfer."""

    bound_by: BoundBy
    """What bounded it for the longest time."""
    share: float
    """For which share of the time, from 0 to 1."""
    text: str
    """One sentence with figures."""
    advice: str
    """One sentence that says what would help; empty if nothing would."""


@dataclass(frozen=True, kw_only=True)
class UploadResult(Result):
    """The result of uploading a file."""

    bucket: str
    key: str
    etag: str
    location: str
    version_id: str | None
    crc64: int | None
    """Local CRC64 of the file. Equal to the server's, if the server sent one."""
    verified: bool
    """True if the server's digests of all bytes match the local ones: the object's CRC64, or each part's MD5."""
    verified_by: str
    """``"crc64"``, ``"etag"`` (the server sent no CRC64), or ``""``."""
    size: int
    parts: int
    """Parts of the object; 1 for a single PUT."""
    part_size_bytes: int
    upload_id: str
    """Empty for a single PUT."""
    http_version: str
    """``"HTTP/1.1"`` or ``"HTTP/2"``."""
    seconds: float
    hash_seconds: float
    """Time during which hashing ran. It overlaps with sending."""
    send_seconds: float
    """Time during which parts were in flight."""
    retries: int
    """Number of retried requests."""
    hedges: int = 0
    """Parts that were sent a second time, over another connection, because they straggled."""
    resumed_bytes: int = 0
    """Bytes that an earlier run or call had sent. All of ``size``: an interrupted run of the same batch had sent the
    whole file, and no request was made."""
    verdict: Verdict | None = None
    """What bounded an upload in parts; None for a single PUT. It is about all transfers of the client in that time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskInfo:
    """A snapshot of a task."""

    task_id: str
    bucket: str
    key: str
    path: str
    """The local file; empty for another body."""
    region: str
    """Empty means the client's region."""
    state: TaskState
    loaded: int
    """Bytes sent or received. For a paused or failed task: bytes that need not be moved again."""
    total: int
    """Total bytes; 0 until known."""
    speed: float
    """Bytes per second at the last report."""
    percent: float
    """Sent or received, from 0 to 1."""
    hash_percent: float
    """Hashed, from 0 to 1."""
    error: Exception | None
    """Why the task is in the state ``error``."""
    upload_id: str
    """The multipart upload on the server, or the path of a download's temporary file; empty if there is none."""
    direction: Literal["upload", "download"] = "upload"


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskEvent:
    """One change in the task list, for ``on("list-update", callback)``. It has only the changed task."""

    sequence: int
    """Counts the client's events from 1 without gaps. Only progress that newer progress has replaced is omitted."""
    change: TaskChange
    """``"added"``, ``"state"``, ``"progress"``, or ``"removed"`` (trimmed from the list)."""
    task: TaskInfo
    """The task after the change."""
    previous: TaskState | None
    """The previous state, if ``change`` is ``"state"``."""
