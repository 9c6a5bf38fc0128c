"""The source of a copy: its header, its conditions, and the range of a part."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote

from cosxfer.server import checks, restoring, versions
from cosxfer.server.address import locate
from cosxfer.server.call import Call
from cosxfer.server.encryption import CUSTOMER_KEY_MD5
from cosxfer.server.http import CosError
from cosxfer.server.store import StoredObject

SOURCE = "x-cos-copy-source"
SOURCE_VERSION = "x-cos-copy-source-version-id"
_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
_ALLOWED_PAIRS = ({"if-match", "if-unmodified-since"}, {"if-none-match", "if-modified-since"})
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})", re.ASCII)


def source_of(call: Call) -> tuple[StoredObject, dict[str, str]]:
    """Return the object or version to copy, and the header that names its version if the request does.

    Raises InvalidArgument, NoSuchBucket, NoSuchKey, NoSuchVersion, PreconditionFailed, InvalidObjectState …
    """
    bucket, key, version = _parsed(call)
    if bucket not in call.store.bucket_names:
        raise CosError("NoSuchBucket", "The bucket of the copy source does not exist.")
    if version is not None and (marker := call.store.object(bucket, key, version)) is not None and marker.marker:
        raise CosError("InvalidRequest", "The source of a copy may not be a delete marker.")
    found = versions.existing(call, bucket, key, version)
    if CUSTOMER_KEY_MD5 in found.headers:
        raise CosError("NotImplemented", "This server does not copy objects with a customer's key.")
    restoring.check_readable(found, call.request.now)
    _check_conditions(call, found)
    return found, {} if version is None else {SOURCE_VERSION: found.version}


def part_range(call: Call, size: int) -> tuple[int, int]:
    """Return start and end (exclusive) of the bytes to copy. Raises InvalidArgument and InvalidRange."""
    text = call.request.headers.get(f"{SOURCE}-range")
    if text is None:
        return 0, size
    found = _RANGE.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        raise CosError("InvalidArgument", f"{SOURCE}-range has the form bytes=first-last.")
    if int(found[2]) >= size:
        raise CosError("InvalidRange", f"The copy source has {size} bytes.")
    return int(found[1]), int(found[2]) + 1


def is_replaced(call: Call, name: str) -> bool:
    """Return whether a directive says that the request replaces what the source has. Raises InvalidArgument."""
    value = call.request.headers.get(name, "Copy").lower()
    if value not in ("copy", "replaced", "replace"):
        raise CosError("InvalidArgument", f"{name} can be Copy or Replaced.")
    return value != "copy"


def _parsed(call: Call) -> tuple[str, str, str | None]:
    """Parse ``host/key?versionId=id``. The form ``/bucket/key`` of the S3 face is accepted too."""
    value = call.request.headers[SOURCE]
    path, _, query = value.partition("?")
    host, slash, rest = path.removeprefix("/").partition("/")
    try:
        key = unquote(rest, errors="strict")
    except UnicodeDecodeError as error:
        raise CosError("InvalidArgument", f"{SOURCE} is not UTF-8.") from error
    if ".cos.accelerate." in host or "://" in value:
        raise CosError("InvalidArgument", f"{SOURCE} has no scheme, and its host is that of a region.")
    if host in call.store.bucket_names:
        bucket: str | None = host
    else:
        found = locate(host=host, path=f"/{key}", buckets=call.store.bucket_names)
        bucket, key = found.bucket, found.key
    if not slash or not bucket or not key:
        raise CosError("InvalidArgument", f"{SOURCE} must be <bucket>.cos.<region>.myqcloud.com/<key>.")
    checks.check_key(key)
    version = next((text for name, text in parse_qsl(query) if name.lower() == "versionid"), None)
    return bucket, key, version


def _check_conditions(call: Call, found: StoredObject) -> None:
    given = {
        name: call.request.headers[f"{SOURCE}-{name}"]
        for name in _CONDITIONS
        if f"{SOURCE}-{name}" in call.request.headers
    }
    if not any(given.keys() <= pair for pair in _ALLOWED_PAIRS):
        raise CosError("InvalidArgument", f"These conditions of {SOURCE} exclude each other: {', '.join(given)}.")
    if checks.precondition_status(given, etag=found.etag, modified=found.modified) != 200:
        raise CosError("PreconditionFailed", "A precondition of the copy source does not hold.")
