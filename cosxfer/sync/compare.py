"""The merge-join of two sorted streams of entries. Pure: blocks of entries in, rows out.

The state of a key on each side is present, absent or unknown. Unknown means that a listing failed there: the key may
exist or not. Memory holds one block of each side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from cosxfer.sorted_tree import UNKNOWN_SIZE, Entry

State: TypeAlias = Entry | None
"""None: the key is absent. An entry whose size is `UNKNOWN_SIZE`: it is unknown. Every other entry: it is present."""

Row: TypeAlias = tuple[bytes, State, State]
"""A key, and its state in the source and in the target."""

SOURCE, TARGET = 0, 1


class MergeJoin:
    """Joins the blocks of two sides. The keys of a side must ascend."""

    def __init__(self) -> None:
        self._blocks: list[list[Entry]] = [[], []]
        self._at = [0, 0]
        self._ended = [False, False]
        self._unknown: list[State] = [None, None]
        """The unknown range of each side that reaches furthest."""
        self.found_unknown: list[Entry] = []
        """The unknown ranges of both sides, in the order in which they were met. The caller may take them away."""

    def wanted(self) -> list[int]:
        """Return the sides that need a block before more rows can be made. None are needed after the end."""
        return [
            side for side in (SOURCE, TARGET) if not self._ended[side] and self._at[side] == len(self._blocks[side])
        ]

    @property
    def ended(self) -> bool:
        """Whether both sides have ended and all rows were made."""
        return all(self._ended) and all(at == len(block) for at, block in zip(self._at, self._blocks, strict=True))

    def feed(self, side: int, block: list[Entry] | None) -> None:
        """Add the next block of a side that is wanted; None is its end."""
        if block is None:
            self._ended[side] = True
        else:
            self._blocks[side], self._at[side] = block, 0

    def rows(self) -> list[Row]:
        """Return the rows of all keys whose state is decided, in the order of the keys."""
        rows: list[Row] = []
        append = rows.append
        ours, theirs = self._blocks
        i, j = self._at
        last_i, last_j = len(ours), len(theirs)
        while i < last_i and j < last_j:
            a, b = ours[i], theirs[j]
            key, other = a[0], b[0]
            if key == other and a[1] >= 0 and b[1] >= 0:
                append((key, a, b))
                i += 1
                j += 1
            elif key < other or (key == other and a[1] < 0):
                if a[1] < 0:
                    self._note(SOURCE, a)
                else:
                    append((key, a, self._state(TARGET, key)))
                i += 1
            else:
                if b[1] < 0:
                    self._note(TARGET, b)
                else:
                    append((other, self._state(SOURCE, other), b))
                j += 1
        if j == last_j and self._ended[TARGET]:
            while i < last_i:
                a = ours[i]
                if a[1] < 0:
                    self._note(SOURCE, a)
                else:
                    append((a[0], a, self._state(TARGET, a[0])))
                i += 1
        if i == last_i and self._ended[SOURCE]:
            while j < last_j:
                b = theirs[j]
                if b[1] < 0:
                    self._note(TARGET, b)
                else:
                    append((b[0], self._state(SOURCE, b[0]), b))
                j += 1
        self._at = [i, j]
        return rows

    def _note(self, side: int, entry: Entry) -> None:
        self.found_unknown.append(entry)
        known = self._unknown[side]
        end = entry[3].end
        if known is None or (known[3].end is not None and (end is None or end > known[3].end)):
            self._unknown[side] = entry

    def _state(self, side: int, key: bytes) -> State:
        """Return the state of a key that the blocks of a side do not have."""
        known = self._unknown[side]
        if known is None or (known[3].end is not None and key >= known[3].end):
            return None
        return known


def joined(source: Iterator[list[Entry]], target: Iterator[list[Entry]]) -> Iterator[Sequence[Row]]:
    """Join two iterators of blocks."""
    join = MergeJoin()
    sides = source, target
    while not join.ended:
        for side in join.wanted():
            join.feed(side, next(sides[side], None))
        yield join.rows()


def is_unknown(state: State) -> bool:
    """Whether the state of a key is unknown."""
    return state is not None and state[1] == UNKNOWN_SIZE
