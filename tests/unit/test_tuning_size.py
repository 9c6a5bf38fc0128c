"""Requests of another size: they count as such after a while, and only if something was measured before."""

from __future__ import annotations

from cosxfer import tuning_rules as rule
from cosxfer.tuning_size import RequestSize

OTHER = 10.0 * rule.OTHER_SIZE


def test_another_size_counts_after_some_time() -> None:
    size = RequestSize()
    assert not size.has_changed(1.0, 10.0, known=True)
    assert not size.has_changed(2.0, OTHER + 1, known=True)
    assert not size.has_changed(2.0 + rule.OTHER_SECONDS, OTHER + 1, known=True)
    assert size.bytes == 10.0
    assert size.has_changed(2.1 + rule.OTHER_SECONDS, OTHER + 1, known=True)
    assert size.bytes == OTHER + 1
    assert not size.has_changed(9.0, OTHER + 1, known=True)


def test_a_similar_size_or_a_short_interlude_is_no_change() -> None:
    size = RequestSize()
    for now, given in ((1.0, 10.0), (2.0, OTHER), (5.0, OTHER), (6.0, OTHER + 1), (6.5, 10.0), (7.5, OTHER + 1)):
        assert not size.has_changed(now, given, known=True)
    assert size.bytes == 10.0


def test_before_anything_is_known_each_size_is_the_first() -> None:
    size = RequestSize()
    for now in range(10):
        assert not size.has_changed(float(now), 10.0**now, known=False)
    assert size.bytes == 10.0**9
