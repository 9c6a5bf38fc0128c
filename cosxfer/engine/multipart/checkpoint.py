"""What an upload has done so far, as far as a later run needs it. Its task keeps it in memory.

Only the methods of `Checkpoint` change it, so that a journal on disk can record each change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from cosxfer._native import hashing
from cosxfer.cos.identifiers import bare_etag
from cosxfer.engine.multipart.part_table import PartTable
from cosxfer.engine.multipart.source import HashedPart
from cosxfer.errors import SourceChangedError
from cosxfer.models import Part
from cosxfer.planning import Plan, StreamPlan
from cosxfer.sources import RegularFile, SourceIdentity


class Checkpoint:
    """The state of one multipart upload. Without an ``upload_id`` nothing has been begun."""

    __slots__ = ("_completing", "_done", "_identity", "_plan", "_upload_id")

    def __init__(self) -> None:
        self._upload_id = ""
        self._plan: Plan | StreamPlan | None = None
        self._identity: SourceIdentity | None = None
        self._done = PartTable()
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
    def done(self) -> Collection[int]:
        """The numbers of the parts that the server has."""
        return self._done

    @property
    def completing(self) -> bool:
        """Whether Complete was sent: the object may exist."""
        return self._completing

    @property
    def loaded(self) -> int:
        """Bytes of the parts that the server has."""
        return self._done.size

    def begin(self, upload_id: str, plan: Plan | StreamPlan, identity: SourceIdentity | None) -> None:
        """The server has initiated the upload."""
        self._upload_id = upload_id
        self._plan = plan
        self._identity = identity
        self._done = PartTable()
        self._completing = False

    def add(self, part: HashedPart, etag: str) -> None:
        """The server has stored ``part``."""
        self._done.add(part, etag)

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
        self._done = PartTable()
        self._completing = False

    def keep_listed(self, listed: Iterable[Part]) -> tuple[int, dict[int, Part]]:
        """Keep the parts that the server lists with our ETag and length.

        Returns how many are missing, and what else the server lists: parts whose response may have been lost.
        """
        others = {part.part_number: part for part in listed}
        before = len(self._done)
        for number, length, etag in list(self._done.etags()):
            theirs = others.get(number)
            if theirs and theirs.size == length and bare_etag(theirs.etag) == bare_etag(etag):
                del others[number]
            else:
                self._done.remove(number)
        return before - len(self._done), others

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
        return self._done.hashed()

    def to_complete(self) -> list[Part]:
        """The parts as Complete takes them."""
        return [Part(part_number=number, etag=etag) for number, _, etag in self._done.etags()]

    def etags_are_md5s(self) -> bool:
        """Whether the ETag of each part is its MD5."""
        return self._done.etags_are_md5s()

    def check_contiguous(self, size: int) -> int:
        """Assert that every one of ``size`` bytes is in exactly one part; returns the CRC64 of the whole."""
        crc64 = offset = 0
        for expected, (number, begin, length, part_crc64) in enumerate(self._done.places(), start=1):
            assert number == expected, f"part {expected} is missing"
            assert begin == offset, f"part {number} begins at {begin}, not at {offset}"
            offset += length
            crc64 = hashing.crc64_combine(crc64, part_crc64, length)
        assert self._done, "there is no part"
        assert offset == size, f"the parts hold {offset} of {size} bytes"
        return crc64
