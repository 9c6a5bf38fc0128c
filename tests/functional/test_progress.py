"""Progress over each transport: confirmed bytes count, a trickle does not, and endless noise is an error."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.settings import SettingCodes

from cosxfer.errors import ProtocolError, TransportTimeoutError
from cosxfer.limits import MIB
from tests.functional.peer_raw import OK, TRANSPORTS, Http2Peer, Peer, Server, in_loop, sending, serving
from tests.functional.peer_tls import client_context, server_context

STALL_SECONDS = 0.6
STEP_SECONDS = 0.03
STEP_BYTES = 40_000
BODY = bytes(2_000_000)
"""Read in 50 steps, which take over twice the timeout. The whole body fits into the sender's socket buffer."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def speaks_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = server_context(authority.issue_cert("127.0.0.1"))
    context.set_alpn_protocols(["http/1.1"])
    return context


def take_slowly(connection: socket.socket, version: str) -> None:
    """The server's side of a PUT of `BODY`. It reads slowly but steadily."""
    taken = 0
    if version == "1.1":
        seen = b""
        while b"\r\n\r\n" not in seen:
            seen += connection.recv(1)
        while taken < len(BODY):
            taken += len(connection.recv(STEP_BYTES))
            time.sleep(STEP_SECONDS)
        connection.sendall(OK)
        return
    http2 = H2Connection(H2Configuration(client_side=False))
    http2.initiate_connection()
    http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 4 * MIB})
    http2.increment_flow_control_window(4 * MIB)
    connection.sendall(http2.data_to_send())
    while True:
        for event in http2.receive_data(connection.recv(STEP_BYTES)):
            if isinstance(event, StreamEnded):
                http2.send_headers(event.stream_id, [(":status", "200")], end_stream=True)
                connection.sendall(http2.data_to_send())
                return
            taken += len(event.data) if isinstance(event, DataReceived) else 0
        connection.sendall(http2.data_to_send())
        if taken:
            time.sleep(STEP_SECONDS)


@contextlib.contextmanager
def in_thread(serve: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server for one connection. Its receive buffer is small, so that the sender's buffer fills up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        over = threading.Event()

        def run() -> None:
            connection, _ = listener.accept()
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            with connection:
                serve(connection)
                over.wait(60)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield Server(listener.getsockname()[1], scheme="http" if context is None else "https")
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize("over", TRANSPORTS)
@pytest.mark.parametrize(("version", "tls"), [("1.1", False), ("1.1", True), ("2", False)])
@in_loop
async def test_a_slow_but_steady_server_may_take_longer_than_the_timeout(
    over: str, version: str, tls: bool, authority: trustme.CA, speaks_tls: ssl.SSLContext
) -> None:
    with in_thread(lambda peer: take_slowly(peer, version), speaks_tls if tls else None) as server:
        async with sending(over, http_version=version, verify=client_context(authority)) as transport:
            response = await transport.send(server.request(body=BODY, stall_timeout_seconds=STALL_SECONDS))
    assert response.status == 200


@in_loop
async def test_a_slow_but_steady_server_after_100_continue() -> None:
    def serve(peer: socket.socket) -> None:
        while b"\r\n\r\n" not in peer.recv(65536):
            pass
        peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        taken = 0
        while taken < len(BODY):
            taken += len(peer.recv(STEP_BYTES))
            time.sleep(STEP_SECONDS)
        peer.sendall(OK)

    with in_thread(serve) as server:
        async with sending("httpx") as transport:
            request = server.request(
                body=BODY,
                stall_timeout_seconds=STALL_SECONDS,
                expect_continue=True,
                headers={"expect": "100-continue"},
            )
            assert (await transport.send(request)).status == 200


@pytest.mark.parametrize("over", TRANSPORTS)
@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("length", [100_000, len(BODY), 16 * MIB])
@in_loop
async def test_a_peer_whose_window_stays_closed_causes_a_timeout(over: str, version: str, length: int) -> None:
    def serve(peer: socket.socket) -> None:
        if version == "2":
            http2 = H2Connection(H2Configuration(client_side=False))
            http2.initiate_connection()
            http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 32 * MIB})
            http2.increment_flow_control_window(32 * MIB)
            peer.sendall(http2.data_to_send())

    with in_thread(serve) as server:
        async with sending(over, http_version=version) as transport, asyncio.timeout(100):
            with pytest.raises(TransportTimeoutError):
                await transport.send(server.request(body=bytes(length), stall_timeout_seconds=STALL_SECONDS))


async def early_hints(peer: Peer) -> None:
    await peer.head()
    while True:
        await peer.say(b"HTTP/1.1 103 Early Hints\r\n\r\n")


async def large_hints(peer: Peer) -> None:
    await peer.head()
    for _ in range(8):
        await peer.say(b"HTTP/1.1 103 Early Hints\r\nlink: %s\r\n\r\n" % (b"x" * 60_000))
    await peer.reader.read()


async def endless_head(peer: Peer) -> None:
    await peer.head()
    await peer.say(b"HTTP/1.1 200 OK\r\n")
    while True:
        await peer.say(b"x-y: %s\r\n" % (b"x" * 1000))


async def early_hints_http2(peer: Peer) -> None:
    http2 = Http2Peer(peer)
    async for event in http2.events():
        if isinstance(event, RequestReceived):
            while True:
                http2.http2.send_headers(1, [(":status", "103"), ("link", "x" * 500)])
                await http2.flush()
                await asyncio.sleep(0)  # lets the client run, which shares the loop


@pytest.mark.parametrize("over", TRANSPORTS)
@pytest.mark.parametrize(
    ("version", "serve"),
    [("1.1", early_hints), ("1.1", large_hints), ("1.1", endless_head), ("2", early_hints_http2)],
    ids=lambda value: getattr(value, "__name__", value),
)
@in_loop
async def test_endless_noise_is_an_error(over: str, version: str, serve: Callable[[Peer], Awaitable[None]]) -> None:
    async with serving(serve) as server, sending(over, http_version=version) as transport, asyncio.timeout(100):
        with pytest.raises(ProtocolError):
            await transport.send(server.request(body=b"x" * 100, stall_timeout_seconds=60))


@in_loop
async def test_endless_interim_responses_instead_of_100_continue_are_an_error() -> None:
    async with serving(early_hints) as server, sending("httpx") as transport, asyncio.timeout(30):
        request = server.request(body=b"x" * 100, expect_continue=True, headers={"expect": "100-continue"})
        with pytest.raises(ProtocolError):
            await transport.send(request)


@pytest.mark.parametrize("over", TRANSPORTS)
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("status", [403, 413])
@in_loop
async def test_the_refusal_of_a_server_that_closes_at_once_is_read(
    over: str, tls: bool, status: int, authority: trustme.CA, speaks_tls: ssl.SSLContext
) -> None:

    async def serve(peer: Peer) -> None:
        if tls:
            await peer.secure(speaks_tls)
        await peer.head()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it can
        await peer.say(b"HTTP/1.1 %d No\r\ncontent-length: 2\r\n\r\nno" % status)
        peer.writer.transport.abort()  # unread data makes this a RST

    scheme = "https" if tls else "http"
    async with serving(serve, scheme=scheme) as server, sending(over, verify=client_context(authority)) as transport:
        for _ in range(10):
            response = await transport.send(server.request(body=bytes(8 * MIB)))
            assert (response.status, response.body) == (status, b"no")
