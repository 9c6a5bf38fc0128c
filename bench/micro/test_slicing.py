"""pytest-benchmark over files as uploads and downloads use them: mappings, slices, small files.

The files are in the page cache. Asserts nothing about time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from cosxfer._native import slicing
from cosxfer.sources import FileSource, SmallFile

MIB = 1 << 20
PART_BYTES = 8 * MIB
SMALL_BYTES = 16 << 10


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slicing") / "large"
    with path.open("wb") as file:
        for _ in range(8):
            file.write(os.urandom(PART_BYTES))
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slicing") / "small"
    path.write_bytes(os.urandom(SMALL_BYTES))
    return path


@pytest.fixture
def mapped(large: Path) -> Iterator[slicing.MappedFile]:
    fd = os.open(large, os.O_RDONLY)
    with slicing.MappedFile(fd, large.stat().st_size) as file:
        os.close(fd)
        yield file


def test_map_and_close_a_file(benchmark: BenchmarkFixture, large: Path) -> None:
    def once() -> None:
        FileSource.open(large).close()

    benchmark(once)


def test_slice_64_parts(benchmark: BenchmarkFixture, mapped: slicing.MappedFile) -> None:
    def once() -> list[memoryview]:
        return [mapped.slice(number * MIB, MIB) for number in range(64)]

    assert len(benchmark(once)) == 64


def test_map_the_pages_of_a_part_and_unmap_them(benchmark: BenchmarkFixture, mapped: slicing.MappedFile) -> None:
    def once() -> None:
        mapped.prefetch(PART_BYTES, PART_BYTES)
        mapped.release(PART_BYTES, PART_BYTES)

    benchmark(once)


def test_check_that_a_file_has_not_changed(benchmark: BenchmarkFixture, large: Path) -> None:
    with FileSource.open(large) as source:
        assert benchmark(source.check)


def test_read_a_file_of_16_kib(benchmark: BenchmarkFixture, small: Path) -> None:
    path = str(small)
    assert benchmark(lambda: slicing.read_small(path, 256 << 10)) is not None or os.name != "posix"


def test_open_a_file_of_16_kib_as_a_source(benchmark: BenchmarkFixture, small: Path) -> None:
    source = benchmark(lambda: SmallFile.read(small, 256 << 10))
    assert source is None or source.size == SMALL_BYTES


def test_write_a_new_file_of_16_kib(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    content, folder, numbers = os.urandom(SMALL_BYTES), os.fsencode(tmp_path), count()

    def once() -> int:
        name = folder + b"/%d" % next(numbers)
        return slicing.write_new(name + b".part", name, content)

    # A fixed number of rounds: each leaves a file.
    written = benchmark.pedantic(once, rounds=500, warmup_rounds=10)
    assert written in (0, -1)  # -1: the twin in Python leaves it to others
