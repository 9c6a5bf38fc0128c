"""Records of the store. Times are Unix seconds, sizes are bytes, ETags have no quotes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from cosxfer.records import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A piece of an object: one whole file."""

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
    """The headers that describe the content, and the metadata."""
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
