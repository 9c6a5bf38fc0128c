"""Scripted servers that speak TLS or refuse it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator

import trustme
from h2.events import DataReceived, StreamEnded

from tests.functional.peer_raw import OK, Http2Peer, Peer, Serve, Server

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def server_context(
    certificate: trustme.LeafCert, *, version: ssl.TLSVersion | None = None, clients_of: trustme.CA | None = None
) -> ssl.SSLContext:
    """``clients_of``: require a client certificate of this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    certificate.configure_cert(context)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if clients_of is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        clients_of.configure_trust(context)
    return context


def client_context(
    authority: trustme.CA, certificate: trustme.LeafCert | None = None, *, version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class TlsServer(Server):
    """A server whose `request` method makes https requests."""

    def __init__(self, port: int) -> None:
        super().__init__(port, scheme="https")
        self.sessions: list[ssl.SSLObject] = []
        self.bodies: list[int] = []


@contextlib.asynccontextmanager
async def serving_tls(context: ssl.SSLContext, serve: Serve | None = None) -> AsyncIterator[TlsServer]:
    """A server on a free port. It accepts whole requests in the protocol that ALPN chose, or runs ``serve``."""
    tasks: set[asyncio.Task[None]] = set()

    async def http1(peer: Peer) -> None:
        while True:
            head = await peer.head()
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            server.bodies.append(len(await peer.body(length)))
            await peer.say(OK)

    async def http2(peer: Peer) -> None:
        framed = Http2Peer(peer)
        got = 0
        async for event in framed.events():
            if isinstance(event, DataReceived):
                got += len(event.data)
                framed.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                server.bodies.append(got)
                got = 0
                framed.answer(event.stream_id)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = writer.get_extra_info("ssl_object")
        server.sessions.append(session)
        peer = Peer(reader, writer, server.connections)
        server.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await (serve or (http2 if session.selected_alpn_protocol() == "h2" else http1))(peer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has closed the connection
        finally:
            tasks.discard(task)
            with contextlib.suppress(OSError):
                writer.close()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context, limit=1 << 20)
    server = TlsServer(listener.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def refusing(context: ssl.SSLContext, *, abrupt: bool = False) -> Iterator[TlsServer]:
    """A server whose handshakes fail. It sends an alert with the reason, which asyncio's servers do not, and closes.

    ``abrupt``: close without reading the rest. The kernel then sends a RST, which may overtake the alert.
    """

    def handshake(client: socket.socket) -> None:
        # A duplicate, because a failing handshake closes its socket.
        with client, contextlib.suppress(OSError):
            try:
                context.wrap_socket(client.dup(), server_side=True).close()
            except ssl.SSLError:
                if not abrupt:
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(1 << 16):
                        pass

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.settimeout(10)
            server.connections += 1
            thread = threading.Thread(target=handshake, args=(client,), daemon=True)
            threads.append(thread)
            thread.start()

    listener = socket.create_server(("127.0.0.1", 0))
    server = TlsServer(listener.getsockname()[1])
    threads = [threading.Thread(target=accept, daemon=True)]
    threads[0].start()
    try:
        yield server
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(10)
