"""A connection that no I/O thread can take over, and an error in the caller's callback."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from cosxfer._native import wire
from cosxfer.config import ClientConfig
from cosxfer.errors import ConnectError
from cosxfer.transport.native import NativeTransport
from tests.functional.peer_raw import OK, Peer, in_loop, native, serving, until


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], None]:
    """Make the first call of a function fail, as if the system were out of resources."""

    def let_fail(owner: Any, name: str) -> None:
        real = getattr(owner, name)
        failed: list[bool] = []

        def call(*args: Any, **kwargs: Any) -> Any:
            about_us = name != "start" or args[0].name == "cosxfer-wire"
            if about_us and not failed:
                failed.append(True)
                raise RuntimeError("no more of it")
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    return let_fail


def io_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "cosxfer-wire"]


def alive() -> int:
    """Number of exchanges and connections that are alive, without a garbage collection."""
    return sum(isinstance(found, wire.Exchange | wire.Connection) for found in gc.get_objects())


@pytest.mark.parametrize("what", ["thread", "reader", "io_thread"])
@in_loop
async def test_a_connection_that_no_thread_can_take_is_closed_and_the_next_one_works(
    what: str, refuse: Callable[[Any, str], None]
) -> None:
    ended = 0

    async def serve(peer: Peer) -> None:
        nonlocal ended
        while await peer.reader.read(65536):
            await peer.say(OK)
        ended += 1

    gc.collect()
    threads, before = len(io_threads()), alive()
    async with serving(serve) as server:
        transport = NativeTransport(ClientConfig(http_version="1.1"), threads=1)
        match what:
            case "thread":
                refuse(threading.Thread, "start")
            case "reader":
                refuse(asyncio.get_running_loop(), "add_reader")
            case "io_thread":
                refuse(NativeTransport, "_io_thread")
        async with asyncio.timeout(60):
            with pytest.raises(ConnectError, match="no more of it") as caught:
                await transport.send(server.request("GET"))
            # The caught error still holds its traceback here, and all that the traceback refers to.
            await until(lambda: ended == 1)
            assert len(io_threads()) == threads
            assert caught.value.retryable
            for _ in range(3):
                assert (await transport.send(server.request("GET"))).status == 200
        assert server.connections == 2
        await transport.aclose()
        del transport, caught
    gc.collect()
    assert (len(io_threads()), alive()) == (threads, before)


@in_loop
async def test_every_request_fails_if_no_thread_can_take_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.reader.read()

    def none_left(transport: NativeTransport) -> wire.IoThread:
        raise OSError("no more of it")

    monkeypatch.setattr(NativeTransport, "_io_thread", none_left)
    async with serving(serve) as server, native("2") as transport, asyncio.timeout(60):
        sending = [transport.send(server.request(body=b"x")) for _ in range(50)]
        results = await asyncio.gather(*sending, return_exceptions=True)
    assert all(isinstance(result, ConnectError) for result in results)


@in_loop
async def test_an_error_in_a_callback_frees_everything_of_its_request() -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.reader.read()

    def fail(_: int) -> None:
        raise ValueError("no more")

    gc.collect()
    before = alive()
    gc.disable()  # everything must be freed without the garbage collector
    try:
        async with serving(serve) as server, native() as transport:
            for _ in range(5):
                try:
                    await transport.send(server.request(body=bytes(1_000_000), on_sent=fail))
                except ValueError:
                    continue
            await until(lambda: not transport._connections)
            assert alive() == before
    finally:
        gc.enable()
