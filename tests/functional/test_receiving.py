"""Response bodies that go straight to their place, over each transport, against servers that a test scripts."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from cosxfer._native import hashing
from cosxfer.config import ClientConfig
from cosxfer.cos.responses import HttpResponse
from cosxfer.cos.sink import BodySink
from cosxfer.errors import CosxferError, TargetError, TransportError
from cosxfer.limits import MIB
from cosxfer.transport.base import Transport, round_trip_seconds
from cosxfer.transport.httpx import HttpxTransport
from cosxfer.transport.native import NativeTransport
from tests.functional.peer_raw import Peer, Serve, Server, in_loop, serving, until
from tests.functional.peer_tls import client_context, server_context

CONTENT = random.Random(9).randbytes(3 * MIB + 777)
FIRST, LENGTH = 1000, 2 * MIB + 5
PART = CONTENT[FIRST : FIRST + LENGTH]
UNTOUCHED = b"\xaa"

KINDS: dict[str, Callable[[ClientConfig], Transport]] = {
    "native": NativeTransport,
    "native over TLS": NativeTransport,
    "httpx": HttpxTransport,
}
NATIVE = [kind for kind in KINDS if kind.startswith("native")]
AUTHORITY = trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("127.0.0.1")


@contextlib.asynccontextmanager
async def connected(kind: str, serve: Serve, **settings: Any) -> AsyncIterator[tuple[Transport, Server]]:
    """A transport, and a server that runs ``serve`` for each of its connections."""
    secure = kind.endswith("over TLS")
    if secure:
        settings |= {"verify": client_context(AUTHORITY), "http_version": "1.1"}

    async def begin(peer: Peer) -> None:
        if secure:
            await peer.secure(server_context(CERTIFICATE))
        await serve(peer)

    transport = KINDS[kind](ClientConfig(region="ap-x", **settings))
    try:
        async with serving(begin, scheme="https" if secure else "http") as server:
            yield transport, server
    finally:
        await transport.aclose()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("file", [False, True], ids=["memory", "file"])
@in_loop
async def test_a_pause_of_the_rate_limit_is_no_silence_of_the_server(kind: str, file: bool, tmp_path: Path) -> None:
    length = 60_000
    place = Place(tmp_path / "f", file=file, length=length)

    async def serve(peer: Peer) -> None:
        while await peer.head():
            await peer.say(
                b'HTTP/1.1 206 Partial Content\r\netag: "e"\r\ncontent-length: %d\r\n' % length
                + b"content-range: bytes %d-%d/%d\r\n\r\n" % (FIRST, FIRST + length - 1, len(CONTENT))
            )
            await peer.say(CONTENT[FIRST : FIRST + length])

    async with connected(kind, serve, max_bytes_per_second=50_000) as (transport, server):
        response = await transport.send(server.request("GET", sink=place.sink, stall_timeout_seconds=0.2))
    assert response.status == 206
    assert place.content[:length] == CONTENT[FIRST : FIRST + length]
    place.close()


class Place:
    """Memory or a file, filled with a pattern that shows what was not written."""

    def __init__(self, path: Path, *, file: bool, length: int = LENGTH, **more: Any) -> None:
        self._path = path
        self._memory = bytearray(UNTOUCHED * length)
        self._fd = -1
        if file:
            path.write_bytes(UNTOUCHED * (length + 10))
            self._fd = os.open(path, os.O_RDWR)
            more |= {"fd": self._fd, "offset": 10}
        else:
            more["memory"] = memoryview(self._memory)
        self.sink = BodySink(**{"first": FIRST, "length": length, "etag": '"e"', **more})

    @property
    def content(self) -> bytes:
        return self._path.read_bytes()[10:] if self._fd >= 0 else bytes(self._memory)

    def close(self) -> None:
        if self._fd >= 0:
            assert self._path.read_bytes()[:10] == UNTOUCHED * 10
            os.close(self._fd)


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    places = []

    def make(**more: Any) -> Place:
        places.append(Place(tmp_path / f"target{len(places)}", file=request.param == "file", **more))
        return places[-1]

    yield make
    for made in places:
        made.close()


def partial(body: bytes = PART, first: int = FIRST, total: int = len(CONTENT), etag: str = '"e"', **more: str) -> bytes:
    headers = {
        "content-length": str(len(body)),
        "content-range": f"bytes {first}-{first + len(body) - 1}/{total}",
        "etag": etag,
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
    return f"HTTP/1.1 206 Partial Content\r\n{lines}\r\n".encode() + body


def saying(*pieces: bytes, then: Callable[[Peer], None] | None = None) -> Serve:
    async def serve(peer: Peer) -> None:
        await peer.head()
        for piece in pieces:
            await peer.say(piece)
        if then is not None:
            then(peer)

    return serve


async def fetch(kind: str, serve: Serve, sink: BodySink, **more: Any) -> HttpResponse:
    async with connected(kind, serve) as (transport, server):
        return await transport.send(server.request("GET", sink=sink, **more))


@in_loop
async def test_a_range_goes_to_its_place_with_its_crc64(kind: str, place: Callable[..., Place]) -> None:
    target, got = place(), 0

    def count(amount: int) -> None:
        nonlocal got
        got += amount

    response = await fetch(kind, saying(partial()), target.sink, on_sent=count)
    assert (response.status, response.body, got) == (206, b"", LENGTH)
    assert target.sink.accepted
    assert target.sink.received == LENGTH
    assert target.sink.crc64 == hashing.crc64(PART)
    assert target.content == PART


@in_loop
async def test_a_range_may_arrive_in_chunks_without_a_length(kind: str, place: Callable[..., Place]) -> None:
    target = place()
    head = partial(content_length="", transfer_encoding="chunked").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    chunks = [PART[at : at + 300_001] for at in range(0, LENGTH, 300_001)]
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    await fetch(kind, saying(head, body), target.sink)
    assert (target.content, target.sink.crc64) == (PART, hashing.crc64(PART))


@in_loop
async def test_a_second_attempt_goes_on_after_the_first(kind: str, place: Callable[..., Place]) -> None:
    target = place()
    sent = partial()[: -(LENGTH // 2)]
    with pytest.raises(TransportError):
        await fetch(kind, saying(sent, then=lambda peer: peer.writer.close()), target.sink)
    received = target.sink.received
    assert received <= LENGTH - LENGTH // 2
    assert target.content == PART[:received] + UNTOUCHED * (LENGTH - received)
    assert target.sink.crc64 == hashing.crc64(PART[:received])
    await fetch(kind, saying(partial(PART[received:], FIRST + received)), target.sink)
    assert (target.content, target.sink.crc64) == (PART, hashing.crc64(PART))


@pytest.mark.parametrize("native", NATIVE)
@in_loop
async def test_native_keeps_each_byte_that_came_before_a_break(native: str, place: Callable[..., Place]) -> None:
    target = place()
    with pytest.raises(TransportError):
        await fetch(native, saying(partial()[:-1], then=lambda peer: peer.writer.close()), target.sink)
    assert target.sink.received == LENGTH - 1
    assert target.content == PART[:-1] + UNTOUCHED


UNWANTED = {
    "the whole object": b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\netag: "e"\r\n\r\n' % len(CONTENT) + CONTENT,
    "an earlier range": partial(PART, FIRST - 1),
    "a later range": partial(PART, FIRST + 1),
    "a shorter range": partial(PART[:-1]),
    "a longer range": partial(PART + b"x"),
    "another version": partial(etag='"other"'),
    "no ETag": partial(etag=""),
    "no Content-Range": partial(content_range=""),
    "no total": partial(content_range=f"bytes {FIRST}-{FIRST + LENGTH - 1}/*"),
    "beyond the total": partial(content_range=f"bytes {FIRST}-{FIRST + LENGTH - 1}/{FIRST + LENGTH - 1}"),
    "another unit": partial(content_range=f"items {FIRST}-{FIRST + LENGTH - 1}/{len(CONTENT)}"),
    "a negative range": partial(content_range=f"bytes -{FIRST}-{LENGTH}/{len(CONTENT)}"),
    "a number too large": partial(content_range=f"bytes {FIRST}-{'9' * 30}/{'9' * 31}"),
    "a length that differs": b'HTTP/1.1 206 Partial Content\r\ncontent-length: 5\r\netag: "e"\r\ncontent-range: bytes '
    b"%d-%d/%d\r\n\r\nhello" % (FIRST, FIRST + LENGTH - 1, len(CONTENT)),
    "nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
}


@pytest.mark.parametrize("name", UNWANTED)
@in_loop
async def test_a_success_that_is_something_else_is_not_written(
    kind: str, place: Callable[..., Place], name: str
) -> None:
    target = place()
    response = await fetch(kind, saying(UNWANTED[name]), target.sink)
    assert not target.sink.accepted
    assert response.status in (200, 204, 206)
    assert not response.body
    assert (target.content, target.sink.received) == (UNTOUCHED * LENGTH, 0)


@pytest.mark.parametrize(
    "status", [b"404 Not Found", b"302 Found", b"503 Slow Down", b"416 Range", b"304 Not Modified"]
)
@in_loop
async def test_the_body_of_an_error_is_collected(kind: str, place: Callable[..., Place], status: bytes) -> None:
    target = place()
    body = b"" if status.startswith(b"304") else b"<Error/>"
    said = b"HTTP/1.1 %b\r\ncontent-length: %d\r\netag: \"e\"\r\ncontent-range: bytes %d-%d/%d\r\n\r\n%b" % (
        status, len(body), FIRST, FIRST + LENGTH - 1, len(CONTENT), body,
    )  # fmt: skip
    response = await fetch(kind, saying(said), target.sink)
    assert (response.status, response.body) == (int(status[:3]), body)
    assert (target.content, target.sink.received) == (UNTOUCHED * LENGTH, 0)


@in_loop
async def test_the_object_may_end_before_the_range(kind: str, place: Callable[..., Place]) -> None:
    target = place(shorter=True, first=0)
    await fetch(kind, saying(partial(b"short", 0, 5)), target.sink)
    assert target.content == b"short" + UNTOUCHED * (LENGTH - 5)
    other = place(shorter=True, first=0)
    await fetch(kind, saying(partial(b"short", 0, 6)), other.sink)
    assert not other.sink.accepted
    assert other.content == UNTOUCHED * LENGTH


@pytest.mark.parametrize("body", [b"", b"whole"], ids=["empty", "small"])
@in_loop
async def test_a_server_may_ignore_the_range_of_a_short_object(
    kind: str, place: Callable[..., Place], body: bytes
) -> None:
    target = place(shorter=True, first=0, etag="")
    said = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    await fetch(kind, saying(said), target.sink)
    assert target.sink.accepted
    assert target.sink.received == len(body)
    assert target.content == body + UNTOUCHED * (LENGTH - len(body))


@in_loop
async def test_too_many_bytes_in_chunks_are_an_error(kind: str, place: Callable[..., Place]) -> None:
    target = place()
    head = partial(content_length="", transfer_encoding="chunked").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    body = PART + b"more"
    with pytest.raises(CosxferError, match="longer than its range"):
        await fetch(kind, saying(head, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)), target.sink)
    kept = target.sink.received
    assert target.content == PART[:kept] + UNTOUCHED * (LENGTH - kept)


@in_loop
async def test_too_few_bytes_in_chunks_are_an_error(kind: str, place: Callable[..., Place]) -> None:
    target = place()
    head = partial(content_length="", transfer_encoding="chunked").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    with pytest.raises(CosxferError, match="shorter than its range"):
        await fetch(kind, saying(head, b"4\r\n%b\r\n0\r\n\r\n" % PART[:4]), target.sink)
    assert target.sink.received == 4


@in_loop
async def test_a_file_that_cannot_be_written_is_the_error(kind: str, tmp_path: Path) -> None:
    fd = os.open("/dev/full", os.O_RDWR)
    try:
        sink = BodySink(first=FIRST, length=LENGTH, etag='"e"', fd=fd)
        with pytest.raises(TargetError, match="No space left on device") as raised:
            await fetch(kind, saying(partial()), sink)
        assert raised.value.errno == errno.ENOSPC
        assert not raised.value.retryable
        assert sink.received == 0
    finally:
        os.close(fd)


@in_loop
async def test_after_a_cancellation_nothing_is_written(kind: str, place: Callable[..., Place]) -> None:
    target, begun = place(), asyncio.Event()

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.say(partial()[:-1000])
        begun.set()
        await asyncio.Event().wait()

    async with connected(kind, serve) as (transport, server):
        sending = asyncio.ensure_future(transport.send(server.request("GET", sink=target.sink)))
        await begun.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        kept = target.sink.received
        assert target.content == PART[:kept] + UNTOUCHED * (LENGTH - kept)
        assert target.sink.crc64 == hashing.crc64(PART[:kept])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it")
@pytest.mark.parametrize("native", NATIVE)
@in_loop
async def test_the_first_connection_tells_the_round_trip(native: str) -> None:
    target = Place(Path(), file=False)
    async with connected(native, saying(partial())) as (transport, server):
        assert round_trip_seconds(transport) == 0.0
        await transport.send(server.request("GET", sink=target.sink))
        assert 0 < round_trip_seconds(transport) < 60


@pytest.mark.parametrize("native", NATIVE)
@in_loop
async def test_a_file_is_written_in_whole_blocks_and_what_waits_counts_as_progress(native: str, tmp_path: Path) -> None:
    """Blocks end at multiples of 512 KiB of the file."""
    block, place = 512 * 1024, Place(tmp_path / "f", file=True)
    size, broken, got = block + 1000, asyncio.Event(), 0

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.say(partial()[:-LENGTH] + PART[:100])
        for first in range(100, size, 1000):
            await peer.say(PART[first : min(size, first + 1000)])
            await asyncio.sleep(0)
        await broken.wait()
        peer.writer.close()

    def count(amount: int) -> None:
        nonlocal got
        got += amount

    async with connected(native, serve) as (transport, server):
        sending = asyncio.ensure_future(transport.send(server.request("GET", sink=place.sink, on_sent=count)))
        await until(lambda: got == size)
        written = block - 10  # of the file's first block, the range has all but 10 bytes
        assert place.content[:LENGTH] == PART[:written] + UNTOUCHED * (LENGTH - written)
        broken.set()
        with pytest.raises(TransportError):
            await sending
    assert place.sink.received == size
    assert place.sink.crc64 == hashing.crc64(PART[:size])
    assert place.content[:LENGTH] == PART[:size] + UNTOUCHED * (LENGTH - size)
    place.close()


@pytest.mark.parametrize("native", NATIVE)
@in_loop
async def test_the_connection_is_used_again(native: str, place: Callable[..., Place]) -> None:
    async def serve(peer: Peer) -> None:
        while True:
            await peer.head()
            await peer.say(partial())

    async with connected(native, serve) as (transport, server):
        for _ in range(3):
            target = place()
            await transport.send(server.request("GET", sink=target.sink))
            assert target.content == PART
        assert server.connections == 1
