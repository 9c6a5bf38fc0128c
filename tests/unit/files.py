"""Files to upload."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cosxfer.limits import KIB


def content_of(size: int) -> bytes:
    """Bytes in which every MiB is different."""
    return b"".join(hashlib.sha256(n.to_bytes(8, "big")).digest() * 32 for n in range(-(-size // KIB)))[:size]


def write(path: Path, size: int) -> Path:
    path.write_bytes(content_of(size))
    return path


def rewrite(path: Path, content: bytes) -> None:
    """Write ``content`` and make sure that the mtime changes.

    Timestamps have the granularity of the kernel's clock, some milliseconds on older kernels, so a quick second write
    may leave the mtime unchanged. The file is touched until its mtime has changed. It is not cut before it is written:
    who reads it meanwhile would lose pages, which is another error.
    """
    before = path.stat()
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()
    while path.stat().st_mtime_ns == before.st_mtime_ns:
        os.utime(path)
