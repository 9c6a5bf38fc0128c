"""Bodies of several requests are hashed and written in one job, and each gets its own digests and its own error."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from cosxfer._native import hashing
from cosxfer.errors import CosxferError
from cosxfer.server import write_together
from cosxfer.server.body import BATCH_BYTES, Body
from cosxfer.server.store import BlobWriter
from cosxfer.server.store import files as store_files
from cosxfer.server.store.files import blob_path, prepare, write_batches
from cosxfer.server.write_together import GROUP_BATCHES, WriteTogether

Batches = list[tuple[BlobWriter, Any]]


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=2) as pool:
        yield pool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare(tmp_path)
    return tmp_path


class Held:
    """Replaces `write_batches`: the first job waits until it is let go. Knows the sizes of all groups."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.groups: list[int] = []
        self.go = threading.Event()
        monkeypatch.setattr(write_together, "write_batches", self)

    def __call__(self, batches: Batches) -> list[OSError | None]:
        self.groups.append(len(batches))
        if len(self.groups) == 1:
            assert self.go.wait(60)
        return write_batches(batches)


def check(folder: Path, writer: BlobWriter, content: bytes) -> None:
    writer.keep()
    assert blob_path(folder, writer.blob).read_bytes() == content
    assert (writer.md5, writer.crc64, writer.size) == (
        md5(content, usedforsecurity=False).digest(),
        hashing.crc64(content),
        len(content),
    )


@pytest.mark.parametrize("lanes", [1, 16])
def test_each_writer_gets_its_own_bytes_and_digests(folder: Path, lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "lanes", lambda: lanes)
    choose = random.Random(3)
    writers = [BlobWriter(folder, str(number)) for number in range(5)]
    contents = dict.fromkeys(writers, b"")
    for _ in range(40):
        chosen = choose.sample(writers, choose.randint(1, 5))
        batches = [(w, [choose.randbytes(choose.choice((0, 1, 63, 64, 4000))) for _ in range(2)]) for w in chosen]
        assert write_batches(batches) == [None] * len(batches)
        for writer, chunks in batches:
            contents[writer] += b"".join(chunks)
    for writer, content in contents.items():
        check(folder, writer, content)


@pytest.mark.parametrize("lanes", [1, 16])
def test_a_full_disk_fails_the_body_that_meets_it(folder: Path, lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "lanes", lambda: lanes)
    good, full, last = (BlobWriter(folder, name) for name in ("good", "full", "last"))
    assert full._fd is not None
    os.close(full._fd)
    full._fd = os.open("/dev/full", os.O_WRONLY)
    first, error, third = write_batches([(good, [b"abc"]), (full, [b"abc"]), (last, [b"def"])])
    assert (first, third) == (None, None)
    assert error is not None
    assert "No space left" in str(error)
    full.drop()
    check(folder, good, b"abc")
    check(folder, last, b"def")


def test_what_waits_for_a_thread_goes_together(
    folder: Path, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "lanes", lambda: 100)  # so few batches start no second thread
    held = Held(monkeypatch)
    writers = [BlobWriter(folder, str(number)) for number in range(GROUP_BATCHES + 3)]

    async def write() -> None:
        together = WriteTogether(executor)
        futures = [together.begin(writer, [bytes([number]) * 1000]) for number, writer in enumerate(writers)]
        held.go.set()
        await asyncio.gather(*futures)

    asyncio.run(write())
    assert held.groups == [1, GROUP_BATCHES, 2]
    for number, writer in enumerate(writers):
        check(folder, writer, bytes([number]) * 1000)


def test_what_fills_the_lanes_starts_another_thread(
    folder: Path, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "lanes", lambda: 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    held = Held(monkeypatch)
    writers = [BlobWriter(folder, str(number)) for number in range(9)]

    async def write() -> None:
        together = WriteTogether(executor)
        futures = [together.begin(writer, [b"x"]) for writer in writers]
        # One waits in its thread, the next four use the second one, and the last four wait for either.
        await asyncio.gather(*futures[1:])
        assert not futures[0].done()
        held.go.set()
        await futures[0]

    asyncio.run(write())
    assert held.groups == [1, 4, 4]


def test_a_failed_job_fails_its_bodies_and_no_later_one(
    folder: Path, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, later = BlobWriter(folder, "a"), BlobWriter(folder, "b")

    def fail(batches: Batches) -> list[OSError | None]:
        monkeypatch.setattr(write_together, "write_batches", write_batches)
        raise MemoryError

    async def write() -> None:
        together = WriteTogether(executor)
        monkeypatch.setattr(write_together, "write_batches", fail)
        with pytest.raises(MemoryError):
            await together.begin(writer, [b"x"])
        await together.begin(later, [b"y"])

    asyncio.run(write())
    check(folder, later, b"y")
    writer.drop()


class NoThreads(Executor):
    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        raise RuntimeError("can't start new thread")


def test_without_a_thread_the_body_fails_and_says_so(folder: Path) -> None:
    writer = BlobWriter(folder, "a")

    async def write() -> None:
        written = WriteTogether(NoThreads()).begin(writer, [b"x"])
        with pytest.raises(CosxferError, match="no thread is available"):
            await written

    asyncio.run(write())
    writer.drop()


def test_a_cancelled_request_closes_its_file_after_its_batch(
    folder: Path, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "lanes", lambda: 100)
    held = Held(monkeypatch)
    other, writer = BlobWriter(folder, "other"), BlobWriter(folder, "cancelled")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": bytes(BATCH_BYTES), "more_body": True}

    async def upload() -> None:
        together = WriteTogether(executor)
        first = together.begin(other, [b"x"])
        body = Body(receive, together=together, declared=None, expected=True)
        request = asyncio.create_task(body.write_to(writer, limit=100 * BATCH_BYTES))
        while body.received < 2 * BATCH_BYTES:  # noqa: ASYNC110 (there is no event)
            await asyncio.sleep(0)
        for _ in range(3):
            request.cancel()
            await asyncio.sleep(0)
            assert not request.done()  # its batch waits for the thread
        held.go.set()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert writer.size == BATCH_BYTES
        await first

    asyncio.run(upload())
    writer.drop()
    check(folder, other, b"x")


def test_few_lanes_are_not_shared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "lanes", lambda: store_files.FEWEST_LANES - 1)
    monkeypatch.setattr(hashing, "PartHasher", None)
    writers = [BlobWriter(folder, name) for name in "ab"]
    assert write_batches([(writer, [b"abc"]) for writer in writers]) == [None, None]
    for writer in writers:
        check(folder, writer, b"abc")
