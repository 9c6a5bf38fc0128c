"""The network layer of httpx: a caller that is cancelled loses nothing that other requests of its connection need."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cosxfer.transport.httpx_network import Stream
from tests.functional.peer_raw import in_loop


@asynccontextmanager
async def a_connection() -> AsyncIterator[tuple[Stream, socket.socket]]:
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    stream = Stream(ours)
    try:
        yield stream, theirs
    finally:
        await stream.aclose()
        theirs.close()


async def cancelled(task: asyncio.Task[object]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("steps", range(6))
@in_loop
async def test_what_arrives_while_a_reader_is_cancelled_is_not_lost(steps: int) -> None:
    async with a_connection() as (stream, theirs):
        reader = asyncio.create_task(stream.receive(100))
        await asyncio.sleep(0)
        theirs.send(b"head of another request")
        for _ in range(steps):  # the loop sees the data, wakes the reader, and runs it
            await asyncio.sleep(0)
        got = await reader if reader.done() else b""
        if not got:
            await cancelled(reader)
            got = await stream.receive(100)
        assert got == b"head of another request"


@in_loop
async def test_a_reader_is_cancelled_between_the_arrival_and_its_step() -> None:
    """The case that matters in the test above happens in one of its steps."""
    async with a_connection() as (stream, theirs):
        reader = asyncio.create_task(stream.receive(100))
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        seen: list[bool] = []

        def arrives() -> None:
            theirs.send(b"x")
            loop.call_soon(lambda: loop.call_soon(cancel))

        def cancel() -> None:
            seen.append(reader.done())
            reader.cancel()

        loop.call_soon(arrives)
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert seen == [False]
        assert await stream.receive(100) == b"x"


def fill(stream: Stream) -> int:
    """Fill the socket's buffer; returns how many bytes that were."""
    filled = 0
    while True:
        try:
            filled += stream._sock.send(b"f" * 65536)
        except BlockingIOError:
            return filled


async def read_all(theirs: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        got += await asyncio.get_running_loop().sock_recv(theirs, 1 << 20)
    return got


@in_loop
async def test_all_writes_arrive_in_their_order_though_their_callers_are_cancelled() -> None:
    async with a_connection() as (stream, theirs):
        filled = fill(stream)
        frames = [os.urandom(200_000) for _ in range(4)]
        for frame in frames[:3]:
            writer = asyncio.create_task(stream.send(frame))
            await asyncio.sleep(0)
            await cancelled(writer)
        last = asyncio.create_task(stream.send(frames[3]))
        got = await read_all(theirs, filled + sum(map(len, frames)))
        await last
        assert got[filled:] == b"".join(frames)
        assert stream._written == sum(map(len, frames))


@in_loop
async def test_a_body_in_its_owners_memory_is_not_sent_after_its_writer_was_cancelled() -> None:
    async with a_connection() as (stream, theirs):
        filled = fill(stream)
        await cancelled_after_a_step(stream.send(b"head"))
        await cancelled_after_a_step(stream.send(memoryview(b"body")))
        last = asyncio.create_task(stream.send(b"end"))
        assert (await read_all(theirs, filled + len("headend")))[filled:] == b"headend"
        await last


async def cancelled_after_a_step(call: object) -> None:
    task: asyncio.Task[object] = asyncio.create_task(call)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await cancelled(task)


@in_loop
async def test_a_write_after_one_that_failed_fails_too() -> None:
    async with a_connection() as (stream, theirs):
        fill(stream)
        await cancelled_after_a_step(stream.send(b"left"))
        theirs.close()
        rest = stream._rest
        assert rest is not None
        await asyncio.wait([rest], timeout=30)
        with pytest.raises(OSError, match=r"pipe|reset"):
            await stream.send(b"more")


@in_loop
async def test_a_closed_connection_neither_reads_nor_writes() -> None:
    async with a_connection() as (stream, theirs):
        fill(stream)
        await cancelled_after_a_step(stream.send(b"left"))
        waiting = asyncio.create_task(stream.send(b"behind it"))
        reader = asyncio.create_task(stream.receive(1))
        await asyncio.sleep(0)
        await stream.aclose()
        for call in (waiting, reader):
            ended, _ = await asyncio.wait([call], timeout=30)
            assert ended
            assert isinstance(call.exception(), OSError)
        for call in (asyncio.create_task(stream.send(b"x")), asyncio.create_task(stream.receive(1))):
            with pytest.raises(OSError, match="closed"):
                await call
        assert theirs.fileno() >= 0
