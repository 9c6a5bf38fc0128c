"""Bodies in pieces: the last piece waits for the end of the body, and buffering keeps all of it or fails."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import hashlib
import io
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer._native import hashing
from cosxfer.cos.requests import Buffer
from cosxfer.engine.upload import stream_body
from cosxfer.engine.upload.stream_body import IN_MEMORY_BYTES, StreamBody, batches, bytes_of, pieces_of, spool, view_of
from cosxfer.errors import SourceError, UsageError
from cosxfer.limits import GIB, KIB, MIB
from cosxfer.threads import Workers
from tests.unit.files import content_of

NAME = "<generator>"
Ask = Callable[[Iterable[Buffer]], Any]


async def one_by_one(pieces: Iterable[Buffer]) -> AsyncIterator[Buffer]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


BOTH: dict[str, Ask] = {"sync": iter, "async": one_by_one}

both = pytest.mark.parametrize("ask", BOTH.values(), ids=BOTH.keys())


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_body, "BATCH_BYTES", 4)


async def sent(body: StreamBody) -> tuple[bytes, Exception | None]:
    """Return the bytes that a transport reads, and the error that ends them."""
    content = b""
    try:
        async for piece in body:
            content += piece
    except Exception as error:
        return content, error
    return content, None


# -- sent without buffering -------------------------------------------------------------------------------------------

PIECES = {
    "one piece": [b"0123456789"],
    "single bytes": [bytes([48 + n]) for n in range(10)],
    "empty ones between": [b"", b"01", b"", b"", b"23456789", b""],
    "a batch at the end": [b"012345", b"6789"],
}


@both
@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES.keys())
def test_pieces_of_the_announced_length_are_sent_with_their_crc64(
    workers: Workers, small_batches: None, ask: Ask, pieces: list[bytes]
) -> None:
    body = StreamBody(ask(pieces), 10, executor=workers, name=NAME)
    assert asyncio.run(sent(body)) == (b"0123456789", None)
    assert body.crc64 == hashing.crc64(b"0123456789")


@both
def test_the_last_piece_is_sent_after_the_end_of_the_body(workers: Workers, small_batches: None, ask: Ask) -> None:
    asked: list[str] = []

    def produce() -> Iterator[bytes]:
        for piece in (b"0123", b"4567", b"89ab"):
            asked.append(piece.decode())
            yield piece
        asked.append("the end")

    async def main() -> list[tuple[bytes, str]]:
        body = StreamBody(ask(produce()), 12, executor=workers, name=NAME)
        return [(piece, asked[-1]) async for piece in body]

    assert asyncio.run(main()) == [(b"0123", "4567"), (b"4567", "89ab"), (b"89ab", "the end")]


@both
@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES.keys())
@pytest.mark.parametrize(("length", "actual"), [(9, "more than that: "), (11, "10 bytes"), (1, "more than that: ")])
def test_a_body_of_another_length_never_completes_its_request(
    workers: Workers, small_batches: None, ask: Ask, pieces: list[bytes], length: int, actual: str
) -> None:
    content, error = asyncio.run(sent(StreamBody(ask(pieces), length, executor=workers, name=NAME)))
    assert len(content) < length
    assert b"0123456789".startswith(content)
    assert isinstance(error, UsageError)
    assert error.name == "content_length"
    assert f"content_length is {length}, but the body {NAME} is {actual}" in str(error)


@both
def test_an_endless_body_is_read_only_until_its_length_is_exceeded(
    workers: Workers, small_batches: None, ask: Ask
) -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x"

    content, error = asyncio.run(sent(StreamBody(ask(endless()), 10, executor=workers, name=NAME)))
    assert isinstance(error, UsageError)
    assert len(content) < 10
    assert read <= 10 + 2 * 4


def test_a_body_starts_with_its_first_reader(workers: Workers) -> None:
    async def main() -> tuple[bool, bool]:
        body = StreamBody(iter([b"ab"]), 2, executor=workers, name=NAME)
        before = body.started
        async for _ in body:
            pass
        return before, body.started

    assert asyncio.run(main()) == (False, True)


# -- batches ----------------------------------------------------------------------------------------------------------


def collected(workers: Workers, pieces: object) -> list[bytes]:
    async def main() -> list[bytes]:
        return [batch async for batch in batches(pieces, executor=workers, name=NAME)]  # type: ignore[arg-type]

    return asyncio.run(main())


@both
def test_small_pieces_are_collected_and_large_ones_are_not_cut(workers: Workers, small_batches: None, ask: Ask) -> None:
    pieces = [b"a", b"b", b"c", b"defghi", b"", b"jklmnopq", b"r"]
    assert collected(workers, ask(pieces)) == [b"abcdefghi", b"jklmnopq", b"r"]


@both
def test_a_producer_may_reuse_its_buffer(workers: Workers, small_batches: None, ask: Ask) -> None:
    def produce() -> Iterator[bytearray]:
        buffer = bytearray(4)
        for letter in b"abc":
            buffer[:] = bytes([letter]) * 4
            yield buffer

    assert collected(workers, ask(produce())) == [b"aaaa", b"bbbb", b"cccc"]


def test_a_blocking_producer_does_not_delay_hashing(workers: Workers) -> None:
    threads: list[str] = []

    def produce() -> Iterator[bytes]:
        threads.append(threading.current_thread().name)
        yield b"a"

    collected(workers, produce())
    assert threads[0].startswith("cosxfer-body")


# -- buffered ---------------------------------------------------------------------------------------------------------


def keep(workers: Workers, pieces: object, largest: int = GIB) -> tuple[int, hashing.PartDigest, bytes, bytes]:
    """Buffer a body and read it twice."""

    async def main() -> tuple[int, hashing.PartDigest, bytes, bytes]:
        async with spool(pieces, executor=workers, largest=largest, name=NAME) as kept:  # type: ignore[arg-type]
            return kept.size, kept.digest, b"".join(kept.body), b"".join(kept.body)

    return asyncio.run(main())


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[io.BufferedRandom]:
    """The temporary files that were created."""
    files: list[io.BufferedRandom] = []

    def make(*arguments: object, **options: object) -> io.BufferedRandom:
        file = (tmp_path / f"temporary-{len(files)}").open("w+b")
        files.append(file)
        return file

    monkeypatch.setattr(tempfile, "TemporaryFile", make)
    return files


@both
@pytest.mark.parametrize("size", [0, 1, IN_MEMORY_BYTES, IN_MEMORY_BYTES + 1, 3 * MIB + 5])
def test_a_body_of_more_than_1_mib_is_buffered_on_disk_and_closed(
    workers: Workers, disk: list[io.BufferedRandom], ask: Ask, size: int
) -> None:
    content = content_of(size)
    pieces = [content[first : first + 100_000] for first in range(0, size, 100_000)]
    kept_size, digest, first, second = keep(workers, ask(pieces))
    assert (kept_size, first, second) == (size, content, content)
    assert digest == (hashlib.md5(content).digest(), hashing.crc64(content), size)
    assert len(disk) == (size > IN_MEMORY_BYTES)
    assert all(file.closed for file in disk)


@both
def test_a_body_beyond_the_limit_is_refused_and_not_read_further(
    workers: Workers, small_batches: None, ask: Ask
) -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x"

    with pytest.raises(UsageError, match="more than 10 bytes"):
        keep(workers, ask(endless()), largest=10)
    assert read <= 10 + 4
    assert keep(workers, ask([b"0123456789"]), largest=10)[0] == 10
    with pytest.raises(UsageError):
        keep(workers, ask([b"01234567", b"89a"]), largest=10)


class FullDisk(io.FileIO):
    """A file on a disk that has room for ``room`` bytes."""

    room = 0

    def write(self, block: Any, /) -> int:
        taken = min(len(memoryview(block)), self.room - self.tell())
        if taken <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(memoryview(block)[:taken])


@both
@pytest.mark.parametrize(
    "room",
    [0, IN_MEMORY_BYTES + 100 * KIB, 2 * MIB, 2 * MIB + 500],
    ids=["when it is made", "in the middle", "just before the end", "when its buffer is written"],
)
def test_a_full_disk_is_an_error_of_the_source_and_ends_the_reading(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ask: Ask, room: int
) -> None:
    size = 2 * MIB + 1000
    files: list[io.BufferedRandom] = []
    asked = 0

    def make(*arguments: object, **options: object) -> io.BufferedRandom:
        raw = FullDisk(tmp_path / "temporary", "w+b")
        raw.room = room
        files.append(io.BufferedRandom(raw, 64 * KIB))
        return files[-1]

    def produce() -> Iterator[bytes]:
        nonlocal asked
        for first in range(0, size, 64 * KIB):
            asked += 1
            yield content_of(size)[first : first + 64 * KIB]

    monkeypatch.setattr(tempfile, "TemporaryFile", make)
    with pytest.raises(SourceError) as caught:
        keep(workers, ask(produce()))
    folder = tempfile.gettempdir()
    assert str(caught.value) == f"cannot keep the body in {folder}: {os.strerror(errno.ENOSPC)}"
    assert caught.value.path == folder
    assert isinstance(caught.value.__cause__, OSError)
    assert asked <= room // (64 * KIB) + 24
    assert all(file.closed for file in files)


def test_a_missing_temporary_directory_is_reported(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(SourceError) as caught:
        keep(workers, iter([bytes(IN_MEMORY_BYTES + 1)]))
    assert str(caught.value) == (
        "cannot keep the body in a temporary file: No usable temporary directory found in ['/tmp']"
    )


def test_the_temporary_file_is_used_only_in_threads(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    used: dict[str, set[int]] = {"write": set(), "seek": set(), "close": set()}

    class Watched(tempfile.SpooledTemporaryFile):  # type: ignore[type-arg]
        def write(self, block: Any) -> int:
            used["write"].add(threading.get_ident())
            return super().write(block)

        def seek(self, *arguments: int) -> int:
            used["seek"].add(threading.get_ident())
            return super().seek(*arguments)

        def close(self) -> None:
            used["close"].add(threading.get_ident())
            super().close()

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Watched)

    async def main() -> None:
        async with spool(iter([content_of(2 * MIB)]), executor=workers, largest=GIB, name=NAME) as kept:
            assert kept.size == 2 * MIB

    asyncio.run(main())
    assert all(used.values())
    assert threading.get_ident() not in set().union(*used.values())


# -- producers that fail ----------------------------------------------------------------------------------------------


def raising(error: BaseException) -> Iterator[bytes]:
    yield b"abc"
    raise error


@both
@pytest.mark.parametrize("error", [ValueError("it broke"), OSError(5, "Input/output error"), asyncio.CancelledError()])
def test_an_exception_of_a_producer_is_a_source_error(workers: Workers, ask: Ask, error: BaseException) -> None:
    with pytest.raises(SourceError) as caught:
        keep(workers, ask(raising(error)))
    assert str(caught.value) == f"the body {NAME} failed while it was read: {type(error).__name__}: {error}"
    assert caught.value.__cause__ is error


@both
def test_a_cosxfer_error_of_a_producer_is_raised_unchanged(workers: Workers, ask: Ask) -> None:
    error = cosxfer.TransportError("a download broke", url="https://example.com")
    with pytest.raises(cosxfer.TransportError) as caught:
        keep(workers, ask(raising(error)))
    assert caught.value is error


def test_a_cancelled_caller_gets_no_error_of_its_producer(workers: Workers, disk: list[io.BufferedRandom]) -> None:
    async def main() -> None:
        waits = asyncio.Event()

        async def produce() -> AsyncIterator[bytes]:
            yield content_of(IN_MEMORY_BYTES + 1)
            waits.set()
            await asyncio.Event().wait()

        async def send() -> None:
            async with spool(produce(), executor=workers, largest=GIB, name=NAME):
                raise AssertionError

        task = asyncio.ensure_future(send())
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [file.closed for file in disk] == [True]


@both
@pytest.mark.parametrize("piece", ["text", 7, None, [1]])
def test_a_piece_that_is_not_bytes_is_refused(workers: Workers, ask: Ask, piece: object) -> None:
    with pytest.raises(UsageError, match=f"{NAME} yields {type(piece).__name__}; its pieces must be bytes"):
        keep(workers, ask([b"abc", piece]))  # type: ignore[list-item]


def test_a_body_that_cannot_be_iterated_is_refused_with_the_reason() -> None:
    class Broken:
        def __iter__(self) -> Iterator[bytes]:
            raise RuntimeError("not today")

    with pytest.raises(UsageError, match="<Broken> cannot be iterated over: RuntimeError: not today"):
        pieces_of(Broken())


# -- views ------------------------------------------------------------------------------------------------------------


class Number(ctypes.Structure):
    _fields_ = (("O", ctypes.c_int), ("b", ctypes.c_ubyte))


class Holder(ctypes.Structure):
    _fields_ = (("a", ctypes.c_int), ("held", ctypes.py_object))


@pytest.mark.parametrize("array", [(ctypes.c_int * 3)(1, 2, 3), (Number * 2)(Number(1, 2)), (ctypes.c_int * 0)()])
def test_a_view_of_any_item_type_gives_its_bytes(array: Any) -> None:
    view = bytes_of(memoryview(array))
    assert (view.format, view.ndim) == ("B", 1)
    assert view == bytes(array)


@pytest.mark.parametrize("array", [(ctypes.py_object * 2)(1, 2), (Holder * 2)()])
def test_a_view_of_objects_is_refused_even_in_a_structure(array: Any) -> None:
    # Their bytes are memory addresses.
    with pytest.raises(UsageError, match="a view of Python objects"):
        bytes_of(memoryview(array))


def test_a_view_that_was_released_is_refused() -> None:
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(UsageError, match=r"cannot be read: .*released"):
        view_of(view)


@both
def test_pieces_may_be_non_contiguous_views(workers: Workers, ask: Ask) -> None:
    assert keep(workers, ask([memoryview(b"a-b-c")[::2], memoryview(b"xyz")[::-1]]))[2] == b"abczyx"
