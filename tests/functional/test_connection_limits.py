"""How many connections a server sees: as many as the client's limits say, and no more than it accepts itself."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from h2.events import StreamEnded

import cosxfer
from cosxfer.config import ClientConfig, HttpVersion
from cosxfer.limits import MIB
from cosxfer.server import RunningServer
from cosxfer.transport.base import Transport
from cosxfer.transport.httpx import HttpxTransport
from cosxfer.transport.native import NativeTransport
from cosxfer.transport.native_pool import ConnectionLimits
from tests.functional.peer_raw import OK, Http2Peer, Peer, Server, in_loop, serving
from tests.functional.relay import Relay

TRANSPORTS: dict[str, Callable[[ClientConfig, ConnectionLimits], Transport]] = {
    "native": NativeTransport,
    "httpx": lambda config, limits: HttpxTransport(config, limits=limits),
}


class Counting:
    """A server that responds once so many requests are in flight, and knows over which connections they came."""

    def __init__(self, version: HttpVersion) -> None:
        self.serve = self._http1 if version == "1.1" else self._http2
        self._left = 0
        self._all = asyncio.Event()
        self.requests: Counter[int] = Counter()
        """Of each connection."""

    def expect(self, together: int) -> None:
        self._left = together
        self._all.clear()
        self.requests.clear()

    async def _arrived(self, peer: Peer) -> None:
        self.requests[peer.number] += 1
        self._left -= 1
        if self._left <= 0:
            self._all.set()
        await self._all.wait()

    async def _http1(self, peer: Peer) -> None:
        while True:
            await peer.head()
            await self._arrived(peer)
            await peer.say(OK)

    async def _http2(self, peer: Peer) -> None:
        http2 = Http2Peer(peer)
        waiting: set[asyncio.Task[None]] = set()

        async def respond(stream: int) -> None:
            await self._arrived(peer)
            http2.answer(stream)
            await http2.flush()

        async for event in http2.events():
            if isinstance(event, StreamEnded):
                waiting.add(asyncio.create_task(respond(event.stream_id)))


@contextlib.asynccontextmanager
async def limited(over: str, version: HttpVersion, limits: ConnectionLimits) -> AsyncIterator[Transport]:
    transport = TRANSPORTS[over](ClientConfig(http_version=version), limits)
    try:
        yield transport
    finally:
        await transport.aclose()


async def together(transport: Transport, server: Server, counting: Counting, count: int) -> None:
    """Have ``count`` requests in flight at a time."""
    counting.expect(count)
    responses = await asyncio.gather(*(transport.send(server.request("GET")) for _ in range(count)))
    assert [response.status for response in responses] == [200] * count


@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("over", ["native", "httpx"])
@pytest.mark.parametrize("level", [1, 4, 40])
@in_loop
async def test_the_server_sees_as_many_connections_as_the_level_says(
    level: int, over: str, version: HttpVersion
) -> None:
    limits, counting = ConnectionLimits(), Counting(version)
    limits.resize(level)
    expected = level if version == "1.1" else limits.http2
    async with asyncio.timeout(60), serving(counting.serve) as server, limited(over, version, limits) as transport:
        for _ in range(3):
            await together(transport, server, counting, level)
            assert server.connections == len(counting.requests) == expected


@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("over", ["native", "httpx"])
@in_loop
async def test_connections_follow_a_level_that_rises_and_falls(over: str, version: HttpVersion) -> None:
    limits, counting = ConnectionLimits(), Counting(version)
    async with asyncio.timeout(60), serving(counting.serve) as server, limited(over, version, limits) as transport:
        seen: set[int] = set()
        for level in (4, 40, 4, 1, 16, 40):
            limits.resize(level)
            most = 0
            seen = set()
            for _ in range(5):
                await together(transport, server, counting, level)
                most = max(most, len(counting.requests))
                seen |= counting.requests.keys()
            assert most == len(seen) == (level if version == "1.1" else limits.http2)
        assert server.connections == len(seen), "what was surplus for a while is used again"


@pytest.mark.parametrize("over", ["native", "httpx"])
@in_loop
async def test_requests_beyond_the_level_share_the_connections_of_http2(over: str) -> None:
    limits, counting = ConnectionLimits(), Counting("2")
    limits.resize(4)
    async with asyncio.timeout(60), serving(counting.serve) as server, limited(over, "2", limits) as transport:
        await together(transport, server, counting, 40)
        assert server.connections == 4
        assert sorted(counting.requests.values()) == [10] * 4


@pytest.mark.parametrize("over", ["native", "httpx"])
def test_256_requests_at_a_time_over_http1(server: RunningServer, over: str) -> None:
    """No storm of connections fails: neither at the backlog of the server, nor at descriptors, nor at threads."""

    async def main() -> None:
        async with cosxfer.AsyncClient(
            endpoint=server.endpoint,
            credentials=server.credentials,
            transport=over,  # type: ignore[arg-type]
            max_attempts=1,
        ) as client:
            client._transfers.limiter.connections.resize(256)
            await asyncio.gather(*(client.put_object(server.bucket, f"k{n}", bytes(65536)) for n in range(256)))

    asyncio.run(main())


# -- a server that accepts only so many connections --------------------------------------------------------------------


class Crowded(Relay):
    """Passes on up to `ACCEPTED` connections at a time to ``port``.

    It resets others, or ``refuses`` them: it does not listen as long as it has so many.
    """

    ACCEPTED = 8

    def __init__(self, port: int, *, refuses: bool) -> None:
        super().__init__()
        self._upstream = port
        self._refuses = refuses
        self._open = 0
        self._changed = threading.Condition(self._lock)
        self.most_open = self.turned_away = 0
        self._listen()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with self._changed:
                full = self._open >= self.ACCEPTED
                self._open += not full
                self.most_open = max(self.most_open, self._open)
            if full:
                self.turned_away += 1
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                continue
            self._keep(client)
            self._start(self._serve, client)
            if self._refuses:
                self._refuse_while_full()

    def _refuse_while_full(self) -> None:
        with self._changed:
            if self._open < self.ACCEPTED:
                return
            self._listener.close()
            self._changed.wait_for(lambda: self._open < self.ACCEPTED)
            self._listener = socket.create_server(("127.0.0.1", self.port))

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._upstream))
        self._keep(server)
        back = threading.Thread(target=self._pass, args=(server, client))
        back.start()
        self._pass(client, server)
        back.join()
        with self._changed:
            self._open -= 1
            self._changed.notify()

    @staticmethod
    def _pass(source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 18):
                to.sendall(data)
        for end in (source, to):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("refuses", [True, False], ids=["refuses", "resets"])
@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("over", ["native", "httpx"])
def test_an_upload_with_more_requests_than_the_server_accepts_connections_succeeds(
    server: RunningServer, tmp_path: Path, over: str, version: HttpVersion, refuses: bool
) -> None:
    body = random.Random(13).randbytes(64 * MIB)
    (tmp_path / "file").write_bytes(body)

    async def main(port: int) -> None:
        async with cosxfer.AsyncClient(
            endpoint=f"http://127.0.0.1:{port}",
            credentials=server.credentials,
            transport=over,
            http_version=version,
            max_attempts=3,
        ) as client:
            client._transfers.limiter.connections.resize(64)
            result = await client.slice_upload_file(
                server.bucket, "crowded", tmp_path / "file", slice_size=MIB, async_limit=64
            )
            assert result.verified

    with Crowded(server.port, refuses=refuses) as crowded:
        asyncio.run(main(crowded.port))
    assert crowded.most_open == Crowded.ACCEPTED
