"""Every kernel against hashlib and a bitwise CRC."""

from __future__ import annotations

import itertools
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.native.reference import Guarded, crc64_bitwise, md5, noise

EDGES = [511, 512, 513, 767, 768, 1023, 1024, 1025, 2047, 2048, 2049, 2303, 2304, 4095, 4096, 4097, 6143, 8192, 12345]
# The kernels do not change between examples of one test.
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def table() -> dict[int, tuple[bytes, bytes, int]]:
    """Data of each length, its MD5 and its CRC."""
    return {n: (noise(n), md5(noise(n)), crc64_bitwise(noise(n))) for n in [*range(301), *EDGES]}


Table = dict[int, tuple[bytes, bytes, int]]


def test_known_answers(hashing: ModuleType) -> None:
    assert hashing.md5(b"").hex() == "d41d8cd98f00b204e9800998ecf8427e"
    assert hashing.md5(b"abc").hex() == "900150983cd24fb0d6963f7d28e17f72"
    assert hashing.crc64(b"") == 0
    assert hashing.crc64(b"123456789") == 0x995DC9BBDF1939FA  # the check value of CRC-64/XZ


def test_every_length_alone(hashing: ModuleType, table: Table) -> None:
    for data, digest, crc in table.values():
        assert hashing.md5(data) == digest
        assert hashing.crc64(data) == crc


def test_every_length_together_in_ragged_lanes(hashing: ModuleType, table: Table) -> None:
    expected = [(digest, crc, n) for n, (_, digest, crc) in table.items()]
    buffers = [data for data, _, _ in table.values()]
    for threads in (1, 2, 3):
        assert hashing.hash_parts(buffers, threads=threads) == expected
        assert hashing.hash_parts(buffers[::-1], threads=threads) == expected[::-1]
        assert hashing.md5_many(buffers, threads=threads) == [digest for digest, _, _ in expected]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 31, 32, 33, 47, 63, 64, 65])
def test_every_number_of_lanes(hashing: ModuleType, count: int) -> None:
    buffers = [noise(5000 + 61 * (i % 7), seed=i) for i in range(count)]
    assert hashing.md5_many(buffers) == [md5(data) for data in buffers]
    assert [part.crc64 for part in hashing.hash_parts(buffers)] == [hashing.crc64(data) for data in buffers]


def test_misaligned_starts(hashing: ModuleType, table: Table) -> None:
    for start in range(1, 64):
        for n in (0, 1, 15, 16, 63, 64, 65, 255, 256, 511, 513, 1024, 2049):
            data, digest, crc = table[n]
            view = memoryview(b"\xff" * start + data + b"\xff" * 3)[start : start + n]
            assert (hashing.md5(view), hashing.crc64(view)) == (digest, crc)
            assert hashing.hash_parts([view])[0] == (digest, crc, n)


def test_nothing_is_read_beyond_either_end(hashing: ModuleType, table: Table, needs_compiled: None) -> None:
    walls = [Guarded(4 * 4096) for _ in range(40)]
    for data, digest, crc in table.values():
        for place in (walls[0].at_end, walls[0].at_start):
            view = place(data)
            assert (hashing.md5(view), hashing.crc64(view)) == (digest, crc)
    for first in range(0, 300, 20):
        wanted = [table[(first * 13 + 37 * i) % 301] for i in range(20)] + [table[n] for n in EDGES]
        views = [wall.at_end(data) for wall, (data, _, _) in zip(walls, wanted, strict=False)]
        got = hashing.hash_parts(views)
        assert got == [(digest, crc, len(data)) for data, digest, crc in wanted[: len(views)]]


def test_a_large_ragged_set_in_staggered_lanes(hashing: ModuleType) -> None:
    sizes = [256 * 1024 + 64 * i - (i % 5) for i in range(40)] + [1024 * 1024, 300_001, 0, 77, 524_288]
    if hashing.kernel() == "pure":
        sizes = sizes[-6:]
    buffers = [noise(size, seed=i) for i, size in enumerate(sizes)]
    expected = [md5(data) for data in buffers]
    got = hashing.hash_parts(buffers, threads=2)
    assert [part.md5 for part in got] == expected
    assert hashing.md5_many(buffers) == expected
    for data, part in zip(buffers, got, strict=True):
        half = len(data) // 2
        crc1, crc2 = hashing.crc64(data[:half]), hashing.crc64(data[half:])
        assert part.crc64 == hashing.crc64_combine(crc1, crc2, len(data) - half)


@quick
@given(data=st.binary(max_size=3000), cuts=st.lists(st.integers(0, 3000), max_size=6))
def test_any_split_gives_the_same_digest(hashing: ModuleType, data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    stream, crc, combined = hashing.Md5(), 0, 0
    for start, end in itertools.pairwise(edges):
        piece = data[start:end]
        stream.update(piece)
        crc = hashing.crc64(piece, crc)
        combined = hashing.crc64_combine(combined, hashing.crc64(piece), len(piece))
    assert stream.digest() == md5(data)
    assert stream.length == len(data)
    assert crc == combined == crc64_bitwise(data)


@quick
@given(sizes=st.lists(st.integers(0, 9000), max_size=50), threads=st.integers(1, 4))
def test_any_set_of_sizes(hashing: ModuleType, sizes: list[int], threads: int) -> None:
    buffers = [noise(size, seed=i) for i, size in enumerate(sizes)]
    got = hashing.hash_parts(buffers, threads=threads)
    assert got == [(md5(data), hashing.crc64(data), len(data)) for data in buffers]


def test_combine_over_lengths_beyond_memory(hashing: ModuleType) -> None:
    a, b, c = 0x1234, 0xFEDC_BA98_7654_3210, (1 << 64) - 1
    for n in (1, 5 << 30, 50_000 << 30, (1 << 63) + 1):
        left = hashing.crc64_combine(hashing.crc64_combine(a, b, n), c, 12345)
        right = hashing.crc64_combine(a, hashing.crc64_combine(b, c, 12345), n + 12345)
        assert left == right
    assert hashing.crc64_combine(a, 0, 0) == a


def test_a_stream_can_be_copied_and_continued_after_its_digest(hashing: ModuleType) -> None:
    stream = hashing.Md5(b"one")
    twin = stream.copy()
    assert stream.digest() == md5(b"one")
    stream.update(b"two")
    assert stream.hexdigest() == md5(b"onetwo").hex()
    assert twin.digest() == md5(b"one")


@pytest.mark.parametrize("wrong", ["text", 5, None, [1, 2]])
def test_a_value_that_is_no_buffer_is_a_type_error(hashing: ModuleType, wrong: object) -> None:
    for call in (hashing.md5, hashing.crc64, lambda x: hashing.hash_parts([b"", x])):
        with pytest.raises((TypeError, AttributeError)):
            call(wrong)


def test_a_view_with_gaps_is_refused(hashing: ModuleType) -> None:
    with pytest.raises((BufferError, TypeError)):
        hashing.hash_parts([memoryview(bytes(100))[::2]])
