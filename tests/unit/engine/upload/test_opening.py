"""Opening files: small ones are read and hashed at once, and a slow one does not delay others."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from cosxfer import _native
from cosxfer._native import hashing
from cosxfer.engine import thread_count
from cosxfer.engine.upload import file_threads, opening
from cosxfer.engine.upload.digests import SMALL_BYTES
from cosxfer.engine.upload.native_files import HASHED_IN_LANES_BYTES, TAKEN_AT_ONCE
from cosxfer.engine.upload.opening import Opener
from cosxfer.errors import CosxferError, SourceError
from cosxfer.sources import FileSource, SmallFile
from tests.native.blocking_digest import digest_that_calls
from tests.unit.files import content_of, write

T = TypeVar("T")

KINDS = ["python"] if _native.FileService is None else ["native", "python"]


@pytest.fixture(params=KINDS, autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The kind of threads that do the work."""
    if request.param == "python":
        monkeypatch.setattr(opening, "FileService", None)
    return str(request.param)


LONG = HASHED_IN_LANES_BYTES + 1
"""The size of a file that a native thread hashes itself."""


def before_each_long_file(kind: str, monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]) -> None:
    """Call ``call`` in each thread that reads a file of `LONG` bytes, to simulate a slow file system."""
    if kind == "native":
        monkeypatch.setattr(hashing, "digest_function", digest_that_calls(call))
        return
    read = SmallFile.read

    def reading(path: str | os.PathLike[str], max_bytes: int) -> SmallFile | None:
        small = read(path, max_bytes)
        if small is not None and small.size == LONG:
            call()
        return small

    monkeypatch.setattr(SmallFile, "read", reading)


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


def await_all_done(opener: Opener, count: int) -> None:
    """Wait until the threads have done ``count`` files, without running the loop, as if it was busy."""
    if opener._native is not None:
        opener._native._service.announce()  # the loop would do it: a thread that was faster than this one sleeps
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        done = len(opener._threads._line.done) if opener._native is None else opener._native._service.done
        if done == count:
            return
        time.sleep(0.001)
    raise AssertionError(f"{count} files are not done after 30 s")


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


def test_files_read_since_the_last_turn_are_hashed_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = TAKEN_AT_ONCE + 8
    paths = [write(tmp_path / str(number), 100 + number) for number in range(count)]
    batches: list[int] = []
    hash_parts = hashing.hash_parts

    def counted(buffers: list[bytes]) -> list[hashing.PartDigest]:
        batches.append(len(buffers))
        return hash_parts(buffers)

    monkeypatch.setattr(hashing, "hash_parts", counted)

    async def open_all(opener: Opener) -> None:
        waiting = [asyncio.ensure_future(opener.open(path, small_bytes=SMALL_BYTES)) for path in paths]
        await asyncio.sleep(0)
        await_all_done(opener, count)
        for path, (_, digest) in zip(paths, await asyncio.gather(*waiting), strict=True):
            assert digest == hash_parts([path.read_bytes()])[0]

    with_opener(open_all)
    assert batches == [TAKEN_AT_ONCE, 8]


def test_a_file_before_a_slow_one_is_not_delayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The thread does not announce the first one, because the other one waits for it; and then it is busy."""
    first, slow = write(tmp_path / "first", 10), write(tmp_path / "slow", LONG)
    responds = threading.Event()
    before_each_long_file(kind, monkeypatch, lambda: responds.wait(30))

    async def open_both(opener: Opener) -> None:
        quick, other = (asyncio.ensure_future(opener.open(path, small_bytes=SMALL_BYTES)) for path in (first, slow))
        await quick
        assert not other.done()
        responds.set()
        await other

    with_opener(open_both)


def test_a_slow_file_does_not_delay_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    slow, *others = [write(tmp_path / str(number), 10 if number else LONG) for number in range(5)]
    responds = threading.Event()
    before_each_long_file(kind, monkeypatch, lambda: responds.wait(30))

    async def open_all(opener: Opener) -> None:
        first = asyncio.ensure_future(opener.open(slow, small_bytes=SMALL_BYTES))
        await asyncio.gather(*(opener.open(path, small_bytes=SMALL_BYTES) for path in others))
        assert not first.done()
        responds.set()
        await first

    with_opener(open_all)
    assert responds.is_set()


def test_slow_files_are_opened_in_parallel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    paths = [write(tmp_path / str(number), LONG) for number in range(thread_count.MAX_THREADS)]
    together = threading.Barrier(len(paths))
    # Each thread waits until all have arrived.
    before_each_long_file(kind, monkeypatch, lambda: together.wait(30))

    async def open_all(opener: Opener) -> None:
        await asyncio.gather(*(opener.open(path, small_bytes=SMALL_BYTES) for path in paths))

    with_opener(open_all)
    assert not together.broken


def test_extra_threads_end_when_the_file_system_is_fast_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(thread_count, "SLOW_SECONDS", -1.0)  # no time to wait
    paths = [write(tmp_path / str(number), LONG) for number in range(4)]
    together = threading.Barrier(len(paths))
    before_each_long_file(kind, monkeypatch, lambda: together.wait(30))

    async def open_all(opener: Opener) -> None:
        await asyncio.gather(*(opener.open(path, small_bytes=SMALL_BYTES) for path in paths))
        quick = write(tmp_path / "quick", 10)
        async with asyncio.timeout(30):
            while number_of_threads(opener) > 1:
                await opener.open(quick, small_bytes=SMALL_BYTES)

    with_opener(open_all)


def number_of_threads(opener: Opener) -> int:
    return opener._threads._line.threads if opener._native is None else opener._native._service.threads


def test_fast_files_are_opened_by_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_count, "PATIENCE_SECONDS", 60.0)
    paths = [write(tmp_path / str(number), 10) for number in range(100)]
    counts: list[int] = []

    async def open_all(opener: Opener) -> None:
        async def one(path: Path) -> None:
            await opener.open(path, small_bytes=SMALL_BYTES)
            counts.append(number_of_threads(opener))

        await asyncio.gather(*(one(path) for path in paths))

    with_opener(open_all)
    assert counts == [1] * len(paths)


def test_a_file_whose_caller_was_cancelled_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    closers = noting_who_closes(monkeypatch)

    async def give_up(opener: Opener) -> None:
        waiting = asyncio.ensure_future(opener.open(path, small_bytes=SMALL_BYTES))
        await asyncio.to_thread(begun.wait, 30)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        may_end.set()
        while not closers:  # noqa: ASYNC110 # there is nothing to wait for
            await asyncio.sleep(0.001)

    with_opener(give_up)
    assert closers == ["a thread"]
    with pytest.raises(ValueError, match="is closed"):
        opened[0].check()


def test_a_file_whose_caller_is_cancelled_when_it_arrives_is_closed_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "f", SMALL_BYTES + 1)
    closers = noting_who_closes(monkeypatch)
    deliver = file_threads._Opening.deliver
    waiting: list[asyncio.Future[object]] = []

    def delivered(self: file_threads._Opening) -> None:
        deliver(self)
        waiting[0].cancel()  # it has its result, but has not run since

    monkeypatch.setattr(file_threads._Opening, "deliver", delivered)

    async def give_up(opener: Opener) -> None:
        waiting.append(asyncio.ensure_future(opener.open(path, small_bytes=SMALL_BYTES)))
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        while not closers:  # noqa: ASYNC110 # there is nothing to wait for
            await asyncio.sleep(0.001)

    with_opener(give_up)
    assert closers == ["a thread"]


def noting_who_closes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    closers: list[str] = []
    close = FileSource.close

    def noted(self: FileSource) -> None:
        close(self)
        closers.append("a thread" if asyncio._get_running_loop() is None else "the event loop")

    monkeypatch.setattr(FileSource, "close", noted)
    return closers


def test_if_no_thread_can_start_every_open_fails(tmp_path: Path) -> None:
    path = write(tmp_path / "f", 10)

    async def after_the_end(opener: Opener) -> None:
        small, _ = await opener.open(path, small_bytes=SMALL_BYTES)
        assert isinstance(small, SmallFile)
        opener.close()  # as at interpreter exit
        with pytest.raises(CosxferError, match="shutdown"):
            await opener.check(small)
        for _ in range(2):
            with pytest.raises(CosxferError, match="shutdown"):
                await opener.open(path, small_bytes=SMALL_BYTES)

    with_opener(after_the_end)
