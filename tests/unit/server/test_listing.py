"""Pages of listings, compared with a simple implementation of COS's rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from cosxfer.server.store.listing import Cursor, common_prefix, list_page, successor


@dataclass(frozen=True)
class Entry:
    key: str
    id: str


KEYS = st.text(alphabet="ab/é\U0010ffff", max_size=5)
ENTRIES = st.lists(st.tuples(KEYS, st.sampled_from("0123")), unique=True, max_size=12)


def pages(entries: list[Entry], *, prefix: str, delimiter: str, limit: int) -> list[str]:
    """Read all pages. Each is a list of entries (``key#id``) and prefixes."""
    matching = [entry for entry in entries if entry.key.startswith(prefix)]

    def fetch(cursor: Cursor, count: int) -> Sequence[Entry]:
        return [entry for entry in matching if (entry.key.encode(), entry.id) > cursor][:count]

    seen: list[str] = []
    marker = id_marker = ""
    while True:
        page = list_page(fetch, prefix=prefix, delimiter=delimiter, marker=marker, id_marker=id_marker, limit=limit)
        assert len(page.entries) + len(page.common_prefixes) <= limit
        seen += sorted([*(f"{e.key}#{e.id}" for e in page.entries), *page.common_prefixes], key=str.encode)
        if not page.is_truncated:
            return seen
        marker, id_marker = page.next_key, page.next_id


@given(
    drawn=ENTRIES, prefix=st.text(alphabet="ab/", max_size=2), delimiter=st.sampled_from(["", "/", "b", "a/"]),
    limit=st.integers(1, 4),
)  # fmt: skip
def test_pages_together_list_everything_once(
    drawn: list[tuple[str, str]], prefix: str, delimiter: str, limit: int
) -> None:
    # An object's key is never empty.
    entries = sorted((Entry(key, i) for key, i in drawn if key), key=lambda e: (e.key.encode(), e.id))
    expected: list[str] = []
    for entry in entries:
        if entry.key.startswith(prefix):
            group = common_prefix(entry.key, prefix, delimiter)
            expected.append(group or f"{entry.key}#{entry.id}")
    expected = list(dict.fromkeys(expected))
    assert sorted(pages(entries, prefix=prefix, delimiter=delimiter, limit=limit)) == sorted(expected)


@given(prefix=st.binary(max_size=4), other=st.binary(max_size=6))
def test_the_successor_ends_a_prefix(prefix: bytes, other: bytes) -> None:
    after = successor(prefix)
    if other.startswith(prefix):
        assert after is None or other < after
    elif after is not None and other >= prefix:
        assert other >= after


def test_a_page_of_nothing_is_not_truncated() -> None:
    page = list_page(lambda cursor, count: [Entry("a", "0")][:count], limit=0)
    assert (page.entries, page.is_truncated) == ((), False)
