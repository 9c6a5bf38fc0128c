"""What happens to a key, given its state on both sides. Pure.

Times are compared in whole seconds, because COS stores no more. See ``docs/sync.md`` for the table.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, TypeAlias

from cosxfer.records import dataclass
from cosxfer.sorted_tree import Entry
from cosxfer.sync.compare import Row, is_unknown

Direction: TypeAlias = Literal["upload", "download", "copy"]

SECOND = 1_000_000_000


class Verdict(Enum):
    """What is done with a key."""

    SAME = "same"
    TRANSFER = "transfer"
    CHECK = "check"
    """The checksums decide between ``SAME`` and ``TRANSFER``."""
    RECALL = "recall"
    """As ``CHECK`` if the journal knows the file of the target; else ``SAME``."""
    NEWER = "newer"
    """The source is newer: ``TRANSFER``, unless the journal knows that both have the same content."""
    SKIP = "skip"
    """It differs, and an option protects the target."""
    UNKNOWN = "unknown"
    """It is unknown on one side, so it is neither transferred nor deleted."""
    EXTRA = "extra"
    """The source does not have it: it is deleted if that is wanted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """How two entries of a key are compared, and what protects the target."""

    direction: Direction
    size_only: bool = False
    checksum: bool = False
    update: bool = False
    no_overwrite: bool = False
    preserve_mtime: bool = False

    def verdict(self, row: Row) -> Verdict:
        """Decide about one key."""
        _, source, target = row
        if source is None:
            return Verdict.EXTRA if not is_unknown(target) else Verdict.UNKNOWN
        if is_unknown(source) or is_unknown(target):
            return Verdict.UNKNOWN
        if target is None:
            return Verdict.TRANSFER
        return self._of_both(source, target)

    def _of_both(self, source: Entry, target: Entry) -> Verdict:
        verdict = self._compared(source, target)
        if verdict is Verdict.SAME:
            return verdict
        if self.no_overwrite or (self.update and target[2] // SECOND > source[2] // SECOND):
            return Verdict.SKIP
        return verdict

    def _compared(self, source: Entry, target: Entry) -> Verdict:
        if source[1] != target[1]:
            return Verdict.TRANSFER
        if self.size_only:
            return Verdict.SAME
        if self.direction == "copy" and source[3] and source[3] == target[3]:
            return Verdict.SAME  # equal ETags
        if self.checksum:
            return Verdict.CHECK
        ours, theirs = source[2] // SECOND, target[2] // SECOND
        if ours < theirs:
            return Verdict.SAME
        if ours == theirs:
            # A file that was downloaded has the time of its object. Otherwise both may be of the same second.
            return Verdict.RECALL if self.direction == "download" else Verdict.CHECK
        # With kept times a downloaded file is older than its object.
        return Verdict.CHECK if self.direction == "download" and self.preserve_mtime else Verdict.NEWER
