"""Files that a thread uses stay open, no matter how often the request is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cosxfer.limits import GIB, MIB
from cosxfer.server.body import Body
from cosxfer.server.form import FileData
from cosxfer.server.operations.get_object import _send
from cosxfer.server.operations.post_object import _receive
from cosxfer.server.store.files import BlobWriter
from cosxfer.server.write_together import WriteTogether


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


class HeldWriter(BlobWriter):
    """A file on a slow disk: each write waits for ``go_on``."""

    def __init__(self, directory: Path) -> None:
        (directory / "incoming").mkdir()
        super().__init__(directory, "held")
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.failure: BaseException | None = None

    def _append(self, data: bytes) -> None:
        self.begun.set()
        self.go_on.wait()
        try:
            super()._append(data)
        except BaseException as error:
            self.failure = error
            raise


async def received_by_body(executor: ThreadPoolExecutor, writer: BlobWriter, *, more: bool) -> None:
    async def receive() -> Mapping[str, Any]:
        if asked:
            await asyncio.Event().wait()  # the client sends no more
        asked.append(True)
        return {"type": "http.request", "body": bytes(MIB), "more_body": more}

    asked: list[bool] = []
    await Body(receive, together=WriteTogether(executor), declared=None, expected=True).write_to(writer, limit=GIB)


async def received_by_form(executor: ThreadPoolExecutor, writer: BlobWriter) -> None:
    async def events() -> AsyncIterator[FileData]:
        yield FileData(bytes(MIB))

    call: Any = SimpleNamespace(executor=executor)
    await _receive(call, events(), writer, limit=GIB)


RECEIVE: dict[str, Callable[[ThreadPoolExecutor, BlobWriter], Awaitable[None]]] = {
    "reading on": lambda executor, writer: received_by_body(executor, writer, more=True),
    "at the end": lambda executor, writer: received_by_body(executor, writer, more=False),
    "a form": received_by_form,
}


async def cancelled(task: asyncio.Task[None], times: int) -> None:
    for _ in range(times):
        task.cancel()
        for _ in range(5):  # give the request time to end
            await asyncio.sleep(0)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("how", RECEIVE)
def test_a_file_is_not_closed_while_a_thread_writes(
    executor: ThreadPoolExecutor, tmp_path: Path, how: str, times: int
) -> None:
    writer = HeldWriter(tmp_path)

    async def main() -> None:
        async def request() -> None:
            try:
                await RECEIVE[how](executor, writer)
            finally:
                writer.drop()

        task = asyncio.create_task(request())
        await asyncio.to_thread(writer.begun.wait)
        try:
            await cancelled(task, times)
        finally:
            writer.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list((tmp_path / "incoming").iterdir()) == []

    asyncio.run(main())
    executor.shutdown(wait=True)
    assert writer.failure is None
    assert writer.size == MIB


@pytest.mark.parametrize("times", [1, 2])
def test_a_file_is_not_closed_while_a_thread_reads(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    begun, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def read_blob(*_: object, **__: object) -> Iterator[bytes]:
        try:
            begun.set()
            go_on.wait()
            yield b"x"
        finally:
            closed.set()

    # The package has a function with the same name as the module.
    monkeypatch.setitem(_send.__globals__, "read_blob", read_blob)
    store = SimpleNamespace(reading=lambda found: nullcontext([(Path("x"), 1)]))
    request = SimpleNamespace(http_version="1.1")
    call: Any = SimpleNamespace(executor=executor, store=store, request=request)
    found: Any = None

    async def main() -> None:
        async def request() -> None:
            async for _ in _send(call, found, 0, 1):
                pass

        task = asyncio.create_task(request())
        await asyncio.to_thread(begun.wait)
        try:
            await cancelled(task, times)
        finally:
            go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert closed.is_set()
