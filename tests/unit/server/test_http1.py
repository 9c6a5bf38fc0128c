from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from cosxfer.server import http1


async def respond_204(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def talk(pieces: list[bytes]) -> bytes:
    """Return the responses to a client that sends one piece per response and never closes."""
    listening = await asyncio.start_server(
        lambda reader, writer: http1.speak_http1(respond_204, reader, writer, client=("", 0), scheme="http"),
        "127.0.0.1",
    )
    async with listening:
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname()[:2])
        said = b""
        for piece in pieces:
            writer.write(piece)
            if piece.endswith(b"\r\n\r\n"):
                said += await reader.readuntil(b"\r\n\r\n")
        said += await reader.read()
        writer.close()
    return said


@pytest.mark.parametrize("before", [[], [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]], ids=["first", "second"])
def test_an_unfinished_head_times_out(monkeypatch: pytest.MonkeyPatch, before: list[bytes]) -> None:
    monkeypatch.setattr(http1, "_HEAD_SECONDS", 0.01)
    said = asyncio.run(talk([*before, b"GET / HTTP/1.1\r\nHost: "]))
    assert said.count(b"HTTP/1.1 204 ") == len(before)
    assert b"HTTP/1.1 408 Request Timeout\r\n" in said


def test_a_connection_may_be_idle_between_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "_HEAD_SECONDS", 0.0)
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert asyncio.run(talk([request, request, last])).count(b"HTTP/1.1 204 ") == 3


class SlowWriter:
    """A connection whose client reads ``takes`` bytes in each of the first waits, then nothing or all the rest."""

    def __init__(self, takes: list[int], *, then_all: bool) -> None:
        self.said = bytearray()
        self.waiting = 0
        self.aborted = False
        self.transport = self
        self._takes = takes
        self._then_all = then_all

    def write(self, data: bytes) -> None:
        self.said += data
        self.waiting += len(data)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    async def drain(self) -> None:
        if self.waiting < 1000:
            return
        if self._takes:
            self.waiting -= self._takes.pop()
        elif self._then_all:
            self.waiting = 0
            return
        await asyncio.get_running_loop().create_future()

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        pass


async def respond_large(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100000")]})
    await send({"type": "http.response.body", "body": bytes(100_000)})


def serve_slow(writer: SlowWriter) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        reader.feed_eof()
        await http1.speak_http1(respond_large, reader, writer, client=("", 0), scheme="http")  # type: ignore[arg-type]

    asyncio.run(main())


@pytest.mark.parametrize("takes", [[], [1], [1] * 5])
def test_a_client_that_stops_reading_is_disconnected(monkeypatch: pytest.MonkeyPatch, takes: list[int]) -> None:
    monkeypatch.setattr(http1, "_BODY_SECONDS", 0.01)
    writer = SlowWriter(list(takes), then_all=False)
    serve_slow(writer)
    assert writer.aborted


def test_a_client_that_reads_slowly_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "_BODY_SECONDS", 0.01)
    writer = SlowWriter([1] * 5, then_all=True)
    serve_slow(writer)
    assert not writer.aborted
    assert writer.said.endswith(bytes(100_000))
