"""Small files that are hashed together: who waits, who does not, and that one bad file harms no other."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cosxfer._native import hashing, pure_hashing
from cosxfer.engine.multipart.source import HashedPart
from cosxfer.engine.upload import hash_together
from cosxfer.engine.upload.hash_ahead import HashAhead
from cosxfer.engine.upload.hash_together import HashTogether
from cosxfer.errors import CosxferError, SourceChangedError
from cosxfer.limits import KIB, MIB
from cosxfer.planning import PartRange, Plan
from cosxfer.sources import ASKED_BYTES, FileSource
from cosxfer.threads import Workers
from tests.unit.files import content_of, rewrite, write

SIZES = (300 * KIB, 1, 0, 2 * MIB + 77, 64, 5 * MIB, 700 * KIB, 63, 1 * MIB)


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many files each group had."""
    found: list[int] = []
    real = hash_together._hash_group

    def hash_group(group: list[Any]) -> Any:
        found.append(len(group))
        return real(group)

    monkeypatch.setattr(hash_together, "_hash_group", hash_group)
    monkeypatch.setattr(hashing, "lanes", lambda: 16)
    return found


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were hashed alone."""
    found: list[str] = []
    real = HashAhead._hash_batch

    def hash_batch(self: HashAhead, *arguments: Any) -> Any:
        found.append(Path(self._source.path).name)
        return real(self, *arguments)

    monkeypatch.setattr(HashAhead, "_hash_batch", hash_batch)
    return found


@pytest.fixture
def sources(tmp_path: Path) -> Iterator[list[FileSource]]:
    with ExitStack() as stack:
        paths = [write(tmp_path / f"{number}", size) for number, size in enumerate(SIZES)]
        sources = [stack.enter_context(FileSource.open(path)) for path in paths]
        for source in sources:
            source.in_cache = True  # some file systems do not tell
        yield sources


def plan_of(source: FileSource) -> Plan:
    return Plan(size=source.size, part_size_bytes=MIB)


def expected(source: FileSource) -> list[HashedPart]:
    content = content_of(source.size)
    found = []
    for part in plan_of(source):
        piece = content[part.offset : part.offset + part.length]
        found.append(HashedPart(range=part, md5=hashlib.md5(piece).digest(), crc64=hashing.crc64(piece)))
    return found


async def hashed(source: FileSource, executor: Executor, on_hashed: Callable[[int], None]) -> list[HashedPart]:
    ahead = HashAhead(source, executor=executor, on_hashed=on_hashed)
    return [part async for part in ahead.hash([[*plan_of(source)]])]


async def together(
    sources: list[FileSource], workers: Workers, on_hashed: Callable[[int], None] = lambda _: None
) -> list[list[HashedPart] | BaseException]:
    """Hash all files while another one is being hashed, so that they wait for each other."""
    with HashTogether.of(workers).alone(workers):
        tasks = [asyncio.ensure_future(hashed(source, workers, on_hashed)) for source in sources]
        for _ in range(3):
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_files_that_wait_at_the_same_time_are_one_group(
    sources: list[FileSource], workers: Workers, groups: list[int], alone: list[str]
) -> None:
    counts: list[int] = []
    threads: set[int] = set()

    def on_hashed(count: int) -> None:
        counts.append(count)
        threads.add(threading.get_ident())

    assert asyncio.run(together(sources, workers, on_hashed)) == [expected(source) for source in sources]
    assert groups == [len(SIZES)]
    assert alone == []
    assert sorted(counts) == sorted(SIZES)
    assert threads == {threading.get_ident()}


def test_the_twin_hashes_together_and_releases_what_it_has_hashed(
    sources: list[FileSource], workers: Workers, groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_together.hashing, "PartHasher", pure_hashing.PartHasher)
    released: dict[str, int] = {}

    def release(self: FileSource, offset: int, length: int) -> None:
        released[self.path] = released.get(self.path, 0) + length

    monkeypatch.setattr(FileSource, "release", release)
    sources = [source for source in sources if source.size < MIB]  # the twin is slow
    assert asyncio.run(together(sources, workers)) == [expected(source) for source in sources]
    assert groups == [len(sources)]
    assert released == {source.path: source.size for source in sources}


def test_a_file_that_is_hashed_when_nothing_else_is_does_not_wait(
    sources: list[FileSource], workers: Workers, groups: list[int], alone: list[str]
) -> None:
    async def main() -> list[list[HashedPart]]:
        return [await hashed(source, workers, lambda _: None) for source in sources]

    assert asyncio.run(main()) == [expected(source) for source in sources]
    assert groups == []
    assert len(alone) == len(SIZES)


def test_files_that_come_one_by_one_are_hashed_too(sources: list[FileSource], workers: Workers) -> None:
    async def main() -> list[list[HashedPart]]:
        return await asyncio.gather(*(hashed(source, workers, lambda _: None) for source in 4 * sources))

    assert asyncio.run(main()) == [expected(source) for source in 4 * sources]


@pytest.mark.parametrize(("name", "most"), [("GROUP_FILES", 4), ("GROUP_BYTES", 5 * MIB)])
def test_a_group_has_a_limit(
    sources: list[FileSource],
    workers: Workers,
    groups: list[int],
    alone: list[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    most: int,
) -> None:
    monkeypatch.setattr(hash_together, name, most)
    assert asyncio.run(together(sources, workers)) == [expected(source) for source in sources]
    assert len(groups) > 1
    assert sum(groups) == len(SIZES)
    assert alone == []


def test_files_that_fill_the_lanes_get_another_thread(
    sources: list[FileSource], workers: Workers, groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "lanes", lambda: 4)
    monkeypatch.setattr(hash_together.os, "cpu_count", lambda: 2)

    async def main() -> None:
        with HashTogether.of(workers).alone(workers):
            tasks = [asyncio.ensure_future(hashed(source, workers, lambda _: None)) for source in sources[:4]]
            assert await asyncio.gather(*tasks) == [expected(source) for source in sources[:4]]

    asyncio.run(main())
    assert groups == [4]


def test_nobody_waits_for_a_file_that_is_not_in_the_page_cache(
    sources: list[FileSource], groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = sources[0]
    entered, go = threading.Event(), threading.Event()
    real = HashAhead._hash_batch

    def hash_batch(self: HashAhead, *arguments: Any) -> Any:
        if self._source is slow:
            entered.set()
            assert go.wait(30)
        return real(self, *arguments)

    monkeypatch.setattr(HashAhead, "_hash_batch", hash_batch)
    slow.in_cache = False

    async def main() -> None:
        with ThreadPoolExecutor(2) as threads:
            task = asyncio.ensure_future(hashed(slow, threads, lambda _: None))
            await asyncio.to_thread(entered.wait, 30)
            for source in sources[1:]:
                assert await asyncio.wait_for(hashed(source, threads, lambda _: None), 30) == expected(source)
            assert not task.done()
            go.set()
            assert await task == expected(slow)

    asyncio.run(main())
    assert groups == []


def test_a_file_that_is_not_in_the_page_cache_waits_for_nobody(
    sources: list[FileSource], workers: Workers, groups: list[int], alone: list[str]
) -> None:
    sources[0].in_cache = False

    async def main() -> None:
        with HashTogether.of(workers).alone(workers):
            assert await hashed(sources[0], workers, lambda _: None) == expected(sources[0])

    asyncio.run(main())
    assert (groups, alone) == ([], ["0"])


def test_a_file_that_is_cut_while_it_waits_fails_alone(
    sources: list[FileSource], workers: Workers, groups: list[int], alone: list[str]
) -> None:
    rewrite(Path(sources[5].path), content_of(10))
    found = asyncio.run(together(sources, workers))
    for index, (source, result) in enumerate(zip(sources, found, strict=True)):
        if index == 5:
            assert isinstance(result, SourceChangedError)
            assert result.path == source.path
        else:
            assert result == expected(source)
    assert groups == [len(SIZES)]
    assert "5" in alone


def test_a_file_that_was_written_to_fails_alone(
    sources: list[FileSource], workers: Workers, groups: list[int], alone: list[str]
) -> None:
    rewrite(Path(sources[6].path), bytes(sources[6].size))
    found = asyncio.run(together(sources, workers))
    assert isinstance(found[6], SourceChangedError)
    assert found[:6] == [expected(source) for source in sources[:6]]
    assert found[7:] == [expected(source) for source in sources[7:]]
    assert alone == ["6"]


def test_if_the_hashing_together_fails_each_file_is_hashed_alone(
    sources: list[FileSource], workers: Workers, alone: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(group: object) -> None:
        raise MemoryError

    monkeypatch.setattr(hash_together, "_hash_group", fail)
    assert asyncio.run(together(sources, workers)) == [expected(source) for source in sources]
    assert len(alone) == len(SIZES)


def test_without_a_thread_each_file_fails(sources: list[FileSource], workers: Workers) -> None:
    workers.end()
    found = asyncio.run(together(sources, workers))
    assert all(isinstance(error, CosxferError) and "no thread is available" in str(error) for error in found)


@pytest.mark.parametrize("why", ["large", "read", "whole", "few lanes"])
def test_who_gains_nothing_does_not_wait(
    tmp_path: Path, workers: Workers, groups: list[int], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    path = write(tmp_path / "f", ASKED_BYTES + 1 if why == "large" else MIB)
    whole = hashing.Md5() if why == "whole" else None
    if why == "few lanes":
        monkeypatch.setattr(hashing, "lanes", lambda: 2)

    async def main() -> None:
        with FileSource.open(path) as source:
            source.in_cache = True
            if why == "read":
                source._mapping = None
            batch = [PartRange(number=1, offset=0, length=source.size)]
            with HashTogether.of(workers).alone(workers):
                ahead = HashAhead(source, executor=workers, on_hashed=lambda _: None, whole=whole)
                [part] = [part async for part in ahead.hash([batch])]
        assert part.md5 == hashlib.md5(content_of(source.size)).digest()

    asyncio.run(main())
    assert groups == []


def test_a_caller_that_is_cancelled_while_it_waits_is_not_hashed(
    sources: list[FileSource], workers: Workers, groups: list[int]
) -> None:
    async def main() -> None:
        with HashTogether.of(workers).alone(workers):
            tasks = [asyncio.ensure_future(hashed(source, workers, lambda _: None)) for source in sources]
            await asyncio.sleep(0)
            tasks[3].cancel()
            with pytest.raises(asyncio.CancelledError):
                await tasks[3]
        assert await asyncio.gather(*tasks[:3], *tasks[4:]) == [
            expected(source) for source in sources[:3] + sources[4:]
        ]

    asyncio.run(main())
    assert groups == [len(SIZES) - 1]


def test_a_caller_that_is_cancelled_while_it_is_hashed_waits_for_the_thread(
    sources: list[FileSource], workers: Workers, groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go = threading.Event(), threading.Event()

    class Held(hashing.PartHasher):
        def advance(self, max_bytes: int) -> int:
            entered.set()
            assert go.wait(30)
            return super().advance(max_bytes)

    monkeypatch.setattr(hash_together.hashing, "PartHasher", Held)

    async def main() -> None:
        with HashTogether.of(workers).alone(workers):
            tasks = [asyncio.ensure_future(hashed(source, workers, lambda _: None)) for source in sources]
            await asyncio.sleep(0)
        await asyncio.to_thread(entered.wait, 30)
        for _ in range(2):
            tasks[3].cancel()
            for _ in range(5):
                await asyncio.sleep(0)
            assert not tasks[3].done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await tasks[3]
        assert await asyncio.gather(*tasks[:3], *tasks[4:]) == [
            expected(source) for source in sources[:3] + sources[4:]
        ]

    asyncio.run(main())
    assert groups == [len(SIZES)]
