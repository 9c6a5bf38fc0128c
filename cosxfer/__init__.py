"""Uploads to Tencent Cloud Object Storage (COS): fast, verified, with little CPU.

>>> import cosxfer
>>> with cosxfer.Client(region="ap-guangzhou") as client:
...     result = client.upload_file("examplebucket-1250000000", "a/b.bin", "b.bin")
...     print(result.etag, result.verified)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cosxfer.config import ClientConfig
from cosxfer.credentials import Credentials, CredentialsProvider
from cosxfer.errors import (
    AccessDeniedError,
    AppendPositionError,
    ConnectError,
    CosxferError,
    CredentialsError,
    IntegrityError,
    NotFoundError,
    ObjectNotAppendableError,
    ProtocolError,
    ServerError,
    SourceChangedError,
    SourceError,
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
    GetObjectBytesResult,
    GetObjectFileResult,
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
    TaskChange,
    TaskEvent,
    TaskInfo,
    TaskState,
    Upload,
    UploadResult,
)

if TYPE_CHECKING:
    from cosxfer.aio import AsyncClient
    from cosxfer.client import Client
    from cosxfer.engine.options import FileUpload
    from cosxfer.tasks.batch import AsyncUploadBatch, FileResult, UploadBatch
    from cosxfer.tasks.task import AsyncUploadTask, UploadTask

__version__ = "0.1.0"

_LATER = {
    "AsyncClient": "cosxfer.aio",
    "AsyncUploadBatch": "cosxfer.tasks.batch",
    "AsyncUploadTask": "cosxfer.tasks.task",
    "Client": "cosxfer.client",
    "FileResult": "cosxfer.tasks.batch",
    "FileUpload": "cosxfer.engine.options",
    "UploadBatch": "cosxfer.tasks.batch",
    "UploadTask": "cosxfer.tasks.task",
}
"""Imported when first used: they bring the engine, which a program that only names errors does not need."""


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'cosxfer' has no attribute {name!r}")
    value: object = getattr(import_module(_LATER[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


__all__ = [
    "AccessDeniedError",
    "AppendObjectResult",
    "AppendPositionError",
    "AsyncClient",
    "AsyncUploadBatch",
    "AsyncUploadTask",
    "Client",
    "ClientConfig",
    "CommonPrefix",
    "ConnectError",
    "CosxferError",
    "Credentials",
    "CredentialsError",
    "CredentialsProvider",
    "FileResult",
    "FileUpload",
    "GetObjectBytesResult",
    "GetObjectFileResult",
    "GetObjectResult",
    "HeadObjectResult",
    "Identity",
    "IntegrityError",
    "MultipartAbortResult",
    "MultipartCompleteResult",
    "MultipartInitResult",
    "MultipartListPartResult",
    "MultipartListResult",
    "MultipartUploadResult",
    "NotFoundError",
    "ObjectNotAppendableError",
    "Part",
    "PostObjectResult",
    "PresignedPost",
    "Progress",
    "ProtocolError",
    "PutObjectResult",
    "Result",
    "ServerError",
    "SourceChangedError",
    "SourceError",
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
    "UploadResult",
    "UploadTask",
    "UsageError",
    "__version__",
]
