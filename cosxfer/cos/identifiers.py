"""Checks of bucket names, regions, keys, upload ids and part numbers (COS pages 436/13312, 13324); bare ETags."""

from __future__ import annotations

import posixpath
import re

from cosxfer.address import ObjectAddress
from cosxfer.arguments import as_number, check_count, check_text
from cosxfer.cos.xml import NOT_XML
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.limits import MAX_KEY_BYTES, MAX_PART_NUMBER, MIN_PART_NUMBER

_BUCKET = re.compile(r"[a-z\d-]+-\d+", re.ASCII)
_REGION = re.compile(r"[a-z\d-]+", re.ASCII)

FORBIDDEN_IN_KEY = frozenset("\x18\x19\x1a\x1b")
"""Control characters that COS refuses (decimal 24 to 27)."""


def check_bucket(bucket: str) -> str:
    """Return ``bucket`` if it has the form ``BucketName-APPID``."""
    if not isinstance(bucket, str) or not _BUCKET.fullmatch(bucket):
        raise UsageError(
            f"the bucket name {shorten(bucket)} is not of the form BucketName-APPID "
            "(lower-case letters, digits and '-', then '-' and the APPID), such as examplebucket-1250000000",
            name="bucket",
            value=bucket,
        )
    return bucket


def check_region(region: str) -> str:
    """Return ``region`` if it has the form of a region, such as ``ap-guangzhou``."""
    if isinstance(region, str) and region.startswith("cos."):
        hint = region.removeprefix("cos.")
        raise UsageError(f'the region is {region!r}; omit "cos.": {hint!r}', name="region", value=region)
    if not isinstance(region, str) or not _REGION.fullmatch(region):
        raise UsageError(
            f"the region {shorten(region)} is not a COS region such as ap-guangzhou", name="region", value=region
        )
    return region


def check_key(key: str) -> str:
    """Return the object key as it is sent: without one leading ``/``, as in the SDKs.

    Call it only once per key: it turns ``//x`` into ``/x``, and ``/x`` into ``x``.
    """
    if not isinstance(key, str):
        raise UsageError(f"the key is {type(key).__name__}; it must be a string", name="key", value=key)
    stripped = key[1:] if key.startswith("/") else key
    if not stripped:
        raise UsageError(f"the key {key!r} is empty; give the object's name", name="key", value=key)
    try:
        size = len(stripped.encode())
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the key {shorten(key)} is not text: it has bytes that the encoding of file names (UTF-8, or that of "
            "LC_ALL or LANG) cannot decode. COS keys are UTF-8: rename the file, or give it another key",
            name="key",
            value=key,
        ) from error
    if size > MAX_KEY_BYTES:
        raise UsageError(
            f"the key {shorten(key)} is {size} bytes long in UTF-8; COS allows {MAX_KEY_BYTES}", name="key", value=key
        )
    if bad := FORBIDDEN_IN_KEY.intersection(stripped):
        raise UsageError(
            f"the key {shorten(key)} contains the control character {min(bad)!r}, which COS refuses",
            name="key",
            value=key,
        )
    # HTTP clients may simplify "./" or "a/../" to the path of the bucket, and the request would be for the bucket.
    # (normpath keeps two leading slashes.) A key without ".." is safe if it has more than dots and slashes.
    if (".." in stripped or not stripped.strip("./")) and posixpath.normpath("/" + stripped.lstrip("/")) == "/":
        raise UsageError(f"the key {shorten(key)} simplifies to the path of the bucket itself", name="key", value=key)
    return stripped


def object_address(bucket: str, key: str, region: str | None) -> ObjectAddress:
    """Return the checked address of an object; raises `UsageError` for a bad bucket name or key."""
    return ObjectAddress(check_bucket(bucket), check_key(key), region)


def check_key_in_xml(key: str) -> None:
    """Refuse the key of a multipart upload if XML cannot hold it: COS repeats the key in XML documents."""
    if bad := NOT_XML.search(key):
        raise UsageError(
            f"the key {shorten(key)} contains {bad.group()!r}, which XML cannot hold, so a multipart upload "
            "is impossible; use another key, or a single PUT (put_object)",
            name="key",
            value=key,
        )


def check_upload_id(value: str) -> str:
    """Return ``value`` if it can be an upload id. Without an id, the request would be for the object itself."""
    if not isinstance(value, str) or not value:
        raise UsageError(
            f"upload_id is {shorten(value)}; use the one that multipart_init returns", name="upload_id", value=value
        )
    check_text(value, "upload_id")
    return value


def check_part_number(value: int | str) -> int:
    """Return ``value`` as a number if it is that of a part."""
    return check_count(as_number(value), "part_number", minimum=MIN_PART_NUMBER, maximum=MAX_PART_NUMBER)


def bare_etag(value: str) -> str:
    """Return an ETag without quotes and in lower case, for comparison."""
    return value.strip('"').lower()
