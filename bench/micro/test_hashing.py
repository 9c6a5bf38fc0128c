"""pytest-benchmark over the kernels: ``pytest bench/micro``. Asserts nothing about time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from cosxfer._native import KERNELS, hashing

MIB = 1 << 20


@pytest.fixture(scope="module")
def memory() -> memoryview:
    return memoryview(np.random.default_rng(1).integers(0, 1 << 63, 64 * MIB // 8, dtype=np.int64)).cast("B")


@pytest.fixture(params=[name for name in KERNELS if name != "pure"])
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    before = hashing.kernel()
    hashing.use_kernel(request.param)
    yield request.param
    hashing.use_kernel(before)


def test_hashlib_md5(benchmark: BenchmarkFixture, memory: memoryview) -> None:
    benchmark(lambda: hashlib.md5(memory[: 16 * MIB]).digest())


@pytest.mark.parametrize("part_bytes", [16 * 1024, MIB, 2 * MIB])
def test_md5_of_32_parts(benchmark: BenchmarkFixture, memory: memoryview, kernel: str, part_bytes: int) -> None:
    parts = [memory[i * part_bytes : (i + 1) * part_bytes] for i in range(32)]
    benchmark(lambda: hashing.md5_many(parts))


@pytest.mark.parametrize("part_bytes", [16 * 1024, MIB, 2 * MIB])
def test_md5_and_crc64_of_32_parts(
    benchmark: BenchmarkFixture, memory: memoryview, kernel: str, part_bytes: int
) -> None:
    parts = [memory[i * part_bytes : (i + 1) * part_bytes] for i in range(32)]
    benchmark(lambda: hashing.hash_parts(parts))


def test_crc64(benchmark: BenchmarkFixture, memory: memoryview, kernel: str) -> None:
    benchmark(lambda: hashing.crc64(memory))


def test_crc64_combine(benchmark: BenchmarkFixture) -> None:
    benchmark(lambda: hashing.crc64_combine(0x1234, 0x5678, 8 * MIB))


def test_one_small_md5(benchmark: BenchmarkFixture) -> None:
    benchmark(lambda: hashing.md5(b"x" * 100))
