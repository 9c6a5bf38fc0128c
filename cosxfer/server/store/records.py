"""Records of the store. Times are Unix seconds, sizes are bytes, ETags have no quotes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """The headers that describe the content, and the metadata; also rights, tags and the state of a restore."""
    modified: float
    rank: str
    """20 digits that sort newer versions of a key before older ones."""
    version: str
    """Its version id; ``null`` if it was stored without versioning."""
    latest: bool
    marker: bool
    """Whether it is a delete marker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewVersion:
    """A version that becomes the latest of its key."""

    bucket: str
    key: str
    etag: str = ""
    crc64: int | None = None
    object_type: str = "normal"
    storage_class: str = "STANDARD"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    modified: float
    segments: Sequence[Segment] = ()
    rank: str
    version: str
    marker: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedVersion:
    """An entry of a listing of versions."""

    key: str
    id: str
    """The rank, by which versions of a key are sorted."""
    found: StoredObject


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
