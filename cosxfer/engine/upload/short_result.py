"""The outcome of a short upload, from which its `UploadResult` is made if somebody asks.

There may be a hundred thousand of them. To make each result costs more than a tenth of the upload, and the garbage
collector would visit all of them again and again. It does not visit a plain tuple of texts, bytes and numbers.
"""

from __future__ import annotations

from typing import Any

from cosxfer.address import ObjectAddress
from cosxfer.cos.endpoint import location_of
from cosxfer.cos.responses import HttpResponse, unpacked
from cosxfer.engine.upload.sent import SinglePut
from cosxfer.models import PutObjectResult, UploadResult
from cosxfer.ops.put_object import put_fields

ShortResult = tuple[str, str, str, str, int, tuple[str, ...] | bytes, str, bytes, int, int, float, float]
"""Authority and base path of the endpoint; bucket and key; status, packed headers and HTTP version of the response;
MD5, CRC64 and size of the file; seconds since the beginning, and since the sending began."""


def size_of(outcome: Any) -> int:
    """Return the bytes of a result, which may be short."""
    size: int = outcome[9] if type(outcome) is tuple else outcome.size
    return size


def full(outcome: Any) -> Any:
    """Return the result itself; that of a short one is made."""
    return _made(*outcome) if type(outcome) is tuple else outcome


def _made(
    authority: str,
    base_path: str,
    bucket: str,
    key: str,
    status: int,
    headers: tuple[str, ...] | bytes,
    http_version: str,
    md5: bytes,
    crc64: int,
    size: int,
    seconds: float,
    send_seconds: float,
) -> UploadResult:
    response = HttpResponse(status=status, headers=unpacked(headers), http_version=http_version)
    fields = put_fields(key, location_of(authority, base_path, key), response, md5=md5, crc64=crc64)
    return SinglePut(
        result=PutObjectResult(**fields),
        crc64=crc64,
        size=size,
        http_version=http_version,
        seconds=seconds,
        hash_seconds=0.0,
        send_seconds=send_seconds,
        retries=0,
    ).as_upload_result(ObjectAddress(bucket, key))
