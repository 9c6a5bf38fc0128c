"""What a sync reports."""

from __future__ import annotations

from typing import Literal, TypeAlias

from cosxfer.records import dataclass

SyncAction: TypeAlias = Literal["upload", "download", "copy", "make folder", "delete", "skip", "unknown", "list"]
"""``skip``: an option protects the target. ``unknown``: nobody knows if one side has the key, so nothing was done.
``list``: reading a side failed; the key is where."""

MAX_FAILURES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncEvent:
    """What was done with one key, or would be done in a dry run. Unchanged keys have no event."""

    action: SyncAction
    key: str
    """Relative to both sides, with ``/`` between its parts."""
    size: int = 0
    """In bytes."""
    reason: str = ""
    """Why it was skipped or is unknown."""
    error: Exception | None = None
    """Why the action failed."""
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncResult:
    """The outcome of a sync. In a dry run the counts are those of the plan."""

    transferred: int
    """Keys that were uploaded, downloaded or copied."""
    transferred_bytes: int
    unchanged: int
    skipped: int
    """Keys that differ, and that an option protects."""
    unknown: int
    """Keys that were left alone because one side could not be read there."""
    deleted: int
    kept: int
    """Keys that were not deleted, because the source has them although its listing did not show them yet."""
    failed: int
    """Errors of keys, listings and of the deletion."""
    failures: tuple[SyncEvent, ...]
    """The first 1,000 of them. ``on_event`` gets all."""
    seconds: float
    dry_run: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed
