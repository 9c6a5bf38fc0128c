"""Files to upload."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cosxfer.limits import KIB


def content_of(size: int) -> bytes:
    """Bytes in which no two MiB are alike."""
    return b"".join(hashlib.sha256(n.to_bytes(8, "big")).digest() * 32 for n in range(-(-size // KIB)))[:size]


def write(path: Path, size: int) -> Path:
    path.write_bytes(content_of(size))
    return path
