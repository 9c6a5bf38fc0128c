"""The part source, which yields the parts of a multipart upload.

`cosxfer.engine.upload.file_parts.FileParts` reads a file, mapped or not. `StreamParts` (``stream_parts``, beside it)
reads a stream whose length need not be known.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Container, Iterable
from dataclasses import field
from typing import Protocol

from cosxfer.cos.requests import Body
from cosxfer.planning import PartRange, Plan, StreamPlan
from cosxfer.records import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class HashedPart:
    """A part and its digests."""

    range: PartRange
    md5: bytes
    """16 bytes."""
    crc64: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadyPart:
    """A part that is ready to be sent."""

    hashed: HashedPart
    body: Body = field(repr=False)
    """It can be read again for another attempt."""
    held: int | None = None
    """Bytes of memory that it holds while it is sent; None: all of it."""


class PartSource(Protocol):
    """Gives the parts of one upload, in the order of their numbers."""

    @property
    def name(self) -> str:
        """What messages call it: the path of a file, or ``<generator>``."""
        ...

    @property
    def plan(self) -> Plan | StreamPlan:
        """How it is cut into parts."""
        ...

    @property
    def size(self) -> int | None:
        """Bytes in all; None until they are known."""
        ...

    def parts(self, *, done: Container[int], window: Callable[[], int]) -> AsyncGenerator[ReadyPart, None]:
        """Yield the parts whose numbers are not in ``done``.

        ``window`` returns how many parts may be in flight, which changes while they are sent.
        """
        ...

    async def check(self, parts: Iterable[HashedPart]) -> None:
        """Raise `SourceChangedError` if the source has changed.

        If only the content can tell, ``parts`` are compared with what was hashed; without parts, nothing is.
        """
        ...

    def stored(self, part: ReadyPart) -> None:
        """Called when the server has ``part``: its memory is not needed any more."""
        ...
