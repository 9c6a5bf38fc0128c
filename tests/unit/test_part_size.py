"""The automatic part size: legal for every size, and fit for the link."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cosxfer.arguments import shown
from cosxfer.config import MIN_MEMORY_BUDGET_BYTES, window_bytes
from cosxfer.errors import UsageError
from cosxfer.limits import GIB, MAX_OBJECT_BYTES, MAX_PART_BYTES, MAX_PART_NUMBER, MIB, MIN_PART_BYTES
from cosxfer.planning import (
    EXPECTED_SLOTS,
    LANE_SHIFT_BYTES,
    PREFERRED_PART_BYTES,
    STREAM_BYTES,
    LinkKnowledge,
    StreamPlan,
    auto_part_size,
    plan_parts,
    plan_stream,
)

BUDGET = 192 * MIB

sizes = st.one_of(st.integers(0, 200 * MIB), st.integers(0, 100 * GIB), st.integers(0, MAX_OBJECT_BYTES))
rates = st.one_of(st.none(), st.floats(0, 1e12, allow_nan=False))


@given(sizes, st.integers(0, 1 << 40), st.integers(1, 10_000), rates)
@example(MAX_OBJECT_BYTES, 0, 1, None)
@example(MAX_OBJECT_BYTES, 1 << 40, 1, 1e12)
@example(0, 0, 1, 0.0)
@example(MAX_PART_NUMBER * MIB, BUDGET, 256, None)
@example(MAX_PART_NUMBER * MIB + 1, BUDGET, 256, None)
def test_an_automatic_part_size_is_legal_for_each_size_link_and_budget(
    size: int, window: int, slots: int, rate: float | None
) -> None:
    part = auto_part_size(size, window_bytes=window, slots=slots, stream_bytes_per_second=rate)
    assert MIN_PART_BYTES <= part <= MAX_PART_BYTES
    assert part % MIB == 0
    plan = plan_parts(size, part_size_bytes=part)
    assert plan.count <= MAX_PART_NUMBER
    assert plan.part(plan.count).offset + plan.part(plan.count).length == size


@given(sizes, st.integers(1, 256), rates)
def test_the_window_fits_into_the_budget_if_10000_parts_allow_it(size: int, slots: int, rate: float | None) -> None:
    part = auto_part_size(size, window_bytes=BUDGET, slots=slots, stream_bytes_per_second=rate)
    needed = max(1, -(-size // (MAX_PART_NUMBER * MIB))) * MIB
    assert part == needed or part * slots <= BUDGET


@given(sizes, st.integers(1, 256), rates)
def test_a_file_has_a_part_for_each_slot_if_parts_of_1_mib_allow_it(size: int, slots: int, rate: float | None) -> None:
    part = auto_part_size(size, window_bytes=1 << 50, slots=slots, stream_bytes_per_second=rate)
    needed = max(1, -(-size // (MAX_PART_NUMBER * MIB))) * MIB
    assert part == needed or plan_parts(size, part_size_bytes=part).count >= slots


@given(sizes, st.integers(-(1 << 62), 1 << 62))
@example(MAX_OBJECT_BYTES, 5 * GIB)
@example(MAX_OBJECT_BYTES, 5 * GIB - 1)
@example(MAX_OBJECT_BYTES + 1, 5 * GIB)
def test_a_part_size_of_the_user_is_kept_or_refused_and_never_changed(size: int, part: int) -> None:
    legal = (
        MIN_PART_BYTES <= part <= MAX_PART_BYTES and size <= MAX_OBJECT_BYTES and -(-size // part) <= MAX_PART_NUMBER
    )
    if legal:
        assert plan_parts(size, part_size_bytes=part).part_size_bytes == part
        return
    with pytest.raises(UsageError):
        plan_parts(size, part_size_bytes=part)


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.text(),
    st.binary(),
    st.integers(),
    st.just(10**5000),
    st.just(-(10**5000)),
)


@given(st.one_of(sizes, st.integers(MAX_OBJECT_BYTES, 10**30)), anything, st.sampled_from(["part_size", "slice_size"]))
def test_whatever_is_given_as_a_part_size_ends_in_a_legal_plan_or_a_usage_error(
    size: int, given_size: Any, name: str
) -> None:
    number = isinstance(given_size, int) and not isinstance(given_size, bool)
    legal = number and MIN_PART_BYTES <= given_size <= MAX_PART_BYTES and size <= given_size * MAX_PART_NUMBER
    for plan in (plan_parts, plan_stream):
        if legal and size <= MAX_OBJECT_BYTES:
            made = plan(size, part_size_bytes=given_size, name=name)
            assert made.part_size_bytes == given_size
            continue
        with pytest.raises(UsageError) as caught:
            plan(size, part_size_bytes=given_size, name=name)
        if size > MAX_OBJECT_BYTES:
            assert (caught.value.name, caught.value.value) == ("size", size)
            assert str(size) in str(caught.value)
        else:
            assert caught.value.name == name
            assert caught.value.value is given_size
            assert str(caught.value).startswith(f"{name} is {shown(given_size)}")


links = st.builds(
    LinkKnowledge,
    slots=st.integers(0, 1000),
    stream_bytes_per_second=st.one_of(st.none(), st.floats(0), st.just(float("nan"))),
)
budgets = st.integers(MIN_MEMORY_BUDGET_BYTES, 1 << 40)


@given(sizes, st.one_of(st.none(), links), budgets)
@example(MAX_OBJECT_BYTES, None, MIN_MEMORY_BUDGET_BYTES)
@example(MAX_OBJECT_BYTES, LinkKnowledge(slots=256), MIN_MEMORY_BUDGET_BYTES)
def test_the_parts_of_an_automatic_plan_are_legal_contiguous_and_hold_the_file(
    size: int, known: LinkKnowledge | None, budget: int
) -> None:
    plan = plan_parts(size, known=known, window_bytes=window_bytes(budget))
    assert plan_stream(size, known=known, window_bytes=window_bytes(budget)) == plan
    assert 1 <= plan.count <= MAX_PART_NUMBER
    assert MIN_PART_BYTES <= plan.part_size_bytes <= MAX_PART_BYTES
    whole, last = plan.count - 1, plan.part(plan.count)
    assert last.offset == whole * plan.part_size_bytes
    assert last.offset + last.length == size
    assert 0 < last.length <= plan.part_size_bytes or size == 0
    if known is not None:
        rate = known.stream_bytes_per_second
        chosen = auto_part_size(
            size, window_bytes=window_bytes(budget), slots=known.slots, stream_bytes_per_second=rate
        )
        assert plan.part_size_bytes == chosen


@given(st.one_of(st.none(), links), budgets)
@example(None, MIN_MEMORY_BUDGET_BYTES)
@example(LinkKnowledge(slots=256), MIN_MEMORY_BUDGET_BYTES)
def test_automatic_parts_of_a_stream_are_legal_begin_inside_the_budget_and_hold_8_terabytes(
    known: LinkKnowledge | None, budget: int
) -> None:
    plan = plan_stream(None, known=known, window_bytes=window_bytes(budget))
    assert isinstance(plan, StreamPlan)
    lengths = [plan.length(number) for number in range(1, MAX_PART_NUMBER + 1)]
    assert lengths == sorted(lengths)
    assert lengths[0] >= MIN_PART_BYTES
    assert lengths[-1] <= MAX_PART_BYTES
    assert 2 * lengths[0] <= window_bytes(budget)
    assert plan.holds == sum(lengths) >= STREAM_BYTES


def test_a_stream_begins_with_8_mib_unless_the_budget_or_the_link_says_otherwise() -> None:
    assert plan_stream(None) == StreamPlan()
    assert plan_stream(None, window_bytes=window_bytes(MIN_MEMORY_BUDGET_BYTES)).length(1) == 6 * MIB
    assert plan_stream(None, known=LinkKnowledge(slots=96)).length(1) == 2 * MIB
    assert plan_stream(None, known=LinkKnowledge(slots=4, stream_bytes_per_second=10e6)).length(1) == 23 * MIB


def test_a_file_of_64_mib_is_cut_so_that_a_capped_link_can_be_filled() -> None:
    assert auto_part_size(64 * MIB, window_bytes=BUDGET) == MIB
    assert auto_part_size(64 * MIB, window_bytes=BUDGET, slots=16, stream_bytes_per_second=100 * MIB) == MIB
    assert auto_part_size(64 * MIB, window_bytes=BUDGET, slots=4, stream_bytes_per_second=100 * MIB) == 5 * MIB


def test_a_part_keeps_a_stream_of_known_rate_busy_for_2_to_3_seconds() -> None:
    part = auto_part_size(100 * GIB, window_bytes=1 << 40, slots=8, stream_bytes_per_second=12.5e6)
    assert 2 <= part / 12.5e6 <= 3


def test_without_a_known_rate_the_preferred_size_is_the_most() -> None:
    assert auto_part_size(10 * GIB, window_bytes=BUDGET, slots=1) == PREFERRED_PART_BYTES
    assert auto_part_size(10 * GIB, window_bytes=BUDGET) == BUDGET // EXPECTED_SLOTS


def test_a_plan_of_10000_parts_takes_no_memory_for_its_parts() -> None:
    tracemalloc.start()
    try:
        plan = plan_parts(MAX_OBJECT_BYTES)
        assert plan.count == MAX_PART_NUMBER
        assert plan.part(MAX_PART_NUMBER).number == MAX_PART_NUMBER
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4096


@pytest.mark.parametrize(
    ("response_seconds", "mib"), [(None, 100), (0.0, 32), (0.002, 32), (0.018, 36), (0.05, 100), (0.2, 100)]
)
def test_a_part_for_a_server_that_answers_at_once_need_not_be_large(response_seconds: float | None, mib: int) -> None:
    """It keeps its stream of 40 MiB/s busy for 2.5 s, or for 50 times as long as a response takes."""
    known = LinkKnowledge(slots=4, stream_bytes_per_second=40 * MIB, response_seconds=response_seconds)
    found = plan_parts(100 * GIB, known=known, window_bytes=100 * GIB).part_size_bytes
    assert found - found % MIB == mib * MIB


@pytest.mark.parametrize(
    ("size", "mib", "parts"),
    [
        (16 * MIB, 4, 4),
        (64 * MIB, 4, 16),
        (256 * MIB, 8, 32),
        (GIB, 32, 32),
        (2 * GIB, 32, 64),
        (1000 * GIB, 103, 9942),
    ],
)
@pytest.mark.parametrize("rate", [None, 5.0 * MIB, 1000.0 * MIB])
def test_a_file_for_this_machine_has_about_32_parts_of_4_to_32_mib(
    size: int, mib: int, parts: int, rate: float | None
) -> None:
    known = LinkKnowledge(slots=64, local=True, stream_bytes_per_second=rate)
    plan = plan_parts(size, known=known, window_bytes=size)
    assert plan.part_size_bytes == mib * MIB + (LANE_SHIFT_BYTES if mib <= 32 else 0)
    assert plan.count == parts


def test_a_file_for_a_proxy_on_this_machine_has_small_parts_if_its_streams_are_slow() -> None:
    known = LinkKnowledge(slots=64, local=True, stream_bytes_per_second=0.2 * MIB)
    assert plan_parts(2 * GIB, known=known, window_bytes=2 * GIB).part_size_bytes == MIB


def test_what_is_held_in_memory_has_parts_that_fit_the_window_however_near_the_server_is() -> None:
    known = LinkKnowledge(slots=64, local=True)
    assert plan_parts(2 * GIB, known=known, window_bytes=BUDGET).part_size_bytes == 3 * MIB


def test_parts_of_a_near_server_leave_their_huge_pages_one_after_another() -> None:
    plan = plan_parts(GIB, known=LinkKnowledge(slots=64, local=True), window_bytes=GIB)
    places = {plan.part(number).offset % (2 * MIB) for number in range(1, plan.count + 1)}
    assert len(places) == plan.count == 32


def test_parts_of_a_slow_stream_are_small_however_near_the_server_is() -> None:
    known = LinkKnowledge(slots=4, stream_bytes_per_second=2 * MIB, response_seconds=0.001)
    assert plan_parts(GIB, known=known, window_bytes=GIB).part_size_bytes == 5 * MIB
