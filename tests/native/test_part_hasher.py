"""The incremental hasher: rounds, positions, whole-file streams, and misuse."""

from __future__ import annotations

import mmap
import threading
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosxfer._native import slicing
from tests.native.reference import md5, noise

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KIB = 1024


@pytest.fixture
def parts() -> list[bytes]:
    return [noise(40 * KIB + 777 * i, seed=i) for i in range(20)]


def test_progress_never_falls_and_reaches_the_total(hashing: ModuleType, parts: list[bytes]) -> None:
    hasher = hashing.PartHasher(parts)
    total = sum(map(len, parts))
    assert (hasher.hashed_bytes, hasher.total_bytes, hasher.done) == (0, total, False)
    seen = [0]
    before = [0] * len(parts)
    while not hasher.done:
        seen.append(hasher.advance(50_000))
        positions = hasher.positions()
        assert all(old <= new <= len(part) for old, new, part in zip(before, positions, parts, strict=True))
        assert seen[-1] == hasher.hashed_bytes
        before = positions
    assert seen == sorted(seen)
    assert len(seen) > 10
    assert seen[-1] == total
    assert before == [len(part) for part in parts]
    assert [part.md5 for part in hasher.digests()] == [md5(part) for part in parts]


def test_a_round_has_about_the_requested_length(hashing: ModuleType, parts: list[bytes]) -> None:
    hasher = hashing.PartHasher(parts)
    done = hasher.advance(100_000)
    assert 100_000 <= done <= 100_000 + 64 * len(parts)


def test_nothing_to_hash_is_done_at_once(hashing: ModuleType) -> None:
    hasher = hashing.PartHasher([])
    assert hasher.done
    assert hasher.digests() == []
    assert hasher.advance(10) == 0
    assert hashing.PartHasher([b""] * 3).done


def test_empty_buffers_have_digests(hashing: ModuleType) -> None:
    assert hashing.hash_parts([b""] * 40) == [(md5(b""), 0, 0)] * 40


def test_digests_before_the_end_are_refused(hashing: ModuleType, parts: list[bytes]) -> None:
    hasher = hashing.PartHasher(parts)
    hasher.advance(1)
    with pytest.raises(RuntimeError, match="done"):
        hasher.digests()


def test_without_crc_the_crc_is_zero(hashing: ModuleType, parts: list[bytes]) -> None:
    hasher = hashing.PartHasher(parts, crc64=False)
    hasher.advance(hasher.total_bytes)
    assert hasher.done
    assert [(part.md5, part.crc64) for part in hasher.digests()] == [(md5(part), 0) for part in parts]


def test_whole_file_md5_over_several_hashers(hashing: ModuleType, parts: list[bytes]) -> None:
    whole = hashing.Md5()
    for start in range(0, len(parts), 7):
        hasher = hashing.PartHasher(parts[start : start + 7], whole=whole)
        while not hasher.done:
            hasher.advance(30_000)
        assert [part.md5 for part in hasher.digests()] == [md5(part) for part in parts[start : start + 7]]
    assert whole.digest() == md5(b"".join(parts))
    assert whole.length == sum(map(len, parts))


@quick
@given(
    sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=60),
    owners=st.lists(st.integers(-1, 5), min_size=60, max_size=60),
    step=st.integers(1, 40_000),
    threads=st.integers(1, 3),
)
def test_streams_of_many_files_in_parallel(
    hashing: ModuleType, sizes: list[int], owners: list[int], step: int, threads: int
) -> None:
    buffers = [noise(size, seed=i) for i, size in enumerate(sizes)]
    streams = [hashing.Md5(b"s" * i) for i in range(6)]
    expected = [b"s" * i for i in range(6)]
    whole = []
    for data, owner in zip(buffers, owners, strict=False):
        whole.append(streams[owner] if owner >= 0 else None)
        if owner >= 0:
            expected[owner] += data
    hasher = hashing.PartHasher(buffers, whole=whole, threads=threads)
    while not hasher.done:
        hasher.advance(step)
    assert [part.md5 for part in hasher.digests()] == [md5(data) for data in buffers]
    assert [stream.digest() for stream in streams] == [md5(data) for data in expected]


def test_a_stream_is_locked_until_its_hasher_is_done(hashing: ModuleType, parts: list[bytes]) -> None:
    whole = hashing.Md5(b"before")
    hasher = hashing.PartHasher(parts, whole=whole)
    hasher.advance(1000)
    for use in (whole.digest, whole.copy, lambda: whole.update(b""), lambda: hashing.PartHasher(parts, whole=whole)):
        with pytest.raises(RuntimeError, match="in use"):
            use()
    del hasher  # the hasher is dropped half-way, so the stream is unchanged
    assert whole.digest() == md5(b"before")


def test_a_refused_hasher_releases_its_streams(hashing: ModuleType) -> None:
    whole = hashing.Md5()
    with pytest.raises(ValueError, match="whole"):
        hashing.PartHasher([b"a", b"b"], whole=[whole])
    with pytest.raises(ValueError, match="threads"):
        hashing.PartHasher([b"a"], whole=whole, threads=0)
    assert whole.digest() == md5(b"")


def test_buffers_are_held_while_the_hasher_lives(hashing: ModuleType) -> None:
    data = bytearray(100_000)
    hasher = hashing.PartHasher([data])
    with pytest.raises(BufferError):
        data.clear()
    hasher.advance(1)
    del hasher
    data.clear()


def test_using_a_hasher_from_two_threads_at_once_is_refused(hashing: ModuleType) -> None:
    hasher = hashing.PartHasher([noise(4096 * KIB)])
    failures = []

    def work() -> None:
        try:
            while not hasher.done:
                hasher.advance(200_000)
        except RuntimeError as error:
            failures.append(str(error))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    hasher.advance(hasher.total_bytes)
    assert hasher.digests()[0].md5 == md5(noise(4096 * KIB))
    assert all("another thread" in failure for failure in failures)


def test_more_threads_than_parts(hashing: ModuleType, parts: list[bytes]) -> None:
    assert [part.md5 for part in hashing.hash_parts(parts[:3], threads=64)] == [md5(part) for part in parts[:3]]


# -- mappings ---------------------------------------------------------------------------------------------------------

MIB = 1024 * KIB


def resident_bytes(path: Path) -> int:
    """What this process has mapped of a file."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.partition(" ")[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1]) * KIB
    return total


@pytest.mark.parametrize("part", [4 * MIB, 4 * MIB + 64 * KIB, 3 * MIB + 123])
def test_pages_of_a_mapping_are_released_behind_the_lanes(hashing: ModuleType, tmp_path: Path, part: int) -> None:
    content = noise(20 * MIB, seed=3)
    path = tmp_path / "f"
    path.write_bytes(content)
    with path.open("rb") as file, slicing.MappedFile(file.fileno(), len(content)) as mapping:
        ranges = [(offset, min(part, len(content) - offset)) for offset in range(0, len(content), part)]
        hasher = hashing.PartHasher([mapping.slice(*each) for each in ranges], mapped=True)
        if not hasher.releases:
            pytest.skip("the twin leaves it to its caller")
        most = 0
        while not hasher.done:
            hasher.advance(len(ranges) * 256 * KIB)
            most = max(most, resident_bytes(path))
        assert 0 < most <= len(ranges) * (2 * MIB + 512 * KIB) + 2 * MIB
        assert resident_bytes(path) <= 2 * MIB  # the page of the end
        assert [found.md5 for found in hasher.digests()] == [md5(content[at : at + size]) for at, size in ranges]
        assert mapping.slice(0, len(content)).tobytes() == content


def test_an_empty_buffer_among_parts_of_a_mapping_releases_nothing(hashing: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(noise(MIB, seed=5))
    memory = mmap.mmap(-1, 4 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[:] = content = noise(4 * mmap.PAGESIZE, seed=6)
    inside = 2 * mmap.PAGESIZE + 100
    with path.open("rb") as file, slicing.MappedFile(file.fileno(), MIB) as mapping:
        hasher = hashing.PartHasher([memoryview(memory)[inside:inside], mapping.slice(0, MIB)], mapped=True)
        while not hasher.done:
            hasher.advance(MIB)
        assert [found.length for found in hasher.digests()] == [0, MIB]
        assert memory[:] == content


def test_memory_that_is_no_mapping_is_left_alone(hashing: ModuleType) -> None:
    memory = bytearray(noise(4 * MIB, seed=4))
    hasher = hashing.PartHasher([memory])
    assert not hasher.releases
    hasher.advance(8 * MIB)
    assert memory == noise(4 * MIB, seed=4)
