"""What happens to a key."""

from __future__ import annotations

from typing import Any

import pytest

from cosxfer.errors import SourceError
from cosxfer.sorted_tree import Entry, unknown
from cosxfer.sync.rules import SECOND, Rules, Verdict

LOST = unknown(b"k", None, SourceError("no", path="x"))


def entry(size: int = 1, time: float = 10, tag: Any = "") -> Entry:
    return (b"k", size, int(time * SECOND), tag, 0)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (entry(), None, Verdict.TRANSFER),
        (entry(), LOST, Verdict.UNKNOWN),
        (LOST, entry(), Verdict.UNKNOWN),
        (None, entry(), Verdict.EXTRA),
        (entry(1), entry(2), Verdict.TRANSFER),
        (entry(time=10), entry(time=11), Verdict.SAME),
        (entry(time=11), entry(time=10), Verdict.NEWER),
        (entry(time=10.9), entry(time=10), Verdict.CHECK),
    ],
)
@pytest.mark.parametrize("options", [{}, {"no_overwrite": True}, {"update": True}])
def test_the_default_compares_size_and_time(
    source: Entry | None, target: Entry | None, expected: Verdict, options: dict[str, bool]
) -> None:
    found = Rules(direction="upload", **options).verdict((b"k", source, target))  # type: ignore[arg-type]
    both = source not in (None, LOST) and target not in (None, LOST)
    skips = options == {"no_overwrite": True} and both and expected is not Verdict.SAME
    assert found is (Verdict.SKIP if skips else expected)


def test_a_downloaded_file_has_the_time_of_its_object() -> None:
    row = (b"k", entry(time=10), entry(time=10.5))
    assert Rules(direction="download").verdict(row) is Verdict.RECALL
    older = (b"k", entry(time=10), entry(time=5))
    assert Rules(direction="download").verdict(older) is Verdict.NEWER
    assert Rules(direction="download", preserve_mtime=True).verdict(older) is Verdict.CHECK


def test_copies_with_the_same_etag_are_the_same() -> None:
    row = (b"k", entry(time=20, tag='"e"'), entry(time=10, tag='"e"'))
    assert Rules(direction="copy").verdict(row) is Verdict.SAME
    assert Rules(direction="upload").verdict(row) is Verdict.NEWER
    assert Rules(direction="copy").verdict((b"k", entry(time=20), entry(time=10))) is Verdict.NEWER


def test_size_only_ignores_time_and_checksum_looks_at_every_key_of_equal_size() -> None:
    later = (b"k", entry(time=20), entry(time=10))
    assert Rules(direction="upload", size_only=True).verdict(later) is Verdict.SAME
    earlier = (b"k", entry(time=5), entry(time=10))
    assert Rules(direction="upload", checksum=True).verdict(earlier) is Verdict.CHECK
    assert Rules(direction="upload", checksum=True).verdict((b"k", entry(1), entry(2))) is Verdict.TRANSFER


def test_update_keeps_a_target_that_is_newer() -> None:
    rules = Rules(direction="upload", update=True)
    assert rules.verdict((b"k", entry(1, 5), entry(2, 6))) is Verdict.SKIP
    assert rules.verdict((b"k", entry(1, 5.9), entry(2, 5))) is Verdict.TRANSFER
