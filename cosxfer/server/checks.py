"""Checks of a request: limits, digests, ranges, conditions. Pure functions; each raises the error that COS returns."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from cosxfer.cos.header_values import META_PREFIX, check_header_name, check_header_value
from cosxfer.cos.identifiers import FORBIDDEN_IN_KEY
from cosxfer.errors import UsageError
from cosxfer.limits import (
    GIB,
    MAX_KEY_BYTES,
    MAX_LIST_ENTRIES,
    MAX_METADATA_BYTES,
    MAX_PART_BYTES,
    MAX_PART_NUMBER,
    MAX_PUT_BYTES,
    MIN_PART_NUMBER,
)
from cosxfer.server.http import CosError, Request

STORED_HEADERS = (
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)
"""Headers that are stored with an object and returned, besides the metadata and the storage class."""

_LONGEST_DATE = 64
_LONGEST_NUMBER = 18
"""Digits. Enough for any size, and few enough for the 64 bits of the database."""
_NUMBERS = {
    "append_object": ("position",),
    "get_service": ("max-keys",),
    "list_objects": ("max-keys",),
    "list_object_versions": ("max-keys",),
    "multipart_list": ("max-uploads",),
    "multipart_list_part": ("max-parts", "part-number-marker"),
}

STORAGE_CLASSES = frozenset(
    name
    for base in ("STANDARD", "STANDARD_IA", "INTELLIGENT_TIERING", "ARCHIVE", "DEEP_ARCHIVE")
    for name in (base, f"MAZ_{base}")
)


def check_key(key: str) -> None:
    """Refuse a key of more than 850 bytes of UTF-8 or with control characters that COS forbids (page 436/13324)."""
    if (size := len(key.encode())) > MAX_KEY_BYTES:
        raise CosError("KeyTooLong", f"The key is {size} bytes long; {MAX_KEY_BYTES} are allowed.")
    if FORBIDDEN_IN_KEY.intersection(key):
        raise CosError("InvalidObjectName", "The key holds one of the control characters 24 to 27.")


def refuse_conditions(headers: Mapping[str, str]) -> None:
    """Refuse a condition on a request that writes. No page of COS has one there, and to ignore it could lose data."""
    for name in ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since"):
        if name in headers:
            raise CosError("NotImplemented", f"A request that writes or deletes cannot have {name}.")


def content_md5(headers: Mapping[str, str]) -> bytes | None:
    """Return the 16 bytes of Content-MD5, or None without that header."""
    value = headers.get("content-md5")
    if value is None:
        return None
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise CosError("InvalidDigest", "Content-MD5 is not the Base64 of a 16-byte MD5.")
    return digest


def check_body_length(request: Request, *, limit: int) -> int | None:
    """Return the declared length, or None if it is unknown (chunked, or HTTP/2 without Content-Length).

    Raises MissingContentLength (411) and EntityTooLarge.
    """
    size = request.content_length
    if size is None and request.http_version != "2" and "chunked" not in request.headers.get("transfer-encoding", ""):
        raise CosError("MissingContentLength", "You must provide the Content-Length HTTP header.")
    check_size(size or 0, limit=limit)
    return size


def check_size(size: int, *, limit: int) -> None:
    """Refuse a body of more than ``limit`` bytes."""
    if size > limit:
        raise CosError("EntityTooLarge", f"The body is larger than {limit // GIB} GiB.")


def put_length(request: Request) -> int | None:
    return check_body_length(request, limit=MAX_PUT_BYTES)


def part_length(request: Request) -> int | None:
    return check_body_length(request, limit=MAX_PART_BYTES)


def part_number(query: Mapping[str, str]) -> int:
    """Return ``partNumber``, 1 to 10,000."""
    number = whole_number(query, "partNumber")
    if not MIN_PART_NUMBER <= number <= MAX_PART_NUMBER:
        raise CosError("InvalidArgument", f"partNumber must be from {MIN_PART_NUMBER} to {MAX_PART_NUMBER}.")
    return number


def check_numbers(operation: str, query: Mapping[str, str]) -> None:
    """Refuse malformed numbers before any other check."""
    for name in _NUMBERS.get(operation, ()):
        whole_number(query, name, default=0)


def append_position(query: Mapping[str, str]) -> int:
    """Return ``position`` of an append, in bytes."""
    return whole_number(query, "position")


def page_size(query: Mapping[str, str], name: str) -> int:
    """Return ``max-keys`` or a similar parameter: 0 to 1,000; larger values count as 1,000."""
    return min(whole_number(query, name, default=MAX_LIST_ENTRIES), MAX_LIST_ENTRIES)


def part_number_marker(query: Mapping[str, str]) -> int:
    return whole_number(query, "part-number-marker", default=0)


def encoding_type(query: Mapping[str, str]) -> str:
    """Return ``encoding-type``: ``url`` or empty."""
    value = query.get("encoding-type", "")
    if value not in ("", "url"):
        raise CosError("InvalidArgument", "encoding-type can only be url.")
    return value


def whole_number(query: Mapping[str, str], name: str, default: int | None = None) -> int:
    value = query.get(name, "")
    if not value and default is not None:
        return default
    if not (value.isascii() and value.isdigit() and len(value) <= _LONGEST_NUMBER):
        raise CosError("InvalidArgument", f"{name} must be a whole number.")
    return int(value)


def stored_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers to store: those that describe the content, and the user's metadata of at most 2 KB."""
    kept = {name: headers[name].strip(" \t") for name in STORED_HEADERS if name in headers}
    metadata = {name: value.strip(" \t") for name, value in headers.items() if name.startswith(META_PREFIX)}
    for name, value in (kept | metadata).items():
        check_header(name, value)
    if sum(len(name) + len(value.encode()) for name, value in metadata.items()) > MAX_METADATA_BYTES:
        raise CosError("MetadataTooLarge", f"The metadata headers exceed {MAX_METADATA_BYTES} bytes.")
    return kept | metadata


def check_header(name: str, value: str) -> None:
    """Refuse a value that cannot be returned as a header. A form field or a parameter may contain a line break."""
    try:
        check_header_name(name)
        check_header_value(name, value)
    except UsageError as error:
        raise CosError("InvalidArgument", str(error)) from error


def storage_class(headers: Mapping[str, str]) -> str:
    """Return ``x-cos-storage-class``; STANDARD by default."""
    value = headers.get("x-cos-storage-class", "STANDARD").upper()
    if value not in STORAGE_CLASSES:
        raise CosError("NotSupportedStorageClass", "The storage class is not supported.")
    return value


def byte_range(headers: Mapping[str, str], size: int) -> tuple[int, int] | None:
    """Return start and end (exclusive) of a Range header. None without one, for several ranges, or for another unit.

    Raises InvalidRange if the range is outside an object of ``size`` bytes (RFC 9110, section 14).
    """
    unit, equals, text = headers.get("range", "").partition("=")
    first, dash, last = text.strip().partition("-")
    if unit.strip().lower() != "bytes" or not equals or not dash or not all(map(_digits, (first, last))):
        return None
    if first:
        start, end = _whole(first), min(_whole(last) + 1, size) if last else size
        if last and _whole(last) < start:
            return None
    elif last:
        start, end = max(0, size - _whole(last)), size
    else:
        return None
    if start >= end:
        raise CosError(
            "InvalidRange", "The requested range cannot be satisfied.", headers={"content-range": f"bytes */{size}"}
        )
    return start, end


def _whole(digits: str) -> int:
    """Return the number, or one larger than any object. `int` is slow for many digits and fails for too many."""
    return int((digits.lstrip("0") or "0")[:20])


def _digits(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit())


def precondition_status(headers: Mapping[str, str], *, etag: str, modified: float) -> int:
    """Return 200, 304 or 412 according to If-Match, If-None-Match and the two dates (RFC 9110, section 13.2.2)."""
    if (wanted := headers.get("if-match")) is not None:
        if not _lists(wanted, etag):
            return 412
    elif (date := http_date_of(headers, "if-unmodified-since")) is not None and int(modified) > date:
        return 412
    if (known := headers.get("if-none-match")) is not None:
        return 304 if _lists(known, etag) else 200
    if (date := http_date_of(headers, "if-modified-since")) is not None and int(modified) <= date:
        return 304
    return 200


def _lists(value: str, etag: str) -> bool:
    names = {name.strip().removeprefix("W/").strip('"') for name in value.split(",")}
    return "*" in names or etag.strip('"') in names


def http_date_of(headers: Mapping[str, str], name: str) -> float | None:
    """Return the header's date in Unix seconds; None if it is absent or malformed."""
    value = headers.get(name, "")
    if len(value) > _LONGEST_DATE:
        return None
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, IndexError, ArithmeticError, OSError):
        # The parser is made for mail and raises many kinds of errors for malformed dates.
        return None
