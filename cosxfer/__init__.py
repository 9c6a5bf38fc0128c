"""Uploads to Tencent Cloud Object Storage (COS): fast, verified, with little CPU.

>>> import cosxfer
>>> with cosxfer.Client(region="ap-guangzhou") as client:
...     result = client.upload_file("examplebucket-1250000000", "a/b.bin", "b.bin")
...     print(result.etag, result.verified)
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cosxfer.aio import AsyncClient
    from cosxfer.bucket_models import (
        Bucket,
        CopyObjectResult,
        CopyResult,
        CopySource,
        DeleteBucketResult,
        DeletedObject,
        DeleteFailure,
        DeleteMarker,
        DeleteObjectsResult,
        DeleteObjectTaggingResult,
        GetObjectAclResult,
        GetObjectTaggingResult,
        Grant,
        HeadBucketResult,
        ListBucketsResult,
        ListedObject,
        ListObjectsResult,
        ListObjectVersionsResult,
        ObjectVersion,
        PresignedUrl,
        PutBucketResult,
        PutObjectAclResult,
        PutObjectTaggingResult,
        RestoreObjectResult,
        UploadPartCopyResult,
        VersionEntry,
    )
    from cosxfer.client import Client
    from cosxfer.config import ClientConfig
    from cosxfer.cos.requests import (
        AclHeaders,
        CustomerKey,
        GetParameters,
        HeadParameters,
        ObjectHeaders,
        PartHeaders,
    )
    from cosxfer.credentials import Credentials, CredentialsProvider
    from cosxfer.engine.download.options import DownloadDirectoryOptions, DownloadOptions, FileDownload
    from cosxfer.engine.upload.bodies import BodyInput
    from cosxfer.engine.upload.options import (
        DirectoryOptions,
        FileOptions,
        FileUpload,
        ResumeOptions,
        SliceFileOptions,
    )
    from cosxfer.errors import (
        AccessDeniedError,
        AppendPositionError,
        ConnectError,
        CosxferError,
        CredentialsError,
        IntegrityError,
        NotFoundError,
        ObjectChangedError,
        ObjectNotAppendableError,
        ProtocolError,
        ServerError,
        SourceChangedError,
        SourceError,
        TargetError,
        TaskCanceledError,
        TaskTimeoutError,
        ThrottledError,
        TransportError,
        TransportTimeoutError,
        UploadError,
        UsageError,
    )
    from cosxfer.models import (
        AppendObjectResult,
        CommonPrefix,
        DeleteObjectResult,
        DownloadResult,
        GetObjectBytesResult,
        GetObjectFileResult,
        GetObjectIntoResult,
        GetObjectResult,
        HeadObjectResult,
        Identity,
        MultipartAbortResult,
        MultipartCompleteResult,
        MultipartInitResult,
        MultipartListPartResult,
        MultipartListResult,
        MultipartUploadResult,
        Part,
        PostObjectResult,
        PresignedPost,
        Progress,
        PutObjectResult,
        Result,
        TaskEvent,
        TaskInfo,
        Upload,
        UploadResult,
        Verdict,
    )
    from cosxfer.ops.copy_object import (
        SourceInput,
    )
    from cosxfer.ops.delete_objects import (
        DeleteInput,
    )
    from cosxfer.ops.multipart_complete import PartInput
    from cosxfer.spec import ClientSpec
    from cosxfer.states import TaskChange, TaskState
    from cosxfer.sync.records import SyncEvent, SyncResult
    from cosxfer.tasks.batch import AsyncUploadBatch, UploadBatch
    from cosxfer.tasks.downloads import AsyncDownloadBatch, DownloadBatch, DownloadedFile
    from cosxfer.tasks.file_result import FileResult
    from cosxfer.tasks.task import AsyncUploadTask, UploadTask

__version__ = "0.1.0"

_MODULES = {
    "cosxfer.ops.copy_object": ("SourceInput",),
    "cosxfer.ops.delete_objects": ("DeleteInput",),
    "cosxfer.bucket_models": (
        "Bucket",
        "CopyObjectResult",
        "CopyResult",
        "CopySource",
        "DeleteFailure",
        "DeleteMarker",
        "DeleteObjectTaggingResult",
        "DeleteObjectsResult",
        "DeletedObject",
        "GetObjectAclResult",
        "GetObjectTaggingResult",
        "Grant",
        "DeleteBucketResult",
        "DeleteBucketResult",
        "HeadBucketResult",
        "PutBucketResult",
        "PutBucketResult",
        "ListBucketsResult",
        "ListObjectVersionsResult",
        "ListObjectsResult",
        "ListedObject",
        "ObjectVersion",
        "PresignedUrl",
        "PutObjectAclResult",
        "PutObjectTaggingResult",
        "RestoreObjectResult",
        "UploadPartCopyResult",
        "VersionEntry",
    ),
    "cosxfer.aio": ("AsyncClient",),
    "cosxfer.client": ("Client",),
    "cosxfer.config": ("ClientConfig",),
    "cosxfer.cos.requests": (
        "AclHeaders",
        "CustomerKey",
        "GetParameters",
        "HeadParameters",
        "ObjectHeaders",
        "PartHeaders",
    ),
    "cosxfer.credentials": (
        "Credentials",
        "CredentialsProvider",
    ),
    "cosxfer.engine.download.options": ("DownloadDirectoryOptions", "DownloadOptions", "FileDownload"),
    "cosxfer.sync.records": ("SyncEvent", "SyncResult"),
    "cosxfer.tasks.downloads": ("AsyncDownloadBatch", "DownloadBatch", "DownloadedFile"),
    "cosxfer.engine.upload.bodies": ("BodyInput",),
    "cosxfer.ops.multipart_complete": ("PartInput",),
    "cosxfer.engine.upload.options": (
        "DirectoryOptions",
        "FileOptions",
        "FileUpload",
        "ResumeOptions",
        "SliceFileOptions",
    ),
    "cosxfer.errors": (
        "AccessDeniedError",
        "AppendPositionError",
        "ConnectError",
        "CosxferError",
        "CredentialsError",
        "IntegrityError",
        "NotFoundError",
        "ObjectChangedError",
        "ObjectNotAppendableError",
        "ProtocolError",
        "ServerError",
        "SourceChangedError",
        "SourceError",
        "TargetError",
        "TaskCanceledError",
        "TaskTimeoutError",
        "ThrottledError",
        "TransportError",
        "TransportTimeoutError",
        "UploadError",
        "UsageError",
    ),
    "cosxfer.models": (
        "AppendObjectResult",
        "CommonPrefix",
        "GetObjectBytesResult",
        "GetObjectFileResult",
        "GetObjectIntoResult",
        "GetObjectResult",
        "DeleteObjectResult",
        "DownloadResult",
        "HeadObjectResult",
        "Identity",
        "MultipartAbortResult",
        "MultipartCompleteResult",
        "MultipartInitResult",
        "MultipartListPartResult",
        "MultipartListResult",
        "MultipartUploadResult",
        "Part",
        "PostObjectResult",
        "PresignedPost",
        "Progress",
        "PutObjectResult",
        "Result",
        "TaskEvent",
        "TaskInfo",
        "Upload",
        "UploadResult",
        "Verdict",
    ),
    "cosxfer.spec": ("ClientSpec",),
    "cosxfer.states": (
        "TaskChange",
        "TaskState",
    ),
    "cosxfer.tasks.batch": (
        "AsyncUploadBatch",
        "UploadBatch",
    ),
    "cosxfer.tasks.file_result": ("FileResult",),
    "cosxfer.tasks.task": (
        "AsyncUploadTask",
        "UploadTask",
    ),
}
"""Modules that are imported when one of their names is first used. So a program that only uses errors imports no
engine, and the command handles signals before any slow import."""

_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    value: object
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif f"cosxfer.{name}" in _MODULES:
        value = import_module(f"cosxfer.{name}")
    else:
        raise AttributeError(f"module 'cosxfer' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


__all__ = [
    "AccessDeniedError",
    "AclHeaders",
    "AppendObjectResult",
    "AppendPositionError",
    "AsyncClient",
    "AsyncDownloadBatch",
    "AsyncUploadBatch",
    "AsyncUploadTask",
    "BodyInput",
    "Bucket",
    "Client",
    "ClientConfig",
    "ClientSpec",
    "CommonPrefix",
    "ConnectError",
    "CopyObjectResult",
    "CopyResult",
    "CopySource",
    "CosxferError",
    "Credentials",
    "CredentialsError",
    "CredentialsProvider",
    "CustomerKey",
    "DeleteBucketResult",
    "DeleteFailure",
    "DeleteInput",
    "DeleteMarker",
    "DeleteObjectResult",
    "DeleteObjectTaggingResult",
    "DeleteObjectsResult",
    "DeletedObject",
    "DirectoryOptions",
    "DownloadBatch",
    "DownloadDirectoryOptions",
    "DownloadOptions",
    "DownloadResult",
    "DownloadedFile",
    "FileDownload",
    "FileOptions",
    "FileResult",
    "FileUpload",
    "GetObjectAclResult",
    "GetObjectBytesResult",
    "GetObjectFileResult",
    "GetObjectIntoResult",
    "GetObjectResult",
    "GetObjectTaggingResult",
    "GetParameters",
    "Grant",
    "HeadBucketResult",
    "HeadObjectResult",
    "HeadParameters",
    "Identity",
    "IntegrityError",
    "ListBucketsResult",
    "ListObjectVersionsResult",
    "ListObjectsResult",
    "ListedObject",
    "MultipartAbortResult",
    "MultipartCompleteResult",
    "MultipartInitResult",
    "MultipartListPartResult",
    "MultipartListResult",
    "MultipartUploadResult",
    "NotFoundError",
    "ObjectChangedError",
    "ObjectHeaders",
    "ObjectNotAppendableError",
    "ObjectVersion",
    "Part",
    "PartHeaders",
    "PartInput",
    "PostObjectResult",
    "PresignedPost",
    "PresignedUrl",
    "Progress",
    "ProtocolError",
    "PutBucketResult",
    "PutObjectAclResult",
    "PutObjectResult",
    "PutObjectTaggingResult",
    "RestoreObjectResult",
    "Result",
    "ResumeOptions",
    "ServerError",
    "SliceFileOptions",
    "SourceChangedError",
    "SourceError",
    "SourceInput",
    "SyncEvent",
    "SyncResult",
    "TargetError",
    "TaskCanceledError",
    "TaskChange",
    "TaskEvent",
    "TaskInfo",
    "TaskState",
    "TaskTimeoutError",
    "ThrottledError",
    "TransportError",
    "TransportTimeoutError",
    "Upload",
    "UploadBatch",
    "UploadError",
    "UploadPartCopyResult",
    "UploadResult",
    "UploadTask",
    "UsageError",
    "Verdict",
    "VersionEntry",
    "__version__",
]
