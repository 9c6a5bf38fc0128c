"""One page of a sorted listing: prefix, delimiter, markers (source: product pages 436/7734, 7736).

Entries are sorted by the bytes of their key, then by id. A cursor is a pair that sorts just before the first wanted
entry. One look-up skips a common prefix, however many keys it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from cosxfer.records import dataclass

Cursor = tuple[bytes, str]

AFTER_KEY = "~"
"""Used as a cursor's id, it sorts after every entry of that key (ids are hexadecimal)."""


class Entry(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def id(self) -> int | str: ...


E = TypeVar("E", bound=Entry)

Fetch = Callable[[Cursor, int], Sequence[E]]
"""Returns up to a number of entries that follow the cursor and match the prefix, in order."""


@dataclass(frozen=True, kw_only=True)
class Page(Generic[E]):
    entries: tuple[E, ...]
    common_prefixes: tuple[str, ...]
    is_truncated: bool
    next_key: str
    """Last key or common prefix of this page; empty if no entries follow."""
    next_id: str
    """Id of the last entry; empty after a common prefix."""


def list_page(
    fetch: Fetch[E], *, prefix: str = "", delimiter: str = "", marker: str = "", id_marker: str = "", limit: int
) -> Page[E]:
    """Collect up to ``limit`` entries and common prefixes that follow the marker."""
    entries: list[E] = []
    groups: list[str] = []
    last = ("", "")
    cursor: Cursor | None = _start(prefix, delimiter, marker, id_marker)
    while cursor is not None and limit > 0:
        # Fetch one more, to learn whether more entries follow.
        wanted = limit - len(entries) - len(groups) + 1
        batch = fetch(cursor, wanted)
        cursor = None if len(batch) < wanted else _after(batch[-1])
        for entry in batch:
            if len(entries) + len(groups) == limit:
                return Page(
                    entries=tuple(entries),
                    common_prefixes=tuple(groups),
                    is_truncated=True,
                    next_key=last[0],
                    next_id=last[1],
                )
            group = common_prefix(entry.key, prefix, delimiter)
            if group:
                groups.append(group)
                last = (group, "")
                after_group = successor(group.encode())
                cursor = None if after_group is None else (after_group, "")
                break
            entries.append(entry)
            last = (entry.key, str(entry.id))
    return Page(entries=tuple(entries), common_prefixes=tuple(groups), is_truncated=False, next_key="", next_id="")


def common_prefix(key: str, prefix: str, delimiter: str) -> str:
    """Return ``key`` up to and including the first delimiter after the prefix; empty without one."""
    if not delimiter:
        return ""
    at = key.find(delimiter, len(prefix))
    return "" if at < 0 else key[: at + len(delimiter)]


def successor(prefix: bytes) -> bytes | None:
    """Return the smallest bytes that sort after everything with this ``prefix``; None if there are none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


def _start(prefix: str, delimiter: str, marker: str, id_marker: str) -> Cursor | None:
    first: Cursor = (prefix.encode(), "")
    if not marker:
        return first
    if marker == common_prefix(marker, prefix, delimiter):
        # The last page ended with this group.
        after = successor(marker.encode())
        return None if after is None else max(first, (after, ""))
    return max(first, (marker.encode(), id_marker or AFTER_KEY))


def _after(entry: Entry) -> Cursor:
    return entry.key.encode(), str(entry.id) if isinstance(entry.id, str) else AFTER_KEY
