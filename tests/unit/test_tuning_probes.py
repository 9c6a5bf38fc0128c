"""Which level is probed next: above, below, and when there is nothing left to learn."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer import tuning_rules as rule
from cosxfer.tuning_probes import higher, lower


def within(least: int, most: int) -> Callable[[int], int]:
    return lambda level: max(least, min(most, level))


ANY = within(1, 256)


@pytest.mark.parametrize(
    ("base", "step", "more", "worse", "most", "level"),
    [
        (10, 2.0, 100.0, None, 256, 20),
        (10, 4.0, 100.0, None, 256, 20),
        (10, 1.5, 100.0, None, 256, 15),
        (10, 2.0, 4.0, None, 256, 14),
        (10, 2.0, 0.0, None, 256, 11),
        (10, 2.0, 100.0, 20, 256, 14),
        (10, 2.0, 100.0, 11, 256, None),
        (1, 2.0, 100.0, None, 256, 2),
        (10, 2.0, 100.0, None, 12, 12),
        (10, 2.0, 100.0, None, 10, None),
        (100, 2.0, 5.0, None, 256, None),
    ],
    ids=[
        "a step", "at most twice", "a smaller step", "not more than allowed", "one more", "between it and a worse one",
        "no level between", "from one", "the most that is allowed", "at the most", "too small a difference",
    ],
)  # fmt: skip
def test_the_next_level_above(
    base: int, step: float, more: float, worse: int | None, most: int, level: int | None
) -> None:
    assert higher(base, step=step, more=more, worse=worse, clamp=within(1, most)) == level


@pytest.mark.parametrize(
    ("base", "step", "worse", "known", "least", "level"),
    [
        (40, 2.0, None, {}, 1, 20),
        (40, 2.0, 10, {}, 1, 20),
        (40, 2.0, 20, {}, 1, 28),
        (40, 2.0, None, {8: 25.0}, 1, 32),
        (40, 2.0, None, {8: 10.0}, 1, None),
        (40, 2.0, None, {8: 0.0}, 1, 20),
        (40, 2.0, None, {8: 5e-324}, 1, None),
        (40, 2.0, None, {64: 100.0}, 1, 20),
        (40, 2.0, None, {}, 30, 30),
        (40, 2.0, None, {}, 40, None),
        (2, 2.0, None, {}, 1, 1),
        (1, 2.0, None, {}, 1, None),
    ],
    ids=[
        "a step", "a worse one far below", "between it and a worse one", "a lower one bounds it", "it cannot be enough",
        "one that brought nothing", "one that brought next to nothing", "a higher one does not count",
        "the least that is allowed", "at the least",
        "from two", "from one",
    ],
)  # fmt: skip
def test_the_next_level_below(
    base: int, step: float, worse: int | None, known: dict[int, float], least: int, level: int | None
) -> None:
    assert lower(base, 100.0, step=step, worse=worse, known=known, clamp=within(least, 256)) == level


@given(st.integers(1, 256), st.floats(1.01, 4), st.floats(0, 300), st.none() | st.integers(1, 256))
def test_a_level_above_is_above_and_below_what_was_worse(
    base: int, step: float, more: float, worse: int | None
) -> None:
    level = higher(base, step=step, more=more, worse=worse, clamp=ANY)
    if level is not None:
        assert base < level <= min(256, max(base + 1, 2 * base))
        assert level / base >= rule.SMALLEST_STEP or level == base + 1
        assert worse is None or worse <= base or level < worse or worse <= level <= base + 1


@given(
    st.integers(1, 256),
    st.floats(0, 1e9),
    st.floats(1.01, 4),
    st.none() | st.integers(1, 256),
    st.dictionaries(st.integers(1, 256), st.floats(0, 1e9), max_size=5),
)
def test_a_level_below_is_below_and_above_what_was_worse(
    base: int, goodput: float, step: float, worse: int | None, known: dict[int, float]
) -> None:
    level = lower(base, goodput, step=step, worse=worse, known=known, clamp=ANY)
    if level is not None:
        assert 1 <= level < base
        assert base / level >= rule.SMALLEST_STEP or level == base - 1
        assert worse is None or worse >= base or level > worse
