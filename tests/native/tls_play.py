"""Servers and requests over TLS, for tests of the wire."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

from cosxfer.config import ClientConfig
from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.server.tls import Certificate
from cosxfer.transport.native import NativeTransport

BODY = random.Random(5).randbytes(3_000_001)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

Serve = Callable[[ssl.SSLSocket], None]


@contextlib.contextmanager
def serving(
    certificate: Certificate,
    serve: Serve,
    *,
    version: ssl.TLSVersion | None = None,
    receive_bytes: int | None = None,
    on_message: Callable[[str, str], None] | None = None,
) -> Iterator[int]:
    """Run ``serve`` for each connection in a thread; yield the port.

    ``on_message`` gets the direction and the kind of each message of the handshake protocol.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["h2", "http/1.1"])
    if on_message is not None:
        context._msg_callback = lambda sock, direction, version, content, kind, data: on_message(  # type: ignore[attr-defined]
            direction, getattr(kind, "name", "")
        )
    if version is not None:
        context.maximum_version = context.minimum_version = version

    def one(plain: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as sock:
            serve(sock)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                threads.append(threading.Thread(target=one, args=(plain,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        if receive_bytes is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)


def request(port: int, body: bytes = b"", method: str = "PUT") -> HttpRequest:
    endpoint = resolve_endpoint(f"https://127.0.0.1:{port}", bucket="examplebucket-1250000000", region=None)
    return HttpRequest(
        method=method,
        endpoint=endpoint,
        target="/object",
        headers={"host": endpoint.authority, "content-length": str(len(body))},
        body=body,
        content_length=len(body),
        stall_timeout_seconds=20.0,
    )


def config(verify: ssl.SSLContext | str) -> ClientConfig:
    return ClientConfig(http_version="1.1", verify=verify)


def send(certificate: Certificate, *requests: HttpRequest, verify: ssl.SSLContext | None = None) -> list[HttpResponse]:
    """Send requests one after another over one transport."""

    async def run() -> list[HttpResponse]:
        transport = NativeTransport(config(verify or str(certificate.ca_file)))
        try:
            return [await transport.send(each) for each in requests]
        finally:
            await transport.aclose()

    return asyncio.run(run())


def read_head(sock: ssl.SSLSocket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    return head


def read_body(sock: ssl.SSLSocket, length: int, step: int = 1 << 16) -> bytes:
    body = bytearray()
    while len(body) < length:
        body += sock.recv(min(step, length - len(body)))
    return bytes(body)
