"""A file written by threads: in order, whole or not at all, with bounded memory for waiting pieces."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.ops.file_writer import BATCH_BYTES, FULL_BYTES, FileWriter
from cosxfer.targets import PartFile
from cosxfer.threads import Pool
from tests.unit.fake_cos import BUCKET, FakeCos, Stored

PIECE = b"p" * 65536


class SlowDisk:
    """Blocks each write in its thread until it is released, and records the threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writing = threading.Semaphore(0)
        self.go = threading.Event()
        self.written: list[int] = []
        self.closed_while_writing = False
        self._inside = 0
        self._write, self._discard = PartFile.write, PartFile.discard
        monkeypatch.setattr(PartFile, "write", lambda part, pieces: self.write(part, pieces))
        monkeypatch.setattr(PartFile, "discard", lambda part: self.discard(part))

    def write(self, part: PartFile, pieces: Sequence[bytes | memoryview]) -> None:
        assert threading.current_thread() is not threading.main_thread()
        self._inside += 1
        self.writing.release()
        self.go.wait(30)
        self._write(part, pieces)
        self.written.append(sum(map(len, pieces)))
        self._inside -= 1

    def discard(self, part: PartFile) -> None:
        self.closed_while_writing |= bool(self._inside)
        self._discard(part)

    async def come(self) -> None:
        await asyncio.to_thread(self.writing.acquire)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    return SlowDisk(monkeypatch)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run(use: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(use())


def test_pieces_are_gathered_before_a_thread_writes_them(disk: SlowDisk, tmp_path: Path) -> None:
    async def use() -> None:
        writer = await FileWriter.open(tmp_path / "f", None)
        disk.go.set()
        for _ in range(16):
            writer.write(PIECE[: BATCH_BYTES // 16])
        await disk.come()
        writer.write(b"end")
        await writer.finish()

    run(use)
    assert disk.written == [BATCH_BYTES, 3]
    assert (tmp_path / "f").read_bytes() == b"p" * BATCH_BYTES + b"end"


def test_memory_is_bounded_on_a_slow_disk(disk: SlowDisk, tmp_path: Path) -> None:
    async def use() -> None:
        writer = await FileWriter.open(tmp_path / "f", None)
        pieces = 0
        while (room := writer.write(PIECE)) is None:
            pieces += 1
        assert pieces * len(PIECE) < FULL_BYTES
        assert writer.write(PIECE) is room
        assert not room.done()
        disk.go.set()
        await room
        await writer.finish()

    run(use)
    assert (tmp_path / "f").stat().st_size == sum(disk.written) == FULL_BYTES + len(PIECE)


def test_a_second_attempt_overwrites_the_first(disk: SlowDisk, tmp_path: Path) -> None:
    async def use() -> None:
        writer = await FileWriter.open(tmp_path / "f", None)
        room = None
        while room is None:
            room = writer.write(PIECE)
        await disk.come()
        writer.restart()
        assert room.done()  # a caller that waits for room continues
        writer.write(b"second")
        disk.go.set()
        await writer.finish()

    run(use)
    assert (tmp_path / "f").read_bytes() == b"second"


def test_a_disk_error_ends_the_wait_and_is_raised_by_the_next_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(part: PartFile, pieces: Sequence[bytes | memoryview]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PartFile, "write", full)

    async def use() -> None:
        writer = await FileWriter.open(tmp_path / "f", None)
        room = None
        while room is None:
            room = writer.write(PIECE)
        await room
        for call in (lambda: writer.write(b"more"), writer.restart):
            with pytest.raises(cosxfer.CosxferError, match=r"cannot write .*No space left"):
                call()
        with pytest.raises(cosxfer.CosxferError, match="No space left"):
            await writer.finish()
        await writer.discard()

    run(use)
    assert not names(tmp_path)


def hanging(pieces: int) -> tuple[Callable[..., Awaitable[HttpResponse]], asyncio.Event]:
    arrived = asyncio.Event()

    async def hang(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        assert request.on_body is not None
        for _ in range(pieces):
            request.on_body(PIECE)
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    return hang, arrived


def test_a_cancelled_fetch_removes_the_file_after_the_last_write(disk: SlowDisk, tmp_path: Path) -> None:
    cos = FakeCos(objects={"k": Stored(b"content", {}, '"e"')})

    async def use() -> None:
        hang, arrived = hanging(8)
        cos.fault("get_object", hang)
        async with cos.client() as client:
            task = asyncio.create_task(client.get_object(BUCKET, "k", output=tmp_path / "f"))
            await arrived.wait()
            await disk.come()
            for _ in range(3):  # an impatient caller cancels more than once
                task.cancel()
                await asyncio.sleep(0)
            assert not task.done()
            disk.go.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not names(tmp_path)

    run(use)
    assert len(disk.written) == 1
    assert not disk.closed_while_writing


def test_a_fetch_that_is_cancelled_while_the_file_is_opened_leaves_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cos = FakeCos()
    opened, go = threading.Event(), threading.Event()
    init = PartFile.__init__

    def slowly(part: PartFile, path: Path) -> None:
        init(part, path)
        opened.set()
        go.wait(30)

    monkeypatch.setattr(PartFile, "__init__", slowly)

    async def use() -> None:
        async with cos.client() as client:
            task = asyncio.create_task(client.get_object(BUCKET, "k", output=tmp_path / "f"))
            await asyncio.to_thread(opened.wait)
            task.cancel()
            await asyncio.sleep(0)
            go.set()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(use)
    assert not names(tmp_path)
    assert not cos.calls


def test_a_fetch_that_outlives_its_client_removes_its_file(disk: SlowDisk, tmp_path: Path) -> None:
    cos = FakeCos(objects={"k": Stored(b"content", {}, '"e"')})

    async def use() -> None:
        hang, arrived = hanging(8)
        cos.fault("get_object", hang)
        client = cos.client()
        task = asyncio.create_task(client.get_object(BUCKET, "k", output=tmp_path / "f"))
        await arrived.wait()
        await disk.come()
        await client.aclose()  # its threads begin no more work
        disk.go.set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(use)
    assert not names(tmp_path)


def test_a_call_whose_loop_has_ended_removes_its_file(tmp_path: Path) -> None:
    cos = FakeCos(objects={"k": Stored(b"content", {}, '"e"')})
    loop = asyncio.new_event_loop()

    async def use() -> Coroutine[Any, Any, Any]:
        hang, arrived = hanging(1)
        cos.fault("get_object", hang)
        client = cos.client()
        call = client.get_object(BUCKET, "k", output=tmp_path / "f")

        async def wait_for_it() -> None:
            await arrived.wait()

        task = asyncio.ensure_future(call)
        await wait_for_it()
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        client._closed = True  # nobody closes it
        return call

    call = loop.run_until_complete(use())
    assert names(tmp_path)
    call.close()
    loop.close()
    assert not names(tmp_path)


class NoThread(Pool):
    """A pool that cannot start a thread after its first piece of work."""

    def __init__(self) -> None:
        super().__init__(1, "none")
        self.left = 1

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not self.left:
            raise RuntimeError("can't start new thread")
        self.left -= 1
        return super().submit(fn, *args, **kwargs)


def test_if_no_thread_can_start_the_call_fails_and_no_file_remains(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def use() -> None:
        pool = NoThread()
        writer = await FileWriter.open(tmp_path / "f", pool)
        monkeypatch.setattr("cosxfer.threads._SHARED", pool)
        for _ in range(BATCH_BYTES // len(PIECE)):
            writer.write(PIECE)
        with pytest.raises(cosxfer.CosxferError, match="no thread is available"):
            writer.write(PIECE)
        await writer.discard()

    run(use)
    assert not names(tmp_path)
