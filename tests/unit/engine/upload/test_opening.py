"""The opening of files: small ones read and hashed on the way, and a slow one that holds nobody up."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from cosxfer._native import hashing
from cosxfer.engine.upload import opening
from cosxfer.engine.upload.digests import SMALL_BYTES
from cosxfer.engine.upload.opening import HASHED_IN_LANES_BYTES, LOOKED_AT_ONCE, Opener
from cosxfer.errors import CosxferError, SourceError
from cosxfer.sources import FileSource, SmallFile
from tests.unit.files import content_of, write

T = TypeVar("T")


def with_opener(work: Callable[[Opener], Awaitable[T]]) -> T:
    async def main() -> T:
        opener = Opener()
        try:
            async with asyncio.timeout(30):
                return await work(opener)
        finally:
            opener.close()

    return asyncio.run(main())


@pytest.mark.parametrize("size", [1, HASHED_IN_LANES_BYTES, HASHED_IN_LANES_BYTES + 1, SMALL_BYTES])
def test_a_small_file_is_read_and_hashed(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "f", size)
    source, digest = with_opener(lambda opener: opener.open(path, small_bytes=SMALL_BYTES))
    assert isinstance(source, SmallFile)
    assert source.content == content_of(size)
    assert digest == hashing.hash_parts([content_of(size)])[0]


@pytest.mark.parametrize(("size", "small"), [(SMALL_BYTES + 1, 2 * SMALL_BYTES), (101, 100), (100, 0), (0, 100)])
def test_a_longer_file_and_an_empty_one_are_mapped_and_hashed_later(tmp_path: Path, size: int, small: int) -> None:
    source, digest = with_opener(lambda opener: opener.open(write(tmp_path / "f", size), small_bytes=small))
    assert isinstance(source, FileSource)
    assert digest is None
    source.close()


def test_each_file_has_its_own_outcome(tmp_path: Path) -> None:
    paths = [write(tmp_path / str(number), number) for number in range(100)]
    for path in paths[::7]:
        path.unlink()

    async def open_all(opener: Opener) -> list[object]:
        waiting = (opener.open(path, small_bytes=SMALL_BYTES) for path in paths)
        return list(await asyncio.gather(*waiting, return_exceptions=True))

    for number, outcome in enumerate(with_opener(open_all)):
        if number % 7 == 0:
            assert isinstance(outcome, SourceError)
            assert str(paths[number]) in str(outcome)
        else:
            assert isinstance(outcome, tuple)
            assert outcome[0].path == str(paths[number])
            assert outcome[1] == hashing.hash_parts([content_of(number)])[0]


def test_what_was_read_since_the_last_turn_is_hashed_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = LOOKED_AT_ONCE + 8
    paths = [write(tmp_path / str(number), 100 + number) for number in range(count)]
    batches: list[int] = []
    hash_parts = hashing.hash_parts

    def counted(buffers: list[bytes]) -> list[hashing.PartDigest]:
        batches.append(len(buffers))
        return hash_parts(buffers)

    monkeypatch.setattr(opening.hashing, "hash_parts", counted)

    async def open_all(opener: Opener) -> None:
        waiting = [asyncio.ensure_future(opener.open(path, small_bytes=SMALL_BYTES)) for path in paths]
        await asyncio.sleep(0)
        while len(opener._line.done) < count:
            time.sleep(0.001)  # noqa: ASYNC251 # the loop is busy elsewhere
        for path, (_, digest) in zip(paths, await asyncio.gather(*waiting), strict=True):
            assert digest == hash_parts([path.read_bytes()])[0]

    with_opener(open_all)
    assert batches == [LOOKED_AT_ONCE, 8]


def test_a_slow_file_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, *others = [write(tmp_path / str(number), 10) for number in range(5)]
    answers = threading.Event()
    read = SmallFile.read

    def hanging(path: str | os.PathLike[str], max_bytes: int) -> SmallFile | None:
        if path == slow:
            answers.wait(30)
        return read(path, max_bytes)

    monkeypatch.setattr(SmallFile, "read", hanging)

    async def open_all(opener: Opener) -> None:
        first = asyncio.ensure_future(opener.open(slow, small_bytes=SMALL_BYTES))
        await asyncio.gather(*(opener.open(path, small_bytes=SMALL_BYTES) for path in others))
        assert not first.done()
        answers.set()
        await first

    with_opener(open_all)
    assert answers.is_set()


def test_where_files_come_slowly_they_are_opened_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write(tmp_path / str(number), 10) for number in range(16)]
    together = threading.Barrier(len(paths))
    read = SmallFile.read

    def slow(path: str | os.PathLike[str], max_bytes: int) -> SmallFile | None:
        together.wait(30)  # nobody goes on before all are there
        return read(path, max_bytes)

    monkeypatch.setattr(SmallFile, "read", slow)

    async def open_all(opener: Opener) -> None:
        await asyncio.gather(*(opener.open(path, small_bytes=SMALL_BYTES) for path in paths))

    with_opener(open_all)


def test_where_files_come_quickly_one_thread_opens_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PATIENCE_SECONDS", 60.0)
    paths = [write(tmp_path / str(number), 10) for number in range(100)]
    at_once: list[int] = []
    read = SmallFile.read

    async def open_all(opener: Opener) -> None:
        def noted(path: str | os.PathLike[str], max_bytes: int) -> SmallFile | None:
            at_once.append(opener._line.threads)
            return read(path, max_bytes)

        monkeypatch.setattr(SmallFile, "read", noted)
        await asyncio.gather(*(opener.open(path, small_bytes=SMALL_BYTES) for path in paths))

    with_opener(open_all)
    assert len(at_once) == len(paths)
    assert set(at_once) == {1}


def test_a_file_that_nobody_waits_for_any_more_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "f", SMALL_BYTES + 1)
    opened: list[FileSource] = []
    begun, may_end = threading.Event(), threading.Event()
    open_file = FileSource.open

    def noted(path: str | os.PathLike[str]) -> FileSource:
        begun.set()
        may_end.wait(30)
        opened.append(open_file(path))
        return opened[-1]

    monkeypatch.setattr(FileSource, "open", noted)

    async def give_up(opener: Opener) -> None:
        waiting = asyncio.ensure_future(opener.open(path, small_bytes=SMALL_BYTES))
        await asyncio.to_thread(begun.wait, 30)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        may_end.set()
        while not opened or opened[0]._fd >= 0:  # noqa: ASYNC110 # there is nothing to wait for
            await asyncio.sleep(0.001)

    with_opener(give_up)
    with pytest.raises(ValueError, match="is closed"):
        opened[0].check()


def test_where_no_thread_can_be_started_the_open_fails_and_a_later_one_too(tmp_path: Path) -> None:
    path = write(tmp_path / "f", 10)

    async def after_the_end(opener: Opener) -> None:
        opener.close()  # as at the interpreter's end
        for _ in range(2):
            with pytest.raises(CosxferError, match="shutdown"):
                await opener.open(path, small_bytes=SMALL_BYTES)

    with_opener(after_the_end)
