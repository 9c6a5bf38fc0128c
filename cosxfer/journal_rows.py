"""The rows of the journal: what they hold, their bytes, and the fingerprints that guard and name them.

Each row ends with a fingerprint (xxhash) of its content and of what it belongs to. A row whose fingerprint or values
are wrong is dropped, so a damaged journal costs time, never a wrong part. No row has a key or a secret. Of a customer's
encryption key only its MD5 enters the fingerprint of the headers.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, cast

import xxhash

from cosxfer.arguments import NumberOrAuto, is_count, is_text
from cosxfer.cos.requests import SSE_CUSTOMER_KEY
from cosxfer.errors import UsageError
from cosxfer.limits import MAX_OBJECT_BYTES, MAX_PART_NUMBER
from cosxfer.planning import Plan, plan_parts
from cosxfer.records import dataclass
from cosxfer.sources import SourceIdentity

VERSION = 1
"""The version of the rows and tables."""

_SECRET = re.compile("customer-key$|token|secret|passw|authorization|credential", re.ASCII)
"""Names of headers that are not written."""

OF_REQUESTS = frozenset({"expect", "x-cos-traffic-limit"})
"""Headers that say nothing of the object."""

_GUARD = struct.Struct("<Q")
_SHORT_GUARD = struct.Struct("<I")
_PART = struct.Struct("<QQQ16s")
_OBJECT = struct.Struct("<8sQQI16sH")
_BATCH = struct.Struct("<I")
BATCH_AT, BATCH_BYTES = 24, _BATCH.size
"""Where the row of a finished object has the number of its batch."""
_GUARDED_OBJECT = struct.Struct("<8sQQI16sHI")
OBJECT_BYTES = _GUARDED_OBJECT.size
"""The length of the row of a finished object."""
_MD5_ETAG = re.compile(r'"([0-9a-f]{32})(?:-(\d{1,5}))?"', re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Place:
    """From which file to which object."""

    endpoint: str
    region: str
    bucket: str
    key: str
    """As it is sent."""
    path: str
    """Absolute."""

    def fingerprint(self) -> bytes:
        """The key of its uploads in the journal."""
        return fingerprint(self.endpoint, self.region, self.bucket, self.key, self.path)


class JournalPart(NamedTuple):
    """A part that the server has confirmed."""

    number: int
    offset: int
    length: int
    md5: bytes
    crc64: int
    etag: str


@dataclass(frozen=True, kw_only=True)
class JournaledUpload:
    """A multipart upload that has begun."""

    place: Place
    headers: bytes
    """`headers_fingerprint`."""
    parameters: Mapping[str, str]
    """The headers of the object, without secrets. The same call can be made with them: `complete`."""
    complete: bool
    """Whether no header is left out as a secret, such as the customer's key."""
    add_md5: bool
    """Whether the MD5 of the file is added to the metadata."""
    source: SourceIdentity
    plan: Plan
    upload_id: str
    created: float
    """Unix seconds."""
    completing: bool = False
    """Whether Complete was sent."""


class FinishedObject(NamedTuple):
    """An object that was stored and verified.

    A named tuple, because a hundred thousand may be read at once, and a frozen dataclass costs three times as much.
    """

    content: bytes
    """`content_fingerprint` of its source and headers."""
    batch: int
    """The batch that sent it; 0 for none."""
    size: int
    crc64: int
    etag: str
    """Empty if it is neither an MD5 nor that of a multipart upload."""


FINGERPRINT_BYTES = 16


def fingerprint(*texts: str) -> bytes:
    """Return `FINGERPRINT_BYTES` bytes that name these texts."""
    # `ascii` of a tuple is unambiguous, the same in each version of Python, and takes a fifth of the time of JSON.
    return xxhash.xxh3_128_digest(ascii(texts).encode())


def headers_fingerprint(headers: Mapping[str, str], *, add_md5: bool) -> bytes:
    """Return the fingerprint of what an object's headers and metadata make of it.

    The customer's key counts by its MD5 alone. Headers of single requests (Expect, traffic limit) do not count.
    ``add_md5`` says that the MD5 of the file is added to the metadata.
    """
    items = tuple(headers.items())
    # Thousands of files have the same headers. A key is not kept in memory for longer than the call.
    return (_of_headers.__wrapped__ if SSE_CUSTOMER_KEY in headers else _of_headers)(items, add_md5)


@lru_cache(maxsize=256)
def _of_headers(items: tuple[tuple[str, str], ...], add_md5: bool) -> bytes:
    texts = ["md5" if add_md5 else ""]
    for name, value in sorted(items):
        if name not in OF_REQUESTS:
            if name == SSE_CUSTOMER_KEY:
                value = hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()
            texts += (name, value)
    return fingerprint(*texts)


def without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those of an object's headers that may be written."""
    return {
        name: value for name, value in headers.items() if name not in OF_REQUESTS and not _SECRET.search(name.lower())
    }


def content_fingerprint(path: str, source: SourceIdentity, headers: bytes) -> bytes:
    """Return 8 bytes that name the content and the headers of a finished object."""
    # The same text as that of `ascii((path, tuple(source), headers))`, in half the time.
    device, inode, size, mtime_ns, ctime_ns = source
    text = f"({path!a}, ({device}, {inode}, {size}, {mtime_ns}, {ctime_ns}), {headers!a})"
    return xxhash.xxh3_64_digest(text.encode())


def difference(upload: JournaledUpload, *, headers: bytes, source: SourceIdentity, part_size: NumberOrAuto) -> str:
    """Return why ``upload`` cannot be continued for this file and these headers; empty if it can be.

    Device and ctime are not compared. They may differ for the same content, so the caller compares the content then.
    """
    before = upload.source
    for name in ("inode", "size", "mtime_ns"):
        if getattr(before, name) != getattr(source, name):
            return f"the file has changed since ({name.removesuffix('_ns')})"
    if upload.headers != headers:
        return "its headers, metadata or storage class differ"
    if isinstance(part_size, int) and part_size != upload.plan.part_size_bytes:
        return f"its parts have {upload.plan.part_size_bytes} bytes, and part size is {part_size} now"
    return ""


# -- uploads ----------------------------------------------------------------------------------------------------------


def encode_upload(upload: JournaledUpload) -> bytes:
    place = upload.place
    values = {
        "endpoint": place.endpoint,
        "region": place.region,
        "bucket": place.bucket,
        "key": place.key,
        "path": place.path,
        "headers": upload.headers.hex(),
        "parameters": dict(upload.parameters),
        "complete": upload.complete,
        "add_md5": upload.add_md5,
        "source": list(upload.source),
        "part_size": upload.plan.part_size_bytes,
        "size": upload.plan.size,
        "upload_id": upload.upload_id,
        "created": upload.created,
        "completing": upload.completing,
    }
    data = json.dumps(values).encode()
    return data + guard_of(data)


def decode_upload(row: object) -> JournaledUpload | None:
    """Return the upload of a row, or None if the row is damaged."""
    data = guarded(row)
    if data is None:
        return None
    try:
        values = json.loads(data)
        texts = {name: values[name] for name in ("endpoint", "region", "bucket", "key", "path")}
        upload = JournaledUpload(
            place=Place(**texts),
            headers=bytes.fromhex(values["headers"]),
            parameters=dict(values["parameters"]),
            complete=values["complete"],
            add_md5=values["add_md5"],
            source=SourceIdentity(*values["source"]),
            plan=plan_parts(values["size"], part_size_bytes=values["part_size"]),
            upload_id=values["upload_id"],
            created=float(values["created"]),
            completing=values["completing"],
        )
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError, AttributeError, UsageError):
        return None
    texts["upload_id"] = upload.upload_id
    legal = (
        all(is_text(text) for text in (*texts.values(), *upload.parameters, *upload.parameters.values()))
        and upload.upload_id
        and len(upload.headers) == FINGERPRINT_BYTES
        and math.isfinite(upload.created)
        and all(isinstance(value, int) and abs(value) <= 2**64 for value in upload.source)
        and upload.source.size == upload.plan.size
        and all(isinstance(flag, bool) for flag in (upload.completing, upload.complete, upload.add_md5))
    )
    return upload if legal else None


def encode_part(upload_id: str, part: JournalPart) -> bytes:
    data = _PART.pack(part.offset, part.length, part.crc64, part.md5)
    if part.etag != f'"{part.md5.hex()}"':
        data += part.etag.encode("utf-8", "surrogatepass")
    return data + guard_of(data, f"{upload_id} {part.number}")


def decode_part(upload: JournaledUpload, number: object, row: object) -> JournalPart | None:
    """Return a part of ``upload``, or None if the row is damaged, of another upload, or not a part of its plan."""
    if not is_count(number) or not 1 <= number <= min(upload.plan.count, MAX_PART_NUMBER):
        return None
    data = guarded(row, f"{upload.upload_id} {number}")
    if data is None or len(data) < _PART.size:
        return None
    offset, length, crc64, md5 = _PART.unpack_from(data)
    planned = upload.plan.part(number)
    if (offset, length) != (planned.offset, planned.length):
        return None
    try:
        etag = data[_PART.size :].decode("utf-8", "surrogatepass") or f'"{md5.hex()}"'
    except UnicodeDecodeError:
        return None
    return JournalPart(number, offset, length, md5, crc64, etag)


# -- finished objects -------------------------------------------------------------------------------------------------

TARGET_BYTES = 12
"""Of a million objects, two have the same 96 bits with a probability of 1e-17."""


def target_of(endpoint: str, region: str, bucket: str, key: str) -> bytes:
    """Return the key of a finished object in the journal."""
    return fingerprint(endpoint, region, bucket, key)[:TARGET_BYTES]


def targets_of(endpoint: str, region: str, bucket: str, keys: Iterable[str]) -> list[bytes]:
    """Return `target_of` of many objects of one bucket."""
    begin = ascii((endpoint, region, bucket)).removesuffix(")")
    return [xxhash.xxh3_128_digest(f"{begin}, {key!a})".encode())[:TARGET_BYTES] for key in keys]


def encode_object(target: bytes, found: FinishedObject) -> bytes:
    match = _MD5_ETAG.fullmatch(found.etag)
    md5, parts = (bytes.fromhex(match[1]), int(match[2] or 0)) if match else (b"", 0xFFFF)
    data = _OBJECT.pack(found.content, found.crc64, found.size, found.batch, md5, min(parts, 0xFFFF))
    return data + _SHORT_GUARD.pack(xxhash.xxh32_intdigest(target + data))


def encode_batch_number(batch: int) -> bytes:
    """Return the number of a batch as the rows of its finished objects have it."""
    return _BATCH.pack(batch)


def decode_object(target: bytes, row: object) -> FinishedObject | None:
    """Return a finished object, or None if the row is damaged."""
    if not isinstance(row, bytes) or len(row) != OBJECT_BYTES:
        return None
    content, crc64, size, batch, md5, parts, guard = _GUARDED_OBJECT.unpack(row)
    if guard != xxhash.xxh32_intdigest(target + row[: _OBJECT.size]) or size > MAX_OBJECT_BYTES:
        return None
    etag = "" if parts == 0xFFFF else f'"{md5.hex()}-{parts}"' if parts else f'"{md5.hex()}"'
    return FinishedObject(content, batch, size, crc64, etag)


def size_of_object(target: bytes, row: object, *, content: bytes, batch: int) -> int | None:
    """Return the size of a finished object, or None if the row is damaged or of another content or batch.

    A hundred thousand may be read at once; this takes half the time of `decode_object`.
    """
    if not isinstance(row, bytes) or len(row) != OBJECT_BYTES:
        return None
    held, _, size, number, _, _, guard = _GUARDED_OBJECT.unpack(row)
    if held != content or number != batch:
        return None
    if guard != xxhash.xxh32_intdigest(target + row[: _OBJECT.size]) or size > MAX_OBJECT_BYTES:
        return None
    return cast(int, size)


# -- batches ----------------------------------------------------------------------------------------------------------


def encode_batch(name: bytes, touched: float) -> bytes:
    data = struct.pack("<d", touched)
    return data + guard_of(data, name.hex())


def decode_batch(name: bytes, row: object) -> float | None:
    """Return when an open batch was last run (Unix seconds), or None if the row is damaged."""
    data = guarded(row, name.hex())
    if data is None or len(data) != 8:
        return None
    touched: float = struct.unpack("<d", data)[0]
    return touched if math.isfinite(touched) else None


# -- guards -----------------------------------------------------------------------------------------------------------


def guard_of(data: bytes, belongs_to: str = "") -> bytes:
    """Return the guard that ends a row."""
    return _GUARD.pack(xxhash.xxh3_64_intdigest(belongs_to.encode("utf-8", "surrogatepass") + b"\0" + data))


def guarded(row: Any, belongs_to: str = "") -> bytes | None:
    """Return the row without its guard; None if they do not agree."""
    if not isinstance(row, bytes) or len(row) < _GUARD.size:
        return None
    data, guard = row[: -_GUARD.size], row[-_GUARD.size :]
    return data if guard == guard_of(data, belongs_to) else None
