"""What an upload has done so far, as far as a later run needs it. Its task keeps it in memory.

Only the methods of `Checkpoint` change it, so that a journal on disk can record each change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from cosxfer._native import hashing
from cosxfer.cos.identifiers import bare_etag
from cosxfer.engine.multipart.source import HashedPart
from cosxfer.errors import SourceChangedError
from cosxfer.models import Part
from cosxfer.planning import PartRange, Plan, StreamPlan
from cosxfer.sources import RegularFile, SourceIdentity


@dataclass(frozen=True, slots=True)
class DonePart:
    """A part that the server has."""

    offset: int
    length: int
    md5: bytes
    crc64: int
    etag: str


class Checkpoint:
    """The state of one multipart upload. Without an ``upload_id`` nothing has been begun."""

    __slots__ = ("_completing", "_done", "_identity", "_plan", "_upload_id")

    def __init__(self) -> None:
        self._upload_id = ""
        self._plan: Plan | StreamPlan | None = None
        self._identity: SourceIdentity | None = None
        self._done: dict[int, DonePart] = {}
        self._completing = False

    @property
    def upload_id(self) -> str:
        """The multipart upload on the server, or empty."""
        return self._upload_id

    @property
    def plan(self) -> Plan | StreamPlan | None:
        """How the upload that was begun is cut into parts; None if nothing was begun.

        A later run keeps this plan: other defaults must not move the parts that are done.
        """
        return self._plan

    @property
    def identity(self) -> SourceIdentity | None:
        """The file that the parts are of; None for a stream."""
        return self._identity

    @property
    def done(self) -> Mapping[int, DonePart]:
        """The parts that the server has, by number."""
        return self._done

    @property
    def completing(self) -> bool:
        """Whether Complete was sent: the object may exist."""
        return self._completing

    @property
    def loaded(self) -> int:
        """Bytes of the parts that the server has."""
        return sum(part.length for part in self._done.values())

    def begin(self, upload_id: str, plan: Plan | StreamPlan, identity: SourceIdentity | None) -> None:
        """The server has initiated the upload."""
        self._upload_id = upload_id
        self._plan = plan
        self._identity = identity
        self._done = {}
        self._completing = False

    def add(self, part: HashedPart, etag: str) -> None:
        """The server has stored ``part``."""
        place = part.range
        self._done[place.number] = DonePart(place.offset, place.length, part.md5, part.crc64, etag)

    def begin_completion(self) -> None:
        """Complete is about to be sent."""
        self._completing = True

    def same_content(self, identity: SourceIdentity) -> None:
        """The file was compared with the parts: only its ctime had changed."""
        self._identity = identity

    def clear(self) -> None:
        """Nothing is left on the server: the next run starts from the beginning."""
        self._upload_id = ""
        self._plan = None
        self._done = {}
        self._completing = False

    def keep_listed(self, listed: Iterable[Part]) -> tuple[int, dict[int, Part]]:
        """Keep the parts that the server lists with our ETag and length.

        Returns how many are missing, and what else the server lists: parts whose response may have been lost.
        """
        others = {part.part_number: part for part in listed}
        kept = {}
        for number, part in self._done.items():
            theirs = others.get(number)
            if theirs and theirs.size == part.length and bare_etag(theirs.etag) == bare_etag(part.etag):
                kept[number] = part
                del others[number]
        missing = len(self._done) - len(kept)
        self._done = kept
        return missing, others

    def check_source(self, source: RegularFile) -> bool:
        """Raise `SourceChangedError` if ``source`` is not the file that the parts are of, or was written to.

        Returns False if its ctime alone has changed: then the content of the parts has to be compared.
        """
        before, now = self._identity, source.identity
        if not self._upload_id or before is None or before == now:
            return True
        if (before.device, before.inode) != (now.device, now.inode):
            changed = "inode"
        elif before.size != now.size:
            changed = "size"
        elif before.mtime_ns != now.mtime_ns:
            changed = "mtime"
        else:
            return False
        raise SourceChangedError(
            f"{source.path!r} changed since the upload was paused or failed: its parts are of another file",
            path=source.path,
            changed=changed,
        )

    def hashed(self) -> Iterator[HashedPart]:
        """The parts that are done, in the order of their numbers, with their places in the source."""
        for number, part in sorted(self._done.items()):
            place = PartRange(number=number, offset=part.offset, length=part.length)
            yield HashedPart(range=place, md5=part.md5, crc64=part.crc64)

    def to_complete(self) -> list[Part]:
        """The parts as Complete takes them."""
        return [Part(part_number=number, etag=part.etag) for number, part in sorted(self._done.items())]

    def etags_are_md5s(self) -> bool:
        """Whether the ETag of each part is its MD5."""
        return all(bare_etag(part.etag) == part.md5.hex() for part in self._done.values())

    def check_contiguous(self, size: int) -> int:
        """Assert that every one of ``size`` bytes is in exactly one part; returns the CRC64 of the whole."""
        crc64 = offset = 0
        for expected, (number, part) in enumerate(sorted(self._done.items()), start=1):
            assert number == expected, f"part {expected} is missing"
            assert part.offset == offset, f"part {number} begins at {part.offset}, not at {offset}"
            offset += part.length
            crc64 = hashing.crc64_combine(crc64, part.crc64, part.length)
        assert self._done, "there is no part"
        assert offset == size, f"the parts hold {offset} of {size} bytes"
        return crc64
