"""pytest-benchmark over plans of parts, also of the largest objects. Asserts nothing about time."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from cosxfer.limits import MAX_PART_NUMBER, MIB
from cosxfer.planning import (
    LinkKnowledge,
    PartRange,
    Plan,
    StreamPlan,
    hash_batches,
    plan_of_listed,
    plan_parts,
    plan_stream,
)

GIB = 1024 * MIB
MOST = Plan(size=MAX_PART_NUMBER * 8 * MIB, part_size_bytes=8 * MIB)


@pytest.mark.parametrize("size", [16 << 10, GIB, 5000 * GIB], ids=["16 KiB", "1 GiB", "5000 GiB"])
def test_plan_a_file(benchmark: BenchmarkFixture, size: int) -> None:
    known = LinkKnowledge(slots=16, stream_bytes_per_second=5e6)
    assert benchmark(lambda: plan_parts(size, known=known)).size == size


def test_plan_a_stream_of_unknown_length(benchmark: BenchmarkFixture) -> None:
    known = LinkKnowledge(slots=16, stream_bytes_per_second=5e6)
    assert isinstance(benchmark(lambda: plan_stream(None, known=known)), StreamPlan)


def test_all_parts_of_the_longest_plan(benchmark: BenchmarkFixture) -> None:
    def once() -> list[PartRange]:
        return list(MOST)

    assert len(benchmark(once)) == MAX_PART_NUMBER


def test_batches_for_hashing_of_the_longest_plan(benchmark: BenchmarkFixture) -> None:
    done = set(range(1, MAX_PART_NUMBER, 3))

    def once() -> int:
        return sum(map(len, hash_batches(MOST, lanes=32, concurrency=4, done=done)))

    assert benchmark(once) == MAX_PART_NUMBER - len(done)


def test_plan_that_10000_listed_parts_were_cut_by(benchmark: BenchmarkFixture) -> None:
    lengths = {part.number: part.length for part in MOST}
    own = Plan(size=MOST.size, part_size_bytes=16 * MIB)
    assert benchmark(lambda: plan_of_listed(lengths, own, fixed=False)) == MOST
