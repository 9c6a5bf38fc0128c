"""Plans of parts: every byte is in exactly one part, and each part is within the limits of COS."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cosxfer.config import check_part_size
from cosxfer.errors import UsageError
from cosxfer.limits import GIB, KIB, MAX_OBJECT_BYTES, MAX_PART_BYTES, MAX_PART_NUMBER, MIB, MIN_PART_BYTES
from cosxfer.planning import (
    LONGEST_LOOK_AHEAD_BYTES,
    PREFERRED_PART_BYTES,
    Plan,
    StreamPlan,
    hash_batches,
    plan_of_listed,
    plan_parts,
    plan_stream,
)


def holds(plan: Plan, size: int) -> None:
    assert 1 <= plan.count <= MAX_PART_NUMBER
    offset = 0
    for number in range(1, plan.count + 1):
        part = plan.part(number)
        assert (part.number, part.offset) == (number, offset)
        assert part.length == plan.part_size_bytes or number == plan.count
        assert 0 < part.length <= plan.part_size_bytes or size == 0
        offset += part.length
    assert offset == size


@given(st.one_of(st.integers(0, 200 * MIB), st.integers(0, MAX_OBJECT_BYTES)))
@example(0)
@example(1)
@example(8 * MIB)
@example(8 * MIB + 1)
@example(8 * MIB * MAX_PART_NUMBER)
@example(8 * MIB * MAX_PART_NUMBER + 1)
@example(MAX_OBJECT_BYTES)
def test_a_part_size_that_is_chosen_is_legal_and_every_byte_is_in_exactly_one_part(size: int) -> None:
    plan = plan_parts(size)
    assert 8 * MIB <= plan.part_size_bytes <= MAX_PART_BYTES
    assert plan.part_size_bytes % MIB == 0
    holds(plan, size)


@given(st.integers(0, 10**15), st.integers(MIB, MAX_PART_BYTES))
@example(10_000 * MIB, MIB)
@example(10_000 * MIB + 1, MIB)
@example(MAX_OBJECT_BYTES, MAX_PART_BYTES)
@example(MAX_OBJECT_BYTES + 1, MAX_PART_BYTES)
def test_a_part_size_that_is_given_is_kept_or_refused(size: int, part_size: int) -> None:
    fits = size <= part_size * MAX_PART_NUMBER and size <= MAX_OBJECT_BYTES
    if not fits:
        with pytest.raises(UsageError, match=str(size)):
            plan_parts(size, part_size_bytes=part_size)
        return
    plan = plan_parts(size, part_size_bytes=part_size)
    assert plan.part_size_bytes == part_size
    holds(plan, size)


@given(st.integers(10_000 * MIB + 1, MAX_OBJECT_BYTES))
def test_the_size_that_the_message_advises_works(size: int) -> None:
    with pytest.raises(UsageError) as caught:
        plan_parts(size, part_size_bytes=MIB)
    advised = int(str(caught.value).rpartition("at least ")[2].partition(" MiB")[0])
    assert plan_parts(size, part_size_bytes=advised * MIB).count <= MAX_PART_NUMBER


@pytest.mark.parametrize("value", [0, -1, 512 * KIB, MIB - 1, MAX_PART_BYTES + 1, 6 * GIB])
def test_a_part_size_outside_the_limits_is_refused_with_value_and_limits(value: int) -> None:
    with pytest.raises(UsageError, match=rf"slice_size is {value} bytes.*1048576 \(1 MiB\).*5368709120 \(5 GiB\)"):
        check_part_size(value, name="slice_size")


@pytest.mark.parametrize("value", [True, 1.0, "8388608", None])
def test_a_part_size_that_is_no_number_of_bytes_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="whole number of bytes"):
        check_part_size(value)


@pytest.mark.parametrize("number", [0, -1, 4])
def test_there_is_no_part_outside_the_plan(number: int) -> None:
    with pytest.raises(IndexError):
        Plan(size=3 * MIB, part_size_bytes=MIB).part(number)


@given(
    st.integers(0, 300 * MIB), st.sampled_from([MIB, 8 * MIB, 200 * MIB, GIB]), st.integers(1, 32), st.integers(1, 256)
)
def test_the_batches_have_every_part_once_in_order_and_stay_small(
    size: int, part_size: int, lanes: int, concurrency: int
) -> None:
    plan = plan_parts(size, part_size_bytes=part_size)
    for quick in (False, True):
        batches = list(hash_batches(plan, lanes=lanes, concurrency=concurrency, quick=lambda: quick))  # noqa: B023
        assert [part for batch in batches for part in batch] == list(plan)
        assert len(batches[0]) <= concurrency
        for batch in batches:
            assert 1 <= len(batch) <= lanes
            assert len(batch) == 1 or len(batch) * part_size <= LONGEST_LOOK_AHEAD_BYTES
        for batch in batches[1:-1]:
            whole = len(batch) == lanes or (len(batch) + 1) * part_size > LONGEST_LOOK_AHEAD_BYTES
            assert whole or not quick


@given(number=st.integers(1, 10_000))
def test_parts_of_a_stream_double_every_thousand_and_are_legal(number: int) -> None:
    plan = StreamPlan()
    length = plan.length(number)
    assert MIN_PART_BYTES <= length <= MAX_PART_BYTES
    assert length == min(PREFERRED_PART_BYTES * 2 ** ((number - 1) // 1000), MAX_PART_BYTES)


def test_ten_thousand_parts_of_a_stream_hold_8_terabytes() -> None:
    plan = StreamPlan()
    assert sum(plan.length(number) for number in range(1, 10_001)) > 8 * 10**12


@pytest.mark.parametrize("size", [None, 0, 10 * MIB])
def test_a_stream_is_planned_by_its_length_if_that_is_known(size: int | None) -> None:
    plan = plan_stream(size, part_size_bytes=2 * MIB)
    if size is None:
        assert plan == StreamPlan(first_part_bytes=2 * MIB)
    else:
        assert plan == plan_parts(size, part_size_bytes=2 * MIB)
    with pytest.raises(UsageError, match="part_size is 5 bytes"):
        plan_stream(size, part_size_bytes=5)


@given(
    size=st.integers(1, 200 * MIB),
    part_size=st.integers(MIB, 40 * MIB),
    own=st.integers(MIB, 40 * MIB),
    data=st.data(),
)
def test_the_plan_of_listed_parts_fits_them(size: int, part_size: int, own: int, data: st.DataObject) -> None:
    theirs, ours = Plan(size=size, part_size_bytes=part_size), Plan(size=size, part_size_bytes=own)
    numbers = data.draw(st.sets(st.integers(1, theirs.count), min_size=1))
    lengths = {number: theirs.length(number) for number in numbers}
    found = plan_of_listed(lengths, ours, fixed=False)
    if found is None:
        # One part that may be the last, or a last part shorter than any legal part.
        assert len(numbers) == 1
    else:
        assert [found.length(number) for number in sorted(numbers)] == [lengths[number] for number in sorted(numbers)]
        if len(numbers) > 1 and found != ours:
            assert found == theirs
    kept = plan_of_listed(lengths, ours, fixed=True)
    assert kept in (None, ours)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ({1: MIB, 2: 2 * MIB}, None),  # not the last, and shorter
        ({1: MIB, 3: MIB}, MIB),
        ({4: 5}, MIB),  # the last one alone
        ({3: 5}, 3 * MIB // 2),
        ({5: 5}, None),
        ({10_001: MIB}, None),
        ({0: MIB}, None),
        ({1: MIB - 1}, None),
        ({1: 10**30}, None),
        ({2: -5}, None),
        ({1: 3 * MIB + 5}, 4 * MIB),  # the whole file; by the plan of a new upload
    ],
)
def test_parts_that_no_legal_plan_makes_are_refused(lengths: dict[int, int], expected: int | None) -> None:
    own = Plan(size=3 * MIB + 5, part_size_bytes=4 * MIB)
    found = plan_of_listed(lengths, own, fixed=False)
    assert (None if found is None else found.part_size_bytes) == expected
