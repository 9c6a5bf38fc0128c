"""Either side closes at any moment. Each request ends with a response or a CosxferError, and releases everything.

``COSXFER_NOISE`` sets the number of connections.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import random
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.settings import SettingCodes

from cosxfer._native import wire
from cosxfer.config import ClientConfig, HttpVersion
from cosxfer.cos.requests import HttpRequest
from cosxfer.errors import ConnectError, CosxferError, TransportError, TransportTimeoutError
from cosxfer.limits import MIB
from cosxfer.server.tls import make_certificate
from cosxfer.transport.native import NativeTransport
from tests.functional.peer_raw import Http2Peer, Peer, Server, in_loop, native, serving, until

CONNECTIONS = int(os.environ.get("COSXFER_NOISE", "60"))
AT_ONCE = 16
PAYLOAD = random.Random(23).randbytes(300_000)
RESPONSE_BODY = b"a" * 1000
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + RESPONSE_BODY
PHASES = (
    "accept",
    "handshake",
    "head",
    "body",
    "request",
    "response head",
    "response body",
    "response",
    "goaway",
    "late",
)
LATE_AFTER = 8
"""Requests that a connection serves if it is closed at none of the other moments."""


def native_objects() -> int:
    """Number of native objects that are alive."""
    gc.collect()
    return sum(isinstance(found, wire.Connection | wire.Exchange | wire.IoThread) for found in gc.get_objects())


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def io_threads() -> int:
    return sum(thread.name == "cosxfer-wire" for thread in threading.enumerate())


@dataclass(frozen=True, kw_only=True)
class Way:
    version: HttpVersion
    tls: bool
    context: ssl.SSLContext
    ca_file: str

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    @property
    def config(self) -> ClientConfig:
        return ClientConfig(http_version=self.version, verify=self.ca_file)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ssl.SSLContext]:
    made = make_certificate(tmp_path_factory.mktemp("certificate"), host="127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.cert_file, made.key_file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return str(made.ca_file), context


WAYS: dict[str, tuple[HttpVersion, bool]] = {
    "http1": ("1.1", False),
    "h2c": ("2", False),
    "tls-http1": ("1.1", True),
    "tls-http2": ("2", True),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, certificate: tuple[str, ssl.SSLContext]) -> Way:
    version, tls = WAYS[request.param]
    return Way(version=version, tls=tls, ca_file=certificate[0], context=certificate[1])


def digest(data: bytes | bytearray) -> bytes:
    return hashlib.sha256(data).digest()


class Closing:
    """A server that closes each connection at a random moment, and remembers which bodies arrived whole."""

    def __init__(self, way: Way, seed: int) -> None:
        self.way = way
        self.chance = random.Random(seed)
        self.got: dict[str, bytes] = {}  # digests of the bodies

    async def __call__(self, peer: Peer) -> None:
        phase = self.chance.choice(PHASES)
        abrupt = self.chance.random() < 0.5
        try:
            if phase == "accept":
                return
            if self.way.tls:
                await peer.secure(self.way.context)
            if phase == "handshake":
                return
            if self.way.version == "2":
                await self.http2(peer, phase)
            else:
                await self.http1(peer, phase)
        finally:
            if abrupt:
                peer.reset()

    async def http1(self, peer: Peer, phase: str) -> None:
        left = self.chance.randrange(4)
        while True:
            now = phase if left == 0 else ""
            if left == -LATE_AFTER:
                return
            left -= 1
            head = await peer.head()
            if now == "head":
                return
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            if now == "body":
                await peer.body(length // 2)
                return
            self.got[head.split(b" ")[1].decode()] = digest(await peer.body(length))
            if now == "request":
                return
            if now in ("response head", "response body"):
                await peer.say(RESPONSE[:20] if now == "response head" else RESPONSE[:-500])
                return
            await peer.say(RESPONSE)
            if now == "response":
                return

    async def http2(self, peer: Peer, phase: str) -> None:
        left = self.chance.randrange(4)
        paths: dict[int, str] = {}
        bodies: dict[int, bytearray] = {}
        http2 = Http2Peer(peer)
        if phase == "head":
            await http2.flush()
            return  # right after its SETTINGS
        async for event in http2.events():
            now = phase if left <= 0 else ""
            if isinstance(event, RequestReceived):
                paths[event.stream_id], bodies[event.stream_id] = dict(event.headers)[":path"], bytearray()
            elif isinstance(event, DataReceived):
                bodies[event.stream_id] += event.data
                http2.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if now == "body":
                    return
            elif isinstance(event, StreamEnded):
                left -= 1
                self.got[paths[event.stream_id]] = digest(bodies.pop(event.stream_id))
                if now == "request":
                    return
                if now in ("response head", "response body"):
                    http2.http2.send_headers(event.stream_id, [(":status", "200"), ("content-length", "1000")])
                    if now == "response body":
                        http2.http2.send_data(event.stream_id, RESPONSE_BODY[:500])
                    await http2.flush()
                    return
                http2.answer(event.stream_id, body=RESPONSE_BODY)
                if now == "goaway":
                    http2.http2.close_connection(ErrorCodes.NO_ERROR, last_stream_id=event.stream_id)
                if now in ("response", "goaway") or left <= -LATE_AFTER:
                    await http2.flush()
                    return


class Pieces:
    """A body that is read in a thread, from the start for each attempt."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        return (self._data[start : start + 70_000] for start in range(0, len(self._data), 70_000))


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for piece in Pieces(data):
        yield piece


def request_of(server: Server, number: int) -> tuple[HttpRequest, bytes]:
    data = PAYLOAD[: 1000 + number] if number % 2 else PAYLOAD[number:]
    target = f"/{number}"
    match number % 5:
        case 0:
            return server.request("GET", target=target, on_body=lambda _: None), b""
        case 1:
            return server.request(body=pieces(data), content_length=len(data), target=target), data
        case 2:
            return server.request(body=Pieces(data), content_length=len(data), target=target), data
        case _:
            return server.request(body=data, target=target), data


async def churn(way: Way, connections: int, seed: int) -> None:
    closing = Closing(way, seed)
    responses = errors = cancelled = 0
    number = 0
    before = (native_objects(), io_threads(), descriptors())

    async def send_on(server: Server, transport: NativeTransport, chance: random.Random) -> None:
        nonlocal responses, errors, cancelled, number
        while server.connections < connections:
            number += 1
            request, data = request_of(server, number)
            sending = asyncio.create_task(transport.send(request))
            if chance.random() < 0.1:
                for _ in range(chance.randrange(30)):
                    await asyncio.sleep(0)
                sending.cancel()
            try:
                response = await sending
            except asyncio.CancelledError:
                cancelled += 1
            except TransportTimeoutError:
                raise  # every connection is closed soon, so a longer wait is a hang
            except CosxferError:
                errors += 1
            else:
                responses += 1
                assert (response.status, closing.got[request.target]) == (200, digest(data))

    async with serving(closing, scheme=way.scheme) as server:
        async with native(way.version, verify=way.ca_file) as transport:
            chance = random.Random(seed + 1)
            await asyncio.gather(*(send_on(server, transport, chance) for _ in range(AT_ONCE)))
        assert not transport._connections
        del transport
    assert responses > 0
    assert errors > 0
    await until(lambda: (native_objects(), io_threads(), descriptors()) <= before)


@pytest.mark.timeout(300)
def test_a_server_that_closes_at_any_moment_ends_its_requests_and_leaks_nothing(way: Way) -> None:
    asyncio.run(churn(way, CONNECTIONS, 1))


@pytest.mark.deep
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [2])
def test_a_thousand_connections_that_are_closed_at_any_moment(way: Way, seed: int) -> None:
    asyncio.run(churn(way, 1000, seed))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("tls", [False, True], ids=["h2c", "tls"])
@in_loop
async def test_a_server_that_closes_after_its_settings(tls: bool, certificate: tuple[str, ssl.SSLContext]) -> None:
    async def serve(peer: Peer) -> None:
        if tls:
            await peer.secure(certificate[1])
        await Http2Peer(peer).flush()
        if peer.number % 3 == 0:
            peer.reset()

    scheme = "https" if tls else "http"
    async with serving(serve, scheme=scheme) as server, native("2", verify=certificate[0]) as transport:
        while server.connections < CONNECTIONS:
            results = await asyncio.gather(
                *(transport.send(server.request(body=b"x")) for _ in range(4)), return_exceptions=True
            )
            assert all(isinstance(result, TransportError) for result in results)
            assert not any(isinstance(result, TransportTimeoutError) for result in results)


async def stuck(peer: Peer, way: Way) -> None:
    """Stop in the phase that the path of the request names."""
    if peer.number % 10 == 9:
        await asyncio.sleep(60)
    if way.tls:
        await peer.secure(way.context)
    if way.version == "2":
        http2 = Http2Peer(peer, {SettingCodes.MAX_CONCURRENT_STREAMS: 2 + peer.number % 2})
        async for event in http2.events():
            if isinstance(event, RequestReceived) and dict(event.headers)[":path"] == "/half":
                http2.answer(event.stream_id, end=False)
        return
    head = await peer.head()
    if b" /unread " in head:
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
    if b" /half " in head:
        await peer.say(RESPONSE[:-500])
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    "turns", [0, 3, 30, 300, 3000, *(pytest.param(turns, marks=pytest.mark.deep) for turns in (1, 10, 100, 1000))]
)
@in_loop
async def test_closing_ends_requests_in_every_phase(way: Way, turns: int) -> None:
    async def never_ends() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        await asyncio.sleep(60)

    async def serve(peer: Peer) -> None:
        await stuck(peer, way)

    before = native_objects()
    async with serving(serve, scheme=way.scheme) as server:
        transport = NativeTransport(way.config)

        def request(number: int) -> HttpRequest:
            match number % 6:
                case 0:
                    return server.request("GET", target="/silent")
                case 1:
                    return server.request(body=bytes(8 * MIB), target="/unread")
                case 2:
                    return server.request(body=Pieces(bytes(8 * MIB)), content_length=8 * MIB, target="/unread")
                case 3:
                    return server.request("GET", target="/half", on_body=lambda _: None)
                case 4:
                    return server.request(body=never_ends(), content_length=2000, target="/silent")
                case _:
                    headers = {"expect": "100-continue"}
                    return server.request(body=b"x", headers=headers, expect_continue=True, target="/silent")

        sending = [asyncio.create_task(transport.send(request(n))) for n in range(50)]
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await transport.aclose()
            results = await asyncio.gather(*sending, return_exceptions=True)
        unexpected = [result for result in results if not isinstance(result, TransportError)]
        unexpected += [result for result in results if isinstance(result, TransportTimeoutError | ConnectError)]
        assert unexpected == []
        assert not transport._connections
        del transport, sending, results, unexpected
    await until(lambda: native_objects() <= before)


async def responses(peer: Peer) -> None:
    while await peer.head():
        await peer.say(RESPONSE)


@in_loop
async def test_a_request_that_gets_its_connection_when_the_client_has_closed_fails() -> None:
    async with serving(responses) as server, native() as transport, asyncio.timeout(60):
        wait = transport._wait

        async def closed_meanwhile(*args: Any) -> Any:
            slot = await wait(*args)
            await transport.aclose()
            return slot

        transport._wait = closed_meanwhile  # type: ignore[method-assign]
        with pytest.raises(TransportError, match="the client is closed"):
            await transport.send(server.request("GET"))


@in_loop
async def test_a_retry_after_the_client_has_closed_fails() -> None:
    async with serving(responses) as server, native() as transport, asyncio.timeout(60):
        exchange = transport._exchange

        async def unsent(*args: Any) -> Any:
            await exchange(*args)
            await transport.aclose()
            return SimpleNamespace(result=wire.UNSENT, body_begun=False, why="")

        transport._exchange = unsent  # type: ignore[method-assign]
        with pytest.raises(TransportError, match="the client is closed"):
            await transport.send(server.request("GET"))
        assert server.connections == 1
