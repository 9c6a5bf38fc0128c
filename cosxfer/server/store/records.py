"""What the store returns. Times are Unix seconds, sizes bytes, ETags without quotes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A stretch of an object: one file, whole."""

    blob: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredObject:
    id: int
    bucket: str
    key: str
    size: int
    etag: str
    crc64: int | None
    object_type: str
    """``"normal"`` or ``"appendable"``."""
    storage_class: str
    headers: Mapping[str, str] = field(repr=False)
    """What the upload said of the content, and the metadata."""
    modified: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredUpload:
    id: str
    bucket: str
    key: str
    storage_class: str
    headers: Mapping[str, str] = field(repr=False)
    initiated: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPart:
    number: int
    blob: str
    size: int
    etag: str
    crc64: int
    modified: float
