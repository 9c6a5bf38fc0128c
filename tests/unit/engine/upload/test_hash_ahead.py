"""Hashing ahead: one batch at a time and in order, and a cancelled caller waits for the thread that reads the file."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import types
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from cosxfer._native import hashing, pure_hashing, slicing
from cosxfer.engine.multipart.source import HashedPart
from cosxfer.engine.upload import hash_ahead
from cosxfer.engine.upload.hash_ahead import HashAhead
from cosxfer.errors import CosxferError, SourceChangedError
from cosxfer.limits import KIB
from cosxfer.planning import PartRange, Plan
from cosxfer.sources import FileSource
from cosxfer.threads import Workers
from tests.unit.files import content_of, rewrite, write

PART = 100 * KIB
SIZE = 5 * PART + 77
PLAN = Plan(size=SIZE, part_size_bytes=PART)
BATCHES = [[PLAN.part(1)], [PLAN.part(2), PLAN.part(3)], [PLAN.part(5), PLAN.part(6)]]
"""Part 4 was sent by an earlier run."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "f", SIZE)


@pytest.fixture(params=["mapped", "read"])
def source(path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileSource]:
    if request.param == "read":

        def refuse(*arguments: object) -> object:
            raise OSError(19, "No such device")

        monkeypatch.setattr(slicing, "MappedFile", refuse)
    with FileSource.open(path) as source:
        assert source.mapped == (request.param == "mapped")
        yield source


def expected(part: PartRange) -> HashedPart:
    content = content_of(SIZE)[part.offset : part.offset + part.length]
    return HashedPart(range=part, md5=hashlib.md5(content).digest(), crc64=hashing.crc64(content))


def nothing(amount: int) -> None:
    pass


def test_the_parts_of_all_batches_come_in_order_with_their_digests(source: FileSource, workers: Workers) -> None:
    async def main() -> list[HashedPart]:
        ahead = HashAhead(source, executor=workers, on_hashed=nothing)
        return [part async for part in ahead.hash(BATCHES)]

    assert asyncio.run(main()) == [expected(PLAN.part(number)) for number in (1, 2, 3, 5, 6)]


def test_a_batch_begins_when_the_previous_one_was_taken(source: FileSource, workers: Workers) -> None:
    begun: list[int] = []

    def batches() -> Iterator[list[PartRange]]:
        for index, batch in enumerate(BATCHES):
            begun.append(index)
            yield batch

    async def main() -> list[tuple[int, list[int]]]:
        ahead = HashAhead(source, executor=workers, on_hashed=nothing)
        return [(part.range.number, [*begun]) async for part in ahead.hash(batches())]

    assert asyncio.run(main()) == [(1, [0]), (2, [0, 1]), (3, [0, 1]), (5, [0, 1, 2]), (6, [0, 1, 2])]


def test_a_caller_that_stops_begins_no_further_batch(source: FileSource, workers: Workers) -> None:
    counts: list[int] = []

    async def main() -> None:
        ahead = HashAhead(source, executor=workers, on_hashed=counts.append)
        async with aclosing(ahead.hash(BATCHES)) as parts:
            assert (await anext(parts)).range.number == 1

    asyncio.run(main())
    assert sum(counts) == PART


def test_each_byte_is_counted_once_on_the_event_loop_before_its_part_comes(
    source: FileSource, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_ahead, "ROUND_BYTES", 16 * KIB)
    monkeypatch.setattr(hash_ahead, "QUICK_LANE_BYTES", 16 * KIB)
    counts: list[int] = []
    threads: set[int] = set()

    def on_hashed(amount: int) -> None:
        counts.append(amount)
        threads.add(threading.get_ident())

    async def main() -> list[int]:
        ahead = HashAhead(source, executor=workers, on_hashed=on_hashed)
        return [sum(counts) async for _ in ahead.hash(BATCHES)]

    whole = SIZE - PART
    assert asyncio.run(main()) == [PART, 3 * PART, 3 * PART, whole, whole]
    assert len(counts) > len(BATCHES)
    assert min(counts) > 0
    assert threads == {threading.get_ident()}


def test_the_md5_of_the_whole_file_runs_through_all_batches(source: FileSource, workers: Workers) -> None:
    whole = hashing.Md5()

    async def main() -> None:
        ahead = HashAhead(source, executor=workers, on_hashed=nothing, whole=whole)
        parts = [part async for part in ahead.hash([[PLAN.part(1), PLAN.part(2)], [*PLAN][2:]])]
        assert parts == [expected(part) for part in PLAN]

    asyncio.run(main())
    assert whole.hexdigest() == hashlib.md5(content_of(SIZE)).hexdigest()


def test_an_empty_file_is_one_empty_part(tmp_path: Path, workers: Workers) -> None:
    plan = Plan(size=0, part_size_bytes=PART)

    async def main() -> list[HashedPart]:
        with FileSource.open(write(tmp_path / "empty", 0)) as source:
            ahead = HashAhead(source, executor=workers, on_hashed=nothing)
            return [part async for part in ahead.hash([[*plan]])]

    assert asyncio.run(main()) == [HashedPart(range=plan.part(1), md5=hashlib.md5().digest(), crc64=0)]


def overwrite(path: Path) -> None:
    rewrite(path, b"x" * SIZE)


def replace_by_another(path: Path) -> None:
    write(path.with_name("other"), SIZE).rename(path)


def cut(path: Path) -> None:
    rewrite(path, content_of(SIZE - 1))


@pytest.mark.parametrize(("change", "what"), [(overwrite, "mtime"), (replace_by_another, "inode"), (cut, "size")])
def test_a_file_that_changes_between_batches_ends_with_the_next_one(
    source: FileSource, path: Path, workers: Workers, change: Callable[[Path], None], what: str
) -> None:
    numbers: list[int] = []

    async def main() -> None:
        ahead = HashAhead(source, executor=workers, on_hashed=nothing)
        async for part in ahead.hash(BATCHES):
            numbers.append(part.range.number)
            if numbers == [1]:
                change(path)

    with pytest.raises(SourceChangedError) as caught:
        asyncio.run(main())
    assert numbers == [1]
    assert caught.value.changed == what


@pytest.mark.parametrize("quick", [True, False])
def test_the_twin_releases_what_was_hashed_after_each_round(
    path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch, quick: bool
) -> None:
    monkeypatch.setattr(hash_ahead, "ROUND_BYTES", 16 * KIB)
    monkeypatch.setattr(hash_ahead, "QUICK_LANE_BYTES", 8 * KIB)
    monkeypatch.setattr(hash_ahead, "QUICK_BYTES_PER_SECOND", 0 if quick else 1 << 60)
    monkeypatch.setattr(hash_ahead.hashing, "PartHasher", pure_hashing.PartHasher)
    released: list[tuple[int, int]] = []

    async def main() -> None:
        with FileSource.open(path) as source:
            monkeypatch.setattr(source, "release", lambda offset, length: released.append((offset, offset + length)))
            ahead = HashAhead(source, executor=workers, on_hashed=nothing)
            assert [part.range.number async for part in ahead.hash([BATCHES[1]])] == [2, 3]

    asyncio.run(main())
    for part in BATCHES[1]:
        begin, end = part.offset, part.offset + part.length
        steps = 0
        while begin < end:
            (begin,) = [step[1] for step in released if step[0] == begin < step[1]]
            steps += 1
        assert begin == end
        assert steps > 2


# -- time, with a fake clock ------------------------------------------------------------------------------------------


class Blocks:
    """A file that cannot be mapped. ``on_slice`` is called in a thread for each block."""

    mapped = False

    def __init__(self, on_slice: Callable[[], None], on_check: Callable[[], None] = lambda: None) -> None:
        self._on_slice = on_slice
        self._on_check = on_check

    def slice(self, offset: int, length: int) -> memoryview:
        self._on_slice()
        return memoryview(bytes(length))

    def check(self) -> bool:
        self._on_check()
        return True


def hashing_of(
    source: object, workers: Workers, batches: list[list[PartRange]]
) -> tuple[HashAhead, AsyncGenerator[HashedPart, None]]:
    ahead = HashAhead(source, executor=workers, on_hashed=nothing)  # type: ignore[arg-type] # a fake
    return ahead, ahead.hash(batches)


def test_the_seconds_count_the_hashing_and_not_the_caller(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(hash_ahead, "time", types.SimpleNamespace(monotonic=lambda: clock.now))

    def one_second() -> None:
        clock.now += 1

    async def main() -> float:
        ahead, parts = hashing_of(Blocks(one_second), workers, BATCHES)
        async for _ in parts:
            clock.now += 100
        return ahead.seconds

    assert asyncio.run(main()) == 5.0


# -- cancellation -----------------------------------------------------------------------------------------------------


class Held:
    """Blocks a thread at its first step until `let_go`, and counts the steps."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._go = threading.Event()
        self.entered = asyncio.Event()
        self.steps = 0
        self.ended = False

    def step(self, *arguments: int) -> None:
        self.steps += 1
        self._loop.call_soon_threadsafe(self.entered.set)
        self._go.wait()

    def end(self) -> bool:
        self.ended = True
        return True

    def let_go(self) -> None:
        self._go.set()


async def cancel_twice(held: Held, parts: AsyncGenerator[HashedPart, None]) -> None:
    """Cancel a caller that waits for a batch. It must not return before the thread is done."""
    waiting = asyncio.ensure_future(anext(parts))
    await held.entered.wait()
    for _ in range(2):
        waiting.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        assert not held.ended
    held.let_go()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert held.ended


def test_a_cancelled_caller_waits_for_the_current_block(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_ahead, "ROUND_BYTES", 16 * KIB)

    async def main() -> int:
        held = Held(asyncio.get_running_loop())
        _, parts = hashing_of(Blocks(held.step, lambda: held.end() and None), workers, BATCHES[1:])
        await cancel_twice(held, parts)
        return held.steps

    # The block being read, and none of the other twelve.
    assert asyncio.run(main()) <= 2


def test_a_cancelled_caller_waits_for_the_round_of_a_mapped_file(
    path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_ahead, "ROUND_BYTES", 4 * KIB)
    held: Held

    class Stepped(hashing.PartHasher):
        def advance(self, max_bytes: int) -> int:
            held.step()
            return super().advance(max_bytes)

    async def main() -> int:
        nonlocal held
        held = Held(asyncio.get_running_loop())
        with FileSource.open(path) as source:
            monkeypatch.setattr(hash_ahead.hashing, "PartHasher", Stepped)
            monkeypatch.setattr(source, "check", held.end)
            ahead = HashAhead(source, executor=workers, on_hashed=nothing)
            await cancel_twice(held, ahead.hash([[*PLAN]]))
        return held.steps

    assert asyncio.run(main()) <= PLAN.count  # one round of more than a hundred


def test_without_a_thread_the_error_says_so_and_nothing_is_read(workers: Workers) -> None:
    workers.end()
    read: list[bool] = []

    async def main() -> None:
        _, parts = hashing_of(Blocks(lambda: read.append(True)), workers, BATCHES)
        await anext(parts)

    with pytest.raises(CosxferError, match="no thread is available"):
        asyncio.run(main())
    assert read == []
