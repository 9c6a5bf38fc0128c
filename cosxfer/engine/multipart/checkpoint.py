"""What an upload has done so far, as far as a later run needs it. Its task keeps it in memory, and the journal on disk.

Only the methods of `Checkpoint` change it, and each gives its change to the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from cosxfer._native import hashing
from cosxfer.cos.identifiers import bare_etag
from cosxfer.engine.multipart import in_use
from cosxfer.engine.multipart.part_table import PartTable
from cosxfer.engine.multipart.source import HashedPart
from cosxfer.errors import SourceChangedError
from cosxfer.journal import Entry
from cosxfer.journal_rows import JournalPart
from cosxfer.models import Part
from cosxfer.planning import PartRange, Plan, StreamPlan
from cosxfer.sources import RegularFile, SourceIdentity


class Checkpoint:
    """The state of one multipart upload. Without an ``upload_id`` nothing has been begun."""

    __slots__ = (
        "__weakref__",
        "_begin_entry",
        "_completing",
        "_done",
        "_entry",
        "_foreign",
        "_found",
        "_hold",
        "_identity",
        "_lost",
        "_name",
        "_plan",
        "_restored",
        "_upload_id",
    )

    def __init__(
        self,
        begin_entry: Callable[[str, Plan, SourceIdentity], Entry] | None = None,
        *,
        name: Callable[[str], str] | None = None,
    ) -> None:
        """``begin_entry`` makes the journal's entry of an upload that the server has initiated.

        ``name`` returns the name of an upload id for `in_use`. Without it, other processes do not see that it is used.
        """
        self._begin_entry = begin_entry
        self._name = name
        self._hold: in_use.Hold | None = None
        self._found = self._foreign = self._lost = False
        self._entry: Entry | None = None
        self._restored = False
        self._upload_id = ""
        self._plan: Plan | StreamPlan | None = None
        self._identity: SourceIdentity | None = None
        self._done = PartTable()
        self._completing = False

    @property
    def upload_id(self) -> str:
        """The multipart upload on the server, or empty. Also empty if another call goes on with it."""
        return "" if self._lost or (self._entry is not None and self._entry.lost) else self._upload_id

    @property
    def entry(self) -> Entry | None:
        """What the journal has of the upload."""
        return self._entry

    @property
    def resumable(self) -> bool:
        """Whether a later call can go on with the upload, because the journal has it."""
        return self._entry is not None and self._entry.works

    @property
    def restored(self) -> bool:
        """Whether an earlier call has begun the upload, by the journal, by a token or by the server."""
        return self._restored

    @property
    def found(self) -> bool:
        """Whether the upload was found on the server, so its headers are compared at the end."""
        return self._found

    @property
    def foreign(self) -> bool:
        """Whether the upload was found on the server, and no call of this process had it. It is never deleted."""
        return self._foreign

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
        self._start(upload_id, plan, identity)
        self._use(in_use.hold(self._name(upload_id)) if self._name is not None else None)
        self._journal_begun()

    def adopt(
        self,
        upload_id: str,
        plan: Plan,
        identity: SourceIdentity,
        parts: Iterable[tuple[HashedPart, str]],
        *,
        hold: in_use.Hold,
        found: bool,
    ) -> None:
        """Go on with an upload that another process has begun. ``parts`` and their ETags were compared with the file.

        One that was ``found`` on the server is not journaled: a later call has to compare its headers again.
        """
        self._start(upload_id, plan, identity)
        self._restored = True
        self._found = self._foreign = found
        self._use(hold)
        if not found:
            self._journal_begun()
        for part, etag in parts:
            self.add(part, etag)

    def _start(self, upload_id: str, plan: Plan | StreamPlan, identity: SourceIdentity | None) -> None:
        self._upload_id = upload_id
        self._plan = plan
        self._identity = identity
        self._done = PartTable()
        self._completing = self._restored = self._found = self._foreign = self._lost = False
        self._entry = None

    def _journal_begun(self) -> None:
        plan, identity = self._plan, self._identity
        if self._begin_entry is not None and isinstance(plan, Plan) and identity is not None:
            self._entry = self._begin_entry(self._upload_id, plan, identity)

    def lose(self) -> None:
        """Another call goes on with the upload."""
        self._lost = True

    def _use(self, hold: in_use.Hold | None) -> None:
        """Replace what says that the upload is in use now."""
        if self._hold is not None:
            self._hold.release()
        self._hold = hold
        earlier = None if hold is None else hold.own(self)
        if earlier is not None:
            self._foreign = earlier.foreign

    def restore(self, entry: Entry, parts: Iterable[JournalPart]) -> None:
        """Go on with an upload that the journal has."""
        upload = entry.upload
        self._upload_id = upload.upload_id
        self._plan = upload.plan
        self._identity = upload.source
        self._completing = upload.completing
        self._restored = True
        self._done = PartTable()
        for part in parts:
            place = PartRange(number=part.number, offset=part.offset, length=part.length)
            self._done.add(HashedPart(range=place, md5=part.md5, crc64=part.crc64), part.etag)
        self._entry = entry

    def detach(self) -> None:
        """Go on with nothing. The journal keeps what it has."""
        self._entry = None
        self.clear()

    async def settled(self) -> None:
        """Wait until the journal has written all changes so far. If it cannot, the upload goes on without it."""
        if self._entry is not None:
            await self._entry.settled()

    def hold(self, held: bool) -> None:
        """A run begins or ends. While none runs, another call may go on with the upload."""
        if self._entry is not None:
            self._entry.hold(held)
        if not held:
            self._use(None)
        elif self._hold is None and self._upload_id and self._name is not None:
            hold = in_use.hold(self._name(self._upload_id))
            self._use(hold)
            if hold.taken_here:
                self.lose()

    def add(self, part: HashedPart, etag: str) -> None:
        """The server has stored ``part``."""
        self._done.add(part, etag)
        if self._entry is not None:
            place = part.range
            self._entry.add(JournalPart(place.number, place.offset, place.length, part.md5, part.crc64, etag))

    def begin_completion(self) -> None:
        """Complete is about to be sent."""
        self._completing = True
        if self._entry is not None:
            self._entry.change(completing=True)

    def same_content(self, identity: SourceIdentity) -> None:
        """The file was compared with the parts: only its ctime had changed."""
        self._identity = identity
        if self._entry is not None:
            self._entry.change(source=identity)

    def clear(self) -> None:
        """Nothing is left on the server: the next run starts from the beginning."""
        if self._entry is not None:
            self._entry.remove()
            self._entry = None
        self._use(None)
        self._restored = self._found = self._foreign = self._lost = False
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
        if not self.upload_id or before is None or before == now:
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

    def has_all(self, size: int) -> bool:
        """Whether the parts that are done hold ``size`` bytes."""
        return self._done.size == size

    def hashed(self) -> Iterator[HashedPart]:
        """The parts that are done, in the order of their numbers, with their places in the source."""
        return self._done.hashed()

    def etags(self) -> Iterator[tuple[int, int, str]]:
        """The number, length and ETag of each part that is done, in their order."""
        return self._done.etags()

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
