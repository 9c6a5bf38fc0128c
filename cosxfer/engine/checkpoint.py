"""What an upload has done so far, as far as a later run needs it: kept in memory by its task.

A journal on disk would hold the same, for another process to go on from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cosxfer.cos.names import bare_etag
from cosxfer.engine.hash_ahead import HashedPart
from cosxfer.errors import SourceChangedError
from cosxfer.models import Part
from cosxfer.planning import Plan
from cosxfer.sources import RegularFile, SourceIdentity


@dataclass(frozen=True, slots=True)
class DonePart:
    """A part that the server has, and what is known of it."""

    length: int
    md5: bytes
    crc64: int
    etag: str


@dataclass(slots=True)
class Checkpoint:
    """One upload of one file. Without an ``upload_id`` nothing has been begun."""

    identity: SourceIdentity | None = None
    """The file that the parts are of."""
    upload_id: str = ""
    done: dict[int, DonePart] = field(default_factory=dict)
    completing: bool = False
    """Complete was sent: the object may be there."""

    @property
    def loaded(self) -> int:
        """Bytes of the parts that the server has."""
        return sum(part.length for part in self.done.values())

    def clear(self) -> None:
        """Nothing is left on the server: the next run begins anew."""
        self.upload_id = ""
        self.done = {}
        self.completing = False

    def check_source(self, source: RegularFile) -> bool:
        """Raise `SourceChangedError` where ``source`` is not the file that the parts are of, or was written to.

        Returns False if its ctime alone has changed: then the parts' content has to be compared.
        """
        before, now = self.identity, source.identity
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

    def hashed(self, plan: Plan) -> list[HashedPart]:
        """The parts that are done, with their places in the file."""
        return [
            HashedPart(range=plan.part(number), md5=part.md5, crc64=part.crc64)
            for number, part in sorted(self.done.items())
        ]

    def keep_listed(self, listed: Iterable[Part]) -> tuple[int, dict[int, Part]]:
        """Keep the parts that the server lists with our ETag and length.

        Returns how many are missing, and what else the server lists: parts whose response was lost, perhaps.
        """
        others = {part.part_number: part for part in listed}
        kept = {}
        for number, part in self.done.items():
            theirs = others.get(number)
            if theirs and theirs.size == part.length and bare_etag(theirs.etag) == bare_etag(part.etag):
                kept[number] = part
                del others[number]
        missing = len(self.done) - len(kept)
        self.done = kept
        return missing, others
