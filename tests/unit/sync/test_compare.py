"""The merge-join against a model of dictionaries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cosxfer.errors import SourceError
from cosxfer.sorted_tree import Entry, unknown
from cosxfer.sync.compare import SOURCE, TARGET, MergeJoin, is_unknown, joined

KEYS = st.binary(min_size=1, max_size=3).map(lambda key: bytes(b"/0ab"[byte % 4] for byte in key))
ERROR = SourceError("no", path="x")


@st.composite
def sides(draw: st.DrawFn) -> tuple[list[list[Entry]], dict[bytes, int], list[tuple[bytes, bytes | None]]]:
    """Blocks of one side, its known keys, and its unknown ranges."""
    present = draw(st.dictionaries(KEYS, st.integers(0, 3), max_size=12))
    ranges = draw(st.lists(st.tuples(KEYS, st.none() | KEYS), max_size=3))
    ranges = [(first, end) for first, end in ranges if end is None or first < end]
    entries: list[Entry] = [(key, size, 0, 0, 0) for key, size in present.items()]
    entries += [unknown(first, end, ERROR) for first, end in ranges]
    entries.sort(key=lambda entry: (entry[0], entry[1]))
    cuts = sorted(draw(st.lists(st.integers(0, len(entries)), max_size=4)))
    blocks = [entries[first:end] for first, end in zip([0, *cuts], [*cuts, len(entries)], strict=True)]
    return blocks, present, ranges


def state(key: bytes, present: dict[bytes, int], ranges: list[tuple[bytes, bytes | None]]) -> int | str:
    if key in present:
        return present[key]
    return "unknown" if any(first <= key and (end is None or key < end) for first, end in ranges) else "absent"


@given(sides(), sides())
def test_every_key_has_the_state_that_the_model_gives(
    source: tuple[list[list[Entry]], dict[bytes, int], list[tuple[bytes, bytes | None]]],
    target: tuple[list[list[Entry]], dict[bytes, int], list[tuple[bytes, bytes | None]]],
) -> None:
    rows = [row for rows in joined(iter(source[0]), iter(target[0])) for row in rows]
    found = [
        (key, *["absent" if s is None else "unknown" if is_unknown(s) else s[1] for s in states])
        for key, *states in rows
    ]
    keys = sorted(source[1].keys() | target[1].keys())
    assert found == [(key, state(key, *source[1:]), state(key, *target[1:])) for key in keys]


def test_no_row_is_made_before_both_sides_are_known() -> None:
    join = MergeJoin()
    assert join.wanted() == [SOURCE, TARGET]
    join.feed(SOURCE, [(b"a", 1, 0, 0, 0), (b"c", 1, 0, 0, 0)])
    assert (join.rows(), join.wanted()) == ([], [TARGET])
    join.feed(TARGET, [(b"b", 1, 0, 0, 0)])
    assert [row[0] for row in join.rows()] == [b"a", b"b"]
    assert join.wanted() == [TARGET]
    join.feed(TARGET, None)
    assert [row[0] for row in join.rows()] == [b"c"]
    assert (join.wanted(), join.ended) == ([SOURCE], False)
    join.feed(SOURCE, None)
    assert join.ended


def test_the_unknown_ranges_are_reported() -> None:
    join = MergeJoin()
    join.feed(SOURCE, [unknown(b"a", b"b", ERROR)])
    join.feed(TARGET, None)
    join.rows()
    assert [entry[0] for entry in join.found_unknown] == [b"a"]
