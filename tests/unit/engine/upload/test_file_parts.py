"""The parts of a file: which are hashed and yielded, how hashing is reported, and what leaves the page cache."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Container, Iterable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from cosxfer._native import hashing
from cosxfer.engine.multipart.source import HashedPart, ReadyPart
from cosxfer.engine.upload import file_parts, hash_ahead
from cosxfer.engine.upload.file_parts import FileParts
from cosxfer.engine.upload.hash_ahead import HashAhead
from cosxfer.engine.upload.opening import Opener
from cosxfer.errors import SourceChangedError
from cosxfer.limits import KIB
from cosxfer.models import Progress
from cosxfer.planning import PartRange, Plan
from cosxfer.sources import FileSource
from cosxfer.threads import Workers
from tests.unit.files import content_of, rewrite, write

PART = 64 * KIB
SIZE = 11 * PART + 5
PLAN = Plan(size=SIZE, part_size_bytes=PART)
NUMBERS = list(range(1, 13))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "f", SIZE)


@pytest.fixture
def source(path: Path) -> Iterator[FileSource]:
    with FileSource.open(path) as source:
        yield source


@pytest.fixture
def reports() -> list[Progress]:
    return []


@pytest.fixture
def parts(source: FileSource, workers: Workers, reports: list[Progress]) -> FileParts:
    return FileParts(source, PLAN, executor=workers, opener=Opener(), on_hash_progress=reports.append)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Numbers of the parts that are hashed together, on a machine with four lanes."""
    monkeypatch.setattr(hashing, "lanes", lambda: 4)
    seen: list[list[int]] = []
    hash_batch = HashAhead._hash_batch

    def watched(self: HashAhead, batch: list[PartRange], loop: asyncio.AbstractEventLoop) -> list[hashing.PartDigest]:
        seen.append([part.number for part in batch])
        return hash_batch(self, batch, loop)

    monkeypatch.setattr(HashAhead, "_hash_batch", watched)
    return seen


def chmod(path: Path) -> None:
    path.chmod(0o600)


async def all_of(parts: FileParts, *, done: Container[int] = (), window: int = 2) -> list[ReadyPart]:
    return [part async for part in parts.parts(done=done, window=lambda: window)]


def numbers(ready: list[ReadyPart]) -> list[int]:
    return [part.hashed.range.number for part in ready]


def test_every_part_comes_in_order_with_its_digests_and_can_be_read_again(parts: FileParts) -> None:
    ready = asyncio.run(all_of(parts))
    assert numbers(ready) == NUMBERS
    for part in ready:
        place = part.hashed.range
        content = content_of(SIZE)[place.offset : place.offset + place.length]
        assert place == PLAN.part(place.number)
        assert (part.hashed.md5, part.hashed.crc64) == (hashlib.md5(content).digest(), hashing.crc64(content))
        for _ in range(2):
            assert b"".join(part.body) == content  # type: ignore[arg-type]


def test_the_source_describes_its_file(parts: FileParts, path: Path) -> None:
    assert (parts.name, parts.size, parts.plan) == (str(path), SIZE, PLAN)


@pytest.mark.parametrize("done", [{1}, {2, 3, 11}, {12}, set(NUMBERS) - {12}, set(NUMBERS)])
def test_finished_parts_are_not_hashed_or_yielded_and_count_as_hashed(
    parts: FileParts, reports: list[Progress], batches: list[list[int]], done: set[int]
) -> None:
    left = [number for number in NUMBERS if number not in done]
    assert numbers(asyncio.run(all_of(parts, done=done))) == left
    assert [number for batch in batches for number in batch] == left
    assert reports[0].loaded == sum(PLAN.length(number) for number in done)
    assert (reports[-1].loaded, reports[-1].total) == (SIZE, SIZE)


@pytest.mark.parametrize(
    ("rate", "window", "first"),
    [
        (math.inf, 1, [[1], [2, 3], [4, 5, 6, 7]]),
        (math.inf, 2, [[1, 2], [3, 4, 5, 6]]),
        (math.inf, 9, [[1, 2], [3, 4, 5, 6]]),
        (0, 1, [[1], [2, 3, 4, 5], [6, 7, 8, 9]]),
        (0, 9, [[1, 2], [3, 4, 5, 6]]),
    ],
)
def test_hashing_ahead_begins_with_few_parts_and_goes_on_with_many_if_the_file_is_read_fast(
    parts: FileParts,
    batches: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
    rate: float,
    window: int,
    first: list[list[int]],
) -> None:
    monkeypatch.setattr(hash_ahead, "QUICK_BYTES_PER_SECOND", rate)  # from which on it is fast
    monkeypatch.setattr(FileSource, "is_cached", lambda source, offsets: False)
    assert numbers(asyncio.run(all_of(parts, window=window))) == NUMBERS
    assert batches[: len(first)] == first
    assert all(len(batch) <= 4 for batch in batches)


def test_all_lanes_begin_together_if_their_parts_are_in_the_page_cache(
    parts: FileParts, batches: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    is_cached = FileSource.is_cached

    def noted(source: FileSource, offsets: Iterable[int]) -> bool:
        asked.extend(offsets)
        return is_cached(source, asked)

    monkeypatch.setattr(FileSource, "is_cached", noted)
    assert numbers(asyncio.run(all_of(parts, window=1))) == NUMBERS
    assert asked == [number * PART // 2 for number in range(8)]  # two bytes of each of four parts
    in_cache = is_cached(parts._file, asked)  # some file systems do not tell
    assert batches[0] == ([1, 2, 3, 4] if in_cache else [1])


def test_a_file_of_one_batch_is_not_asked_about(
    source: FileSource, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileSource, "is_cached", None)
    plan = Plan(size=2 * PART, part_size_bytes=PART)
    parts = FileParts(source, plan, executor=workers, opener=Opener(), on_hash_progress=None)
    assert numbers(asyncio.run(all_of(parts, window=2))) == [1, 2]


def test_a_caller_who_stops_ends_the_hashing_unfinished(
    parts: FileParts, reports: list[Progress], batches: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileSource, "is_cached", lambda source, offsets: False)

    async def main() -> None:
        async with aclosing(parts.parts(done=(), window=lambda: 2)) as ready:
            assert (await anext(ready)).hashed.range.number == 1

    asyncio.run(main())
    assert batches == [[1, 2]]
    assert reports[-1].loaded <= 2 * PART
    assert parts.hash_seconds > 0


# -- hashed before anything is sent -----------------------------------------------------------------------------------


def test_a_file_that_was_hashed_as_a_whole_is_not_hashed_again(
    parts: FileParts, reports: list[Progress], batches: list[list[int]]
) -> None:
    async def main() -> tuple[str, list[ReadyPart], list[ReadyPart]]:
        return await parts.hash_whole(window=2), await all_of(parts), await all_of(parts, done={1, 5, 12})

    md5, ready, rest = asyncio.run(main())
    assert md5 == hashlib.md5(content_of(SIZE)).hexdigest()
    assert numbers(ready) == NUMBERS
    assert [number for batch in batches for number in batch] == NUMBERS
    assert (reports[0].loaded, reports[-1].loaded) == (0, SIZE)
    assert b"".join(b"".join(part.body) for part in ready) == content_of(SIZE)  # type: ignore[arg-type]
    assert numbers(rest) == [number for number in NUMBERS if number not in {1, 5, 12}]


@pytest.mark.parametrize("whole", [False, True])
def test_an_empty_file_is_one_empty_part(tmp_path: Path, workers: Workers, whole: bool) -> None:
    async def main() -> list[ReadyPart]:
        with FileSource.open(write(tmp_path / "empty", 0)) as source:
            parts = FileParts(
                source, Plan(size=0, part_size_bytes=PART), executor=workers, opener=Opener(), on_hash_progress=None
            )
            if whole:
                assert await parts.hash_whole(window=2) == hashlib.md5().hexdigest()
            return await all_of(parts)

    [part] = asyncio.run(main())
    place = PartRange(number=1, offset=0, length=0)
    assert part.hashed == HashedPart(range=place, md5=hashlib.md5().digest(), crc64=0)


# -- changes, and the page cache --------------------------------------------------------------------------------------


def test_a_change_between_batches_ends_the_parts(
    parts: FileParts, path: Path, reports: list[Progress], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileSource, "is_cached", lambda source, offsets: False)

    async def main() -> None:
        async for _ in parts.parts(done=(), window=lambda: 2):
            rewrite(path, b"x" * SIZE)

    with pytest.raises(SourceChangedError):
        asyncio.run(main())
    assert reports[-1].loaded < SIZE


@pytest.mark.parametrize("with_parts", [False, True])
def test_if_only_the_ctime_changed_the_yielded_parts_are_compared(
    parts: FileParts, path: Path, batches: list[list[int]], with_parts: bool
) -> None:
    async def main() -> None:
        ready = await all_of(parts)
        batches.clear()
        chmod(path)
        await parts.check([part.hashed for part in ready[3:6]] if with_parts else [])

    asyncio.run(main())
    assert batches == ([[4, 5, 6]] if with_parts else [])


@pytest.mark.parametrize("large", [False, True])
def test_only_a_large_file_leaves_the_page_cache_part_by_part(
    source: FileSource, workers: Workers, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    asked: list[int] = []

    def leaves(size: int, *, memory_bytes: int) -> bool:
        asked.append(size)
        return large

    monkeypatch.setattr(file_parts, "leaves_page_cache", leaves)
    dropped: list[tuple[int, int]] = []
    monkeypatch.setattr(source, "drop_cache", lambda offset, length: dropped.append((offset, length)))
    parts = FileParts(source, PLAN, executor=workers, opener=Opener(), on_hash_progress=None)
    ready = asyncio.run(all_of(parts))
    assert dropped == []  # pages are released only after the server has the part
    parts.stored(ready[11])
    parts.stored(ready[2])
    assert dropped == ([(11 * PART, 5), (2 * PART, PART)] if large else [])
    assert asked == [SIZE]
