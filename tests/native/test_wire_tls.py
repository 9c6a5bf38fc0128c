"""TLS on the wire, driven without the GIL and through Python, against servers that close in every way."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import struct
import threading
from collections.abc import Iterator

import pytest

from cosxfer._native import wire
from cosxfer.errors import TransportError
from cosxfer.server.tls import Certificate, make_certificate
from cosxfer.transport.native_connect import Target, connect
from tests.native.tls_play import BODY, OK, read_body, read_head, request, send, serving
from tests.native.wire_play import IGNORED


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"), host="127.0.0.1")


@pytest.fixture(params=["own records", "records of OpenSSL", "through Python"])
def without_gil(request: pytest.FixtureRequest) -> Iterator[bool]:
    wanted = request.param != "through Python"
    assert wire.tls_without_gil(wanted) is wanted
    wire.seal(request.param == "own records")
    yield wanted
    wire.tls_without_gil()
    wire.seal()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)
def test_bodies_arrive_whole_at_a_slow_reader(
    certificate: Certificate, without_gil: bool, version: ssl.TLSVersion
) -> None:
    got: list[bytes] = []

    def serve(sock: ssl.SSLSocket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        for _ in range(3):
            read_head(sock)
            got.append(read_body(sock, len(BODY), step=5000))
            sock.sendall(OK)

    with serving(certificate, serve, version=version) as port:
        replies = send(certificate, *[request(port, BODY)] * 3)
    assert [reply.body for reply in replies] == [b"ok"] * 3
    assert got == [BODY] * 3


@pytest.mark.parametrize("orderly", [True, False])
def test_a_body_that_ends_with_the_connection_counts_only_with_close_notify(
    certificate: Certificate, without_gil: bool, orderly: bool
) -> None:
    def serve(sock: ssl.SSLSocket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhalf of it")
        if orderly:
            sock.unwrap()

    with serving(certificate, serve) as port:
        if orderly:
            [reply] = send(certificate, request(port, method="GET"))
            assert reply.body == b"half of it"
        else:
            with pytest.raises(TransportError, match="cut short"):
                send(certificate, request(port, method="GET"))


def test_an_early_response_counts_if_the_first_write_was_partial(certificate: Certificate, without_gil: bool) -> None:
    def serve(sock: ssl.SSLSocket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        ended.wait(20)

    async def run(port: int) -> tuple[int, int]:
        sock, _ = await connect(
            Target(
                host="127.0.0.1",
                port=port,
                context=ssl.create_default_context(cafile=certificate.ca_file),
                protocols=("http/1.1",),
            ),
            timeout_seconds=10,
        )
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        io_thread = wire.IoThread()
        io_thread.start()
        connection = wire.Connection(sock, http2=False)
        io_thread.add(connection)
        body = bytes(60_000)  # head and body are gathered for one write of several records
        head = b"PUT /x HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body)
        exchange = wire.Exchange(head, length=len(body), stall_seconds=20, max_response_bytes=1000)
        exchange.set_body(body)
        exchange.no_more()
        io_thread.submit(connection, exchange)
        while not exchange.done:
            await asyncio.sleep(0.001)
            io_thread.drain(IGNORED)
        io_thread.stop()
        io_thread.drain(IGNORED)
        return exchange.result, exchange.status

    ended = threading.Event()
    with serving(certificate, serve, receive_bytes=4096) as port:
        try:
            assert asyncio.run(run(port)) == (wire.OK, 403)
        finally:
            ended.set()


def test_a_reset_in_mid_body_is_an_error(certificate: Certificate, without_gil: bool) -> None:
    def serve(sock: ssl.SSLSocket) -> None:
        read_head(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    # The wire must not depend on the process's handling of SIGPIPE.
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        with serving(certificate, serve) as port, pytest.raises(TransportError, match="connection broke"):
            send(certificate, request(port, BODY))
    finally:
        signal.signal(signal.SIGPIPE, before)


def test_data_that_is_not_tls_after_the_handshake_is_an_error(certificate: Certificate, without_gil: bool) -> None:
    def serve(sock: ssl.SSLSocket) -> None:
        read_head(sock)
        with socket.socket(fileno=sock.detach()) as plain:
            plain.sendall(OK)
            plain.settimeout(10)
            with contextlib.suppress(OSError):
                while plain.recv(1 << 16):
                    pass

    with serving(certificate, serve) as port, pytest.raises(TransportError, match=r"(?i)wrong.version.number"):
        send(certificate, request(port))


def test_the_callers_context_is_not_changed(certificate: Certificate) -> None:
    chosen: list[str | None] = []

    def serve(sock: ssl.SSLSocket) -> None:
        chosen.append(sock.selected_alpn_protocol())
        sock.recv(1)

    async def connected(target: Target) -> bool:
        sock, http2 = await connect(target, timeout_seconds=10)
        sock.close()
        return http2

    context = ssl.create_default_context(cafile=certificate.ca_file)
    with serving(certificate, serve) as port:
        for protocols, expected in [(("h2", "http/1.1"), True), (("http/1.1",), False)]:
            target = Target(host="127.0.0.1", port=port, context=context, protocols=protocols)
            assert asyncio.run(connected(target)) is expected
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
        ):
            assert sock.selected_alpn_protocol() is None
    assert sorted(chosen, key=str) == sorted(["h2", "http/1.1", None], key=str)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)
@pytest.mark.parametrize("own", [False, True])
def test_aes_128_is_preferred_unless_the_caller_has_given_a_context(
    certificate: Certificate, own: bool, version: ssl.TLSVersion
) -> None:
    suites: list[str] = []

    def serve(sock: ssl.SSLSocket) -> None:
        cipher = sock.cipher()
        assert cipher is not None
        suites.append(cipher[0])
        read_head(sock)
        sock.sendall(OK)

    context = ssl.create_default_context(cafile=certificate.ca_file)
    usual = next(cipher["name"] for cipher in context.get_ciphers())
    assert usual != "TLS_AES_128_GCM_SHA256"
    with serving(certificate, serve, version=version) as port:
        (response,) = send(certificate, request(port), verify=context if own else None)
    assert response.status == 200
    if version is ssl.TLSVersion.TLSv1_3:
        assert suites == [usual if own else "TLS_AES_128_GCM_SHA256"]
    else:
        assert "AES256-GCM" in suites[0]  # in TLS 1.2 most servers choose


def test_cipher_suites_that_openssl_does_not_know_change_nothing(certificate: Certificate) -> None:
    suites: list[object] = []

    async def connected(port: int, wanted: str) -> None:
        context = ssl.create_default_context(cafile=certificate.ca_file)
        target = Target(host="127.0.0.1", port=port, context=context, protocols=("http/1.1",), suites=wanted)
        sock, _ = await connect(target, timeout_seconds=10)
        suites.append(sock.cipher())  # type: ignore[attr-defined] # of a socket with TLS
        sock.close()

    with serving(certificate, lambda sock: None) as port:
        asyncio.run(connected(port, ""))
        asyncio.run(connected(port, "TLS_NONE_OF_THEM"))
    assert suites[0] == suites[1]


def test_python_drives_a_session_if_its_struct_is_not_recognised() -> None:
    context = ssl.create_default_context()
    elsewhere = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="a")
    assert not wire.offer(elsewhere, ["h2"])  # type: ignore[arg-type] # the point of it
    with (
        socket.socket() as plain,
        context.wrap_socket(plain, do_handshake_on_connect=False, server_hostname="a") as sock,
    ):
        assert not wire.offer(sock, ["h2"])  # not connected, so there is no session


def test_a_connection_reports_how_it_is_driven(certificate: Certificate, without_gil: bool) -> None:
    async def connected(port: int) -> bool:
        context = ssl.create_default_context(cafile=certificate.ca_file)
        target = Target(host="127.0.0.1", port=port, context=context, protocols=("http/1.1",))
        sock, _ = await connect(target, timeout_seconds=10)
        connection = wire.Connection(sock, http2=False)
        sock.close()
        return connection.without_gil

    with serving(certificate, lambda sock: None) as port:
        assert asyncio.run(connected(port)) is without_gil
