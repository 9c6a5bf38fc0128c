"""The proof that a downloaded file is the object."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from cosxfer.cos.identifiers import bare_etag
from cosxfer.cos.responses import etag_is_md5
from cosxfer.engine.download.state import ObjectVersion
from cosxfer.errors import IntegrityError

_MD5 = re.compile(r"[0-9a-f]{32}")


def check_crc64(version: ObjectVersion, crc64: int, *, what: str) -> str:
    """Return ``"crc64"`` if the object has one, else an empty string. Raises `IntegrityError` if it differs."""
    if version.crc64 is None:
        return ""
    if version.crc64 != crc64:
        raise IntegrityError(
            f"{what}: checksum mismatch: server CRC64 {version.crc64}, local {crc64}",
            expected=version.crc64,
            actual=crc64,
            retryable=True,
        )
    return "crc64"


def check_md5(version: ObjectVersion, digest: Callable[[], str], *, what: str) -> str:
    """Return ``"etag"`` if the ETag is the MD5 of the object, else an empty string.

    For very old objects, which have no CRC64. ``digest`` computes the MD5 and is called only if it can be compared.
    """
    expected = bare_etag(version.etag)
    if not _MD5.fullmatch(expected) or not etag_is_md5(version.head):
        return ""
    found = digest()
    if found != expected:
        raise IntegrityError(
            f"{what}: checksum mismatch: server MD5 {expected}, local {found}",
            expected=expected,
            actual=found,
            retryable=True,
        )
    return "etag"


def md5_of_file(fd: int) -> str:
    """Return the MD5 of an open file, in hexadecimal digits. It reads the whole file."""
    with open(fd, "rb", closefd=False) as file:
        file.seek(0)
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
