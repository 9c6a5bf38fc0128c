"""How the I/O thread gets a request body: by its address, or piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

pytest.importorskip("cosxfer._native.wire")

from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.errors import ProtocolError
from cosxfer.transport.native_body import AHEAD_BYTES, attach_body, feed
from tests.unit.transport.fake_wire import FakeExchange, FakeIoThread, Wire

ENDPOINT = resolve_endpoint("http://cos.example", bucket="b-1", region=None)


def request(body: Any, length: int | None) -> HttpRequest:
    return HttpRequest(method="PUT", endpoint=ENDPOINT, target="/k", headers={}, body=body, content_length=length)


def exchange() -> FakeExchange:
    return FakeExchange(b"", length=-1, owner=None)


class Part:
    """A part of a file, mapped or not."""

    def __init__(self, data: bytes, *, mapped: bool) -> None:
        self.data = data
        self.is_mapped = mapped

    def mapped(self) -> memoryview | None:
        return memoryview(self.data) if self.is_mapped else None

    def __iter__(self) -> Iterator[memoryview]:
        yield memoryview(self.data)


@pytest.mark.parametrize(
    "body",
    [b"body", bytearray(b"body"), memoryview(b"body"), Part(b"body", mapped=True)],
    ids=lambda b: type(b).__name__,
)
def test_a_body_with_an_address_is_passed_whole(body: Any) -> None:
    made = exchange()
    assert attach_body(made, request(body, 4))  # type: ignore[arg-type]
    assert (made.body_given, made.complete) == ([b"body"], True)


@pytest.mark.parametrize("body", [b"", Part(b"", mapped=True)], ids=["bytes", "mapped"])
def test_an_empty_body_is_complete_without_a_piece(body: Any) -> None:
    made = exchange()
    assert attach_body(made, request(body, 0))  # type: ignore[arg-type]
    assert (made.body_given, made.complete) == ([], True)


@pytest.mark.parametrize("body", [Part(b"body", mapped=False), [b"body"]], ids=["file", "list"])
def test_a_body_without_an_address_is_left_to_feed(body: Any) -> None:
    made = exchange()
    assert not attach_body(made, request(body, 4))  # type: ignore[arg-type]
    assert (made.body_given, made.complete) == ([], False)


@pytest.mark.parametrize("body", [b"body", Part(b"body", mapped=True)], ids=["bytes", "mapped"])
@pytest.mark.parametrize("length", [3, 5])
def test_a_body_of_another_length_is_not_passed(body: Any, length: int) -> None:
    made = exchange()
    with pytest.raises(ProtocolError, match=f"not the {length} bytes"):
        attach_body(made, request(body, length))  # type: ignore[arg-type]
    assert not made.complete


class Fed:
    """`feed` in a task, with the event that the I/O thread sets."""

    def __init__(self, body: Any, length: int | None) -> None:
        self.exchange = exchange()
        self.room = asyncio.Event()
        self.io_thread = FakeIoThread(Wire())
        self.task = asyncio.create_task(
            feed(self.io_thread, self.exchange, request(body, length), self.room)  # type: ignore[arg-type]
        )

    async def settle(self) -> None:
        """Let the task run until it waits or ends."""
        for _ in range(10):
            await asyncio.sleep(0)

    def end(self) -> None:
        self.io_thread.release()


async def read(pieces: list[bytes], seen: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        seen.append(piece)
        yield piece


def test_a_body_is_not_read_before_it_is_wanted() -> None:
    async def test() -> None:
        seen: list[bytes] = []
        fed = Fed(read([b"bo", b"dy"], seen), 4)
        await fed.settle()
        assert not seen
        fed.room.set()
        await fed.task
        assert (fed.exchange.body_given, fed.exchange.complete) == ([b"bo", b"dy"], True)
        fed.end()

    asyncio.run(test())


def test_a_body_is_not_read_at_all_if_the_request_ends_before() -> None:
    async def test() -> None:
        seen: list[bytes] = []
        fed = Fed(read([b"body"], seen), 4)
        fed.exchange.done = True
        fed.room.set()
        await fed.task
        assert not seen
        assert not fed.exchange.complete
        fed.end()

    asyncio.run(test())


def test_a_body_announced_as_empty_is_read_without_being_wanted() -> None:
    async def test() -> None:
        fed = Fed(read([], []), 0)
        await fed.task
        assert fed.exchange.complete
        longer = Fed(read([b"x"], []), 0)
        with pytest.raises(ProtocolError, match="not the 0 bytes"):
            await longer.task
        fed.end()
        longer.end()

    asyncio.run(test())


def test_a_body_is_read_a_bounded_way_ahead_of_the_sending() -> None:
    async def test() -> None:
        seen: list[bytes] = []
        piece = bytes(AHEAD_BYTES // 2)
        fed = Fed(read([piece] * 8, seen), None)
        fed.room.set()
        await fed.settle()
        assert len(seen) == 3  # the third one exceeds the bound
        fed.exchange.fed_bytes -= 2 * len(piece)
        fed.room.set()
        await fed.settle()
        assert len(seen) == 5
        fed.exchange.done = True
        fed.room.set()
        await fed.task
        assert len(seen) == 5  # no more is consumed
        assert not fed.exchange.complete
        fed.end()

    asyncio.run(test())


@pytest.mark.parametrize(("pieces", "given"), [([b"bod"], [b"bod"]), ([b"bo", b"dies"], [b"bo"])])
def test_a_body_of_another_length_is_never_complete(pieces: list[bytes], given: list[bytes]) -> None:
    """Nothing beyond the announced length is fed."""

    async def test() -> None:
        fed = Fed(read(pieces, []), 4)
        fed.room.set()
        with pytest.raises(ProtocolError, match="not the 4 bytes"):
            await fed.task
        assert (fed.exchange.body_given, fed.exchange.complete) == (given, False)
        fed.end()

    asyncio.run(test())
