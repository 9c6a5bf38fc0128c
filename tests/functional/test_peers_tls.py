"""A hostile server inside TLS: tiny records, every way to close, alerts and damage, over HTTP/1.1 and HTTP/2.

``COSXFER_NOISE`` sets the number of rounds of noise.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import select
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trustme
from h2.events import DataReceived, StreamEnded

from cosxfer.config import HttpVersion
from cosxfer.errors import ConnectError, CosxferError, ProtocolError, TransportError, TransportTimeoutError
from cosxfer.transport.native import NativeTransport
from cosxfer.transport.native_connect import Target, connect
from tests.functional.peer_raw import OK, Http2Peer, Peer, Server, in_loop, native, serving
from tests.functional.peer_tls import TLS12, TLS13, client_context, server_context

ROUNDS = int(os.environ.get("COSXFER_NOISE", "60"))
AUTHORITY = trustme.CA()
SERVER = AUTHORITY.issue_cert("127.0.0.1")
BIG = random.Random(2).randbytes(1_000_000)


class TlsPeer:
    """The server's side of a TLS connection, controlled record by record."""

    def __init__(self, peer: Peer, version: ssl.TLSVersion) -> None:
        self.peer = peer
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = server_context(SERVER, version=version)
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.got = b""

    async def begin(self) -> str | None:
        """Make the handshake; return the protocol that ALPN chose."""
        while True:
            try:
                self.session.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self.flush()
                await self.hear()
        await self.flush()
        return self.session.selected_alpn_protocol()

    async def hear(self) -> None:
        data = await self.peer.reader.read(65536)
        if not data:
            raise ConnectionResetError
        self.incoming.write(data)

    async def read(self, length: int) -> bytes:
        while len(self.got) < length:
            try:
                self.got += self.session.read(65536)
            except ssl.SSLWantReadError:
                await self.hear()
        data, self.got = self.got[:length], self.got[length:]
        return data

    async def head(self) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await self.read(1)
        return head

    def records(self, data: bytes, size: int) -> bytes:
        """``data`` in records of ``size`` bytes."""
        for start in range(0, len(data), size):
            self.session.write(data[start : start + size])
        return self.outgoing.read()

    async def say(self, data: bytes, size: int = 16384) -> None:
        await self.peer.say(self.records(data, size))

    def take(self) -> bytes:
        """Return all data that was read and not yet taken."""
        data, self.got = self.got, b""
        return data

    async def flush(self) -> None:
        await self.peer.say(self.outgoing.read())

    async def notify(self) -> None:
        """Send close_notify."""
        with contextlib.suppress(ssl.SSLError):
            self.session.unwrap()
        await self.flush()

    async def alert(self) -> None:
        """Fail with an alert, as OpenSSL does for damaged data."""
        # As long as the longest record, because half of a client's record may already be buffered.
        self.incoming.write(b"\x17\x03\x03\x00\x20" + bytes(20_000))
        try:
            while True:
                self.session.read(65536)
        except ssl.SSLWantReadError as error:
            raise AssertionError("it has not failed") from error
        except ssl.SSLError:
            await self.flush()


Play = Callable[[TlsPeer], Awaitable[None]]


@contextlib.asynccontextmanager
async def tls_peers(play: Play, version: ssl.TLSVersion) -> AsyncIterator[Server]:
    """`serving`, inside TLS of one version."""

    async def serve(peer: Peer) -> None:
        tls = TlsPeer(peer, version)
        await tls.begin()
        await play(tls)

    async with serving(serve) as server:
        server.scheme = "https"
        yield server


def trusting(protocol: HttpVersion = "1.1") -> contextlib.AbstractAsyncContextManager[NativeTransport]:
    return native(protocol, verify=client_context(AUTHORITY))


def length_of(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)


each_version = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["TLS 1.2", "TLS 1.3"])


@in_loop
async def test_a_connection_that_is_reset_before_the_handshake_leaves_no_socket_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def reset_at_once(target: Target) -> socket.socket:
        with socket.create_server((target.host, 0)) as listener:
            sock = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        select.select([sock], [], [])  # until the reset has arrived
        sock.setblocking(False)
        return sock

    monkeypatch.setattr("cosxfer.transport.native_connect._connect", reset_at_once)
    target = Target(host="127.0.0.1", port=1, context=client_context(AUTHORITY), protocols=("http/1.1",))
    with pytest.raises(ConnectError, match="Connection reset by peer"):
        await connect(target, timeout_seconds=30)
    gc.collect()  # the collector warns of a socket that was left open


@each_version
@pytest.mark.parametrize("size", [1, 7])
@in_loop
async def test_a_response_in_tiny_records_over_http1(version: ssl.TLSVersion, size: int) -> None:
    body = random.Random(3).randbytes(3000)
    response = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    async def play(tls: TlsPeer) -> None:
        while True:
            await tls.read(length_of(await tls.head()))
            await tls.say(response, size)

    async with tls_peers(play, version) as server, trusting() as transport:
        for _ in range(3):
            got = await transport.send(server.request(body=BIG))
            assert got.body == body
        assert server.connections == 1


@each_version
@in_loop
async def test_frames_in_records_of_one_byte_over_http2(version: ssl.TLSVersion) -> None:
    got = bytearray()

    async def play(tls: TlsPeer) -> None:
        framed = Http2Peer(tls.peer)
        await tls.say(framed.http2.data_to_send(), 1)
        while True:
            for event in framed.http2.receive_data(await tls.read(1) + tls.take()):
                if isinstance(event, DataReceived):
                    got.extend(event.data)
                    framed.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    framed.answer(event.stream_id, body=b"x" * 2000)
            await tls.say(framed.http2.data_to_send(), 1)

    async with tls_peers(play, version) as server, trusting("2") as transport:
        for _ in range(2):
            response = await transport.send(server.request(body=BIG))
            assert (response.status, response.body) == (200, b"x" * 2000)
        assert server.connections == 1
    assert bytes(got) == BIG * 2


@each_version
@pytest.mark.parametrize("cut", [False, True], ids=["close_notify", "no close_notify"])
@in_loop
async def test_a_body_that_ends_with_the_connection_counts_only_with_close_notify(
    version: ssl.TLSVersion, cut: bool
) -> None:
    async def play(tls: TlsPeer) -> None:
        await tls.head()
        await tls.say(b"HTTP/1.1 200 OK\r\n\r\nto the end")
        if not cut:
            await tls.notify()

    async with tls_peers(play, version) as server, trusting() as transport:
        if cut:
            with pytest.raises(ProtocolError, match="cut short"):
                await transport.send(server.request("GET"))
        else:
            assert (await transport.send(server.request("GET"))).body == b"to the end"


@each_version
@pytest.mark.parametrize("end", ["close", "close_notify", "close_notify and silence", "alert", "cut record", "damage"])
@pytest.mark.parametrize("said", [b"", OK[:20], OK[:-1]], ids=["nothing", "half a head", "half a body"])
@in_loop
async def test_every_way_to_close_during_a_response_is_an_error(version: ssl.TLSVersion, end: str, said: bytes) -> None:
    async def play(tls: TlsPeer) -> None:
        await tls.read(length_of(await tls.head()))
        await tls.say(said)
        match end:
            case "close_notify":
                await tls.notify()
            case "close_notify and silence":
                await tls.notify()
                await asyncio.sleep(60)
            case "alert":
                await tls.alert()
            case "cut record":
                await tls.peer.say(tls.records(OK, 16384)[:-5])
            case "damage":
                record = bytearray(tls.records(OK, 16384))
                record[-3] ^= 1
                await tls.peer.say(bytes(record))
                await asyncio.sleep(60)

    async with tls_peers(play, version) as server, trusting() as transport:
        with pytest.raises(TransportError) as caught:
            await transport.send(server.request(body=b"x" * 1000, stall_timeout_seconds=10.0))
        assert not isinstance(caught.value, TransportTimeoutError)


@each_version
@pytest.mark.parametrize("protocol", ["1.1", "2"])
@in_loop
async def test_an_alert_in_the_middle_of_the_body_is_the_reason(version: ssl.TLSVersion, protocol: HttpVersion) -> None:
    async def play(tls: TlsPeer) -> None:
        await tls.read(100)
        await tls.alert()
        while await tls.peer.reader.read(1 << 16):
            pass

    async with tls_peers(play, version) as server, trusting(protocol) as transport:
        with pytest.raises(TransportError, match=r"(?i)alert"):
            await transport.send(server.request(body=BIG * 10))


@each_version
@in_loop
async def test_close_notify_in_the_middle_of_the_body_ends_the_request(version: ssl.TLSVersion) -> None:
    async def play(tls: TlsPeer) -> None:
        await tls.head()
        await tls.notify()
        while await tls.peer.reader.read(1 << 16):
            pass

    async with tls_peers(play, version) as server, trusting() as transport:
        with pytest.raises(TransportError, match="closed"):
            await transport.send(server.request(body=BIG * 10))


@each_version
@pytest.mark.parametrize("protocol", ["1.1", "2"])
@in_loop
async def test_damage_inside_tls_ends_every_request(version: ssl.TLSVersion, protocol: HttpVersion) -> None:
    chance = random.Random(17)

    async def play(tls: TlsPeer) -> None:
        await tls.read(20)
        if protocol == "2":
            framed = Http2Peer(tls.peer)
            framed.http2.receive_data(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
            said = framed.http2.data_to_send() + bytes.fromhex("00000104010000000188") + b"\0\0\2\0\1\0\0\0\1ok"
        else:
            said = OK
        records = bytearray(tls.records(said, chance.choice((1, 5, 16384))))
        for _ in range(chance.randrange(3)):
            match chance.randrange(3):
                case 0:
                    records[chance.randrange(len(records))] = chance.randrange(256)
                case 1:
                    del records[chance.randrange(len(records)) :]
                    records += b"\x17"
                case 2:
                    at = chance.randrange(len(records))
                    records[at:at] = chance.randbytes(chance.randrange(1, 9))
        await tls.peer.say(bytes(records))
        if chance.randrange(2):
            await tls.notify()
        elif chance.randrange(2):
            tls.peer.reset()

    async with tls_peers(play, version) as server, trusting(protocol) as transport:
        for _ in range(ROUNDS):
            body = bytes(chance.choice((0, 10, 300_000)))
            try:
                await transport.send(server.request(body=body, stall_timeout_seconds=0.4))
            except CosxferError:
                continue


@pytest.mark.parametrize(("version", "command"), [("-tls1_3", b"k"), ("-tls1_3", b"K"), ("-tls1_2", b"r")])
@in_loop
async def test_the_server_may_change_keys_during_a_request(tmp_path: Path, version: str, command: bytes) -> None:
    """A KeyUpdate, one that requests ours too, and a renegotiation, by commands of OpenSSL's own server."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is the server")
    SERVER.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        openssl, "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(tmp_path / "both.pem"), version, "-crlf",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        while b"ACCEPT" not in await process.stdout.readline():
            pass
        async with trusting() as transport:
            server = Server(port)
            server.scheme = "https"
            for _ in range(2):
                request = server.request(body=b"x" * 2_000_000 + b"\n<end>\n", headers={"x-length": "here"})
                sending = asyncio.create_task(transport.send(request))
                got = bytearray()
                for asked in (b"x-length", b"x" * 100_000, b"<end>"):
                    while asked not in got:
                        got += await process.stdout.read(1 << 16)
                    process.stdin.write(command + b"\n")
                    await process.stdin.drain()
                    await asyncio.sleep(0.05)
                process.stdin.write(b"HTTP/1.1 200 OK\ncontent-length: 4\n\n")
                await process.stdin.drain()
                await asyncio.sleep(0.05)
                process.stdin.write(command + b"\n")
                await process.stdin.drain()
                await asyncio.sleep(0.05)
                process.stdin.write(b"ok\n")
                await process.stdin.drain()
                assert (await sending).body == b"ok\r\n"
    finally:
        process.kill()
        await process.communicate()
