"""How the native transport makes a connection: TLS, ALPN, and what becomes of the socket and the error."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trustme

pytest.importorskip("cosxfer._native.wire")

from cosxfer.errors import ConnectError
from cosxfer.transport import native_connect, tcp
from cosxfer.transport.native_connect import Target, connect

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
AUTHORITY = trustme.CA()


@contextlib.asynccontextmanager
async def listening(serve: Serve | None = None, *, alpn: list[str] | None = None) -> AsyncIterator[int]:
    """A server on a free port: TLS with these protocols, or what ``serve`` does."""
    context = None
    if alpn is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
        context.set_alpn_protocols(alpn)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await (serve(reader, writer) if serve else reader.read())
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def target(port: int, *protocols: str, trusted: bool = True, tls: bool = True) -> Target:
    context = ssl.create_default_context() if tls else None
    if context is not None and trusted:
        AUTHORITY.configure_trust(context)
    return Target(host="127.0.0.1", port=port, context=context, protocols=protocols or ("h2", "http/1.1"))


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(whole())
    gc.collect()  # a socket that was left open is a warning, which is an error here


@pytest.mark.parametrize(("protocol", "http2"), [("h2", True), ("http/1.1", False)])
def test_without_tls_the_first_protocol_is_used(protocol: str, http2: bool) -> None:
    async def test() -> None:
        async with listening() as port:
            sock, speaks_http2 = await connect(target(port, protocol, tls=False), timeout_seconds=5)
            with sock:
                assert speaks_http2 == http2
                assert not isinstance(sock, ssl.SSLSocket)
                assert not sock.getblocking()
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    run(test)


@pytest.mark.parametrize(
    ("offered", "spoken", "http2"),
    [
        (("h2", "http/1.1"), ["h2", "http/1.1"], True),
        (("h2", "http/1.1"), ["http/1.1"], False),
        (("h2", "http/1.1"), [], False),
        (("http/1.1",), ["h2", "http/1.1"], False),
        (("h2",), ["h2"], True),
    ],
)
def test_with_tls_alpn_decides(offered: tuple[str, ...], spoken: list[str], http2: bool) -> None:
    async def test() -> None:
        async with listening(alpn=spoken) as port:
            sock, speaks_http2 = await connect(target(port, *offered), timeout_seconds=5)
            with sock:
                assert isinstance(sock, ssl.SSLSocket)
                assert speaks_http2 == http2

    run(test)


def test_one_context_offers_each_connection_its_own_protocols() -> None:
    async def test() -> None:
        async with listening(alpn=["h2", "http/1.1"]) as port:
            both = target(port)
            only = Target(host=both.host, port=port, context=both.context, protocols=("http/1.1",))
            made = await asyncio.gather(*(connect(one, timeout_seconds=5) for one in (both, only) * 4))
            assert [http2 for _, http2 in made] == [True, False] * 4
            for sock, _ in made:
                sock.close()

    run(test)


async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()
    await reader.read()


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(
    ("serve", "settings", "text", "retryable"),
    [
        (plain, {}, "without the s", False),
        (closing, {}, "EOF|closed|reset", True),
        (silent, {}, r"no response in 0\.2 s", True),
    ],
)
def test_a_failed_handshake_is_an_error_that_says_why(
    serve: Serve, settings: dict[str, bool], text: str, retryable: bool
) -> None:
    async def test() -> None:
        async with listening(serve) as port:
            with pytest.raises(ConnectError, match=text) as caught:
                await connect(target(port, **settings), timeout_seconds=0.2 if serve is silent else 5)
            assert caught.value.retryable == retryable
            assert f"cannot connect to 127.0.0.1:{port}" in str(caught.value)

    run(test)


def test_an_unknown_authority_and_a_missing_http2_are_final() -> None:
    async def test() -> None:
        async with listening(alpn=["http/1.1"]) as port:
            for refused, text in ((target(port, trusted=False), "not trusted"), (target(port, "h2"), "HTTP/2")):
                with pytest.raises(ConnectError, match=text) as caught:
                    await connect(refused, timeout_seconds=5)
                assert not caught.value.retryable

    run(test)


def test_nobody_who_listens_and_a_name_without_an_address_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with listening() as port:
            pass
        with pytest.raises(ConnectError, match=rf"127\.0\.0\.1:{port}: Connection refused") as caught:
            await connect(target(port, tls=False), timeout_seconds=5)
        assert caught.value.retryable

        def unknown(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        with pytest.raises(ConnectError, match="Name or service not known"):
            await connect(target(port), timeout_seconds=5)

    run(test)


def test_a_cancelled_handshake_closes_its_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = asyncio.Event()
    made: list[ssl.SSLSocket] = []
    wrapped = native_connect._wrapped

    def noted(sock: socket.socket, context: ssl.SSLContext, where: Target) -> ssl.SSLSocket:
        made.append(wrapped(sock, context, where))
        begun.set()
        return made[-1]

    monkeypatch.setattr(native_connect, "_wrapped", noted)

    async def test() -> None:
        async with listening(silent) as port:
            connecting = asyncio.create_task(connect(target(port), timeout_seconds=5))
            await begun.wait()
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            assert [sock.fileno() for sock in made] == [-1]

    run(test)


def test_a_name_is_looked_up_once_for_connections_that_are_made_together(monkeypatch: pytest.MonkeyPatch) -> None:
    lookups: list[str] = []
    getaddrinfo = socket.getaddrinfo

    def counted(host: str, port: int, **settings: int) -> object:
        if settings.get("flags") == socket.AI_NUMERICHOST:
            raise socket.gaierror
        lookups.append(host)
        return getaddrinfo("127.0.0.1", port, **settings)  # type: ignore[call-overload]

    monkeypatch.setattr(socket, "getaddrinfo", counted)

    async def test() -> None:
        first = asyncio.create_task(tcp.addresses("cos.example", 80))
        others = [asyncio.create_task(tcp.addresses("cos.example", 80)) for _ in range(50)]
        await asyncio.sleep(0)
        first.cancel()  # which the others do not notice
        assert len({str(found) for found in await asyncio.gather(*others)}) == 1
        assert lookups == ["cos.example"]
        await tcp.addresses("cos.example", 80)
        assert len(lookups) == 2

    run(test)
