"""The table of the parts that the server has: what a dict of records would say, in kilobytes."""

from __future__ import annotations

import tracemalloc

from hypothesis import example, given
from hypothesis import strategies as st

from cosxfer.cos.identifiers import bare_etag
from cosxfer.engine.multipart.part_table import PartTable
from cosxfer.engine.multipart.source import HashedPart
from cosxfer.limits import MAX_OBJECT_BYTES, MAX_PART_BYTES, MAX_PART_NUMBER
from cosxfer.planning import PartRange

parts = st.builds(
    HashedPart,
    range=st.builds(
        PartRange,
        number=st.one_of(st.integers(1, 5), st.integers(1, MAX_PART_NUMBER)),
        offset=st.integers(0, MAX_OBJECT_BYTES),
        length=st.integers(0, MAX_PART_BYTES),
    ),
    md5=st.binary(min_size=16, max_size=16),
    crc64=st.integers(0, 2**64 - 1),
)
etags = st.sampled_from(["", '"opaque"', "digits", "capitals", "quoted"])


def etag_of(part: HashedPart, kind: str) -> str:
    digits = part.md5.hex()
    return {"digits": digits, "capitals": f'"{digits.upper()}"', "quoted": f'"{digits}"'}.get(kind, kind)


@given(st.lists(st.tuples(parts, etags)), st.lists(st.integers(-1, 6)))
@example([], [1])
def test_a_table_says_what_a_dict_of_records_would_say(added: list[tuple[HashedPart, str]], removed: list[int]) -> None:
    table = PartTable()
    model: dict[int, tuple[HashedPart, str]] = {}
    for part, kind in added:
        table.add(part, etag_of(part, kind))
        model[part.range.number] = (part, etag_of(part, kind))
    for number in removed:
        table.remove(number)
        model.pop(number, None)
    ordered = [model[number] for number in sorted(model)]
    assert list(table) == sorted(model)
    assert (len(table), table.size) == (len(model), sum(part.range.length for part, _ in ordered))
    assert list(table.hashed()) == [part for part, _ in ordered]
    assert list(table.etags()) == [(part.range.number, part.range.length, etag) for part, etag in ordered]
    assert list(table.places()) == [
        (part.range.number, part.range.offset, part.range.length, part.crc64) for part, _ in ordered
    ]
    assert table.etags_are_md5s() == all(bare_etag(etag) == part.md5.hex() for part, etag in ordered)
    assert [number for number in range(-1, MAX_PART_NUMBER + 2) if number in table] == sorted(model)


def test_10000_parts_take_less_than_half_a_megabyte() -> None:
    tracemalloc.start()
    try:
        table = PartTable()
        for number in range(1, MAX_PART_NUMBER + 1):
            md5 = number.to_bytes(16, "big")
            place = PartRange(number=number, offset=number * MAX_PART_BYTES, length=MAX_PART_BYTES)
            table.add(HashedPart(range=place, md5=md5, crc64=2**64 - number), f'"{md5.hex()}"')
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(table) == MAX_PART_NUMBER
    assert held < 500_000
