"""Reading a bucket as blocks of entries."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cosxfer.bucket_models import ListedObject, ListObjectsResult
from cosxfer.errors import ProtocolError
from cosxfer.sorted_tree import UNKNOWN_SIZE, Entry
from cosxfer.sync import sides
from cosxfer.sync.options import Side
from cosxfer.sync.sides import BucketReader, nanoseconds_of
from tests.unit.fake_cos import BUCKET


def blocks(monkeypatch: pytest.MonkeyPatch, pages: list[list[str]], *, prefix: str = "p/") -> list[list[Entry]]:
    """The blocks that a reader makes of pages with these keys."""
    numbers = iter(range(len(pages)))

    async def page(*_: object, **__: object) -> ListObjectsResult:
        number = next(numbers)
        return ListObjectsResult(
            bucket=BUCKET,
            prefix=prefix,
            delimiter="",
            marker="",
            next_marker=f"marker {number}",
            max_keys=1000,
            is_truncated=number < len(pages) - 1,
            objects=tuple(
                ListedObject(key=key, size=1, etag='"e"', last_modified="2020-12-10T03:37:30.000Z", storage_class="")
                for key in pages[number]
            ),
            common_prefixes=(),
        )

    async def main() -> list[list[Entry]]:
        session: Any = None
        reader = BucketReader(session, Side(bucket=BUCKET, prefix=prefix), None)
        return [block async for block in reader.blocks()]

    monkeypatch.setattr(sides, "list_objects", page)
    return asyncio.run(main())


def test_keys_are_relative_and_times_whole_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = blocks(monkeypatch, [["p/", "p/a", "p/b/c"]])
    assert block == [(key, 1, 1_607_571_450_000_000_000, '"e"', 0) for key in (b"a", b"b/c")]


@pytest.mark.parametrize(
    ("pages", "known", "first"),
    [
        ([["p/b", "p/a"]], [], b""),
        ([["p/a", "p/a"]], [], b""),
        ([["p/b"], ["p/c", "p/b"]], [b"b"], b"b\0"),
        ([["p/b"], ["p/a"]], [b"b"], b"b\0"),
        ([["p/b"], ["p/b"]], [b"b"], b"b\0"),
        ([["p/b"], ["q/c"]], [b"b"], b"b\0"),
    ],
)
def test_a_page_that_is_out_of_order_makes_the_rest_unknown(
    monkeypatch: pytest.MonkeyPatch, pages: list[list[str]], known: list[bytes], first: bytes
) -> None:
    *before, [bad] = blocks(monkeypatch, pages)
    assert [entry[0] for block in before for entry in block] == known
    assert (bad[:2], bad[3].end) == ((first, UNKNOWN_SIZE), None)
    assert isinstance(bad[3].error, ProtocolError)


def test_a_key_that_begins_with_a_slash_is_read_as_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = blocks(monkeypatch, [["//a"]], prefix="/")
    assert [entry[0] for entry in block] == [b"a"]


def test_a_time_that_is_none_is_older_than_everything() -> None:
    assert nanoseconds_of("yesterday") == 0
