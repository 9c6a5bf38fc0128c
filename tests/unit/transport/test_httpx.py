"""The httpx transport against a scripted socket: every failure is an error of cosxfer."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cosxfer.config import ClientConfig
from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import ConnectError, CosxferError, ProtocolError, TransportError, TransportTimeoutError
from cosxfer.transport.httpx import HttpxTransport

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def ask(script: Script, **given: object) -> HttpResponse:
    """Send one request to a server that runs ``script``."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = HttpxTransport(ClientConfig(http_version="1.1"))
    settings: dict[str, object] = {"method": "GET", "target": "/k", "headers": {"host": "h"}, **given}
    endpoint = resolve_endpoint(f"http://127.0.0.1:{port}", bucket="b-1", region=None)
    try:
        return await transport.send(HttpRequest(endpoint=endpoint, **settings))  # type: ignore[arg-type]
    finally:
        await transport.aclose()
        server.close()


def saying(answer: bytes, *, read: bool = True) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if read:
            await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return script


def test_a_response_has_status_headers_and_body() -> None:
    answer = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nX-A: 1\r\nX-A: 2\r\nX-U: \xc3\xbc\r\nContent-Length: 2\r\n\r\nok'
    response = asyncio.run(ask(saying(answer)))
    assert (response.status, response.body, response.http_version) == (200, b"ok", "HTTP/1.1")
    assert response.headers["etag"] == '"e"'
    assert response.headers["x-a"] == "1, 2"
    assert response.headers["x-u"] == "ü"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", TransportError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ncut", ProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Le", TransportError),
        (b"SSH-2.0-OpenSSH_9.6\r\n", ProtocolError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ProtocolError),
    ],
    ids=["nothing", "a cut body", "a cut head", "another protocol", "a bad chunk"],
)
def test_an_incomplete_response_is_a_transport_error(answer: bytes, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        asyncio.run(ask(saying(answer)))
    assert isinstance(caught.value, TransportError)
    assert caught.value.retryable
    assert caught.value.url.startswith("http://127.0.0.1:")
    assert "?" not in caught.value.url


def test_a_silent_server_is_a_timeout() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    with pytest.raises(TransportTimeoutError, match=r"silent for 0\.05 s"):
        asyncio.run(ask(silent, stall_timeout_seconds=0.05))


def test_a_port_without_a_listener_is_a_connect_error_with_its_address() -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        transport = HttpxTransport(ClientConfig())
        endpoint = resolve_endpoint(f"http://127.0.0.1:{port}", bucket="b-1", region=None)
        with pytest.raises(ConnectError, match=rf"cannot connect to 127\.0\.0\.1:{port}: .*refused"):
            await transport.send(HttpRequest(method="GET", endpoint=endpoint, target="/", headers={"host": "h"}))
        await transport.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("end", ["cancelled", "closed"])
def test_a_request_that_ends_during_the_tls_handshake_closes_its_connection(end: str) -> None:
    async def main() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(1)
            begun.set()
            try:
                await reader.read()
                ended.set()
            finally:
                writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        endpoint = resolve_endpoint(f"https://127.0.0.1:{port}", bucket="b-1", region=None)
        transport = HttpxTransport(ClientConfig())
        request = HttpRequest(method="GET", endpoint=endpoint, target="/", headers={"host": "h"})
        sending = asyncio.create_task(transport.send(request))
        await begun.wait()
        if end == "cancelled":
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
        else:
            await transport.aclose()
            with pytest.raises(TransportError, match="the client is closed"):
                await sending
        await ended.wait()
        await transport.aclose()
        server.close()

    # The garbage collector would close it too, but later.
    gc.disable()
    try:
        asyncio.run(asyncio.wait_for(main(), 30))
    finally:
        gc.enable()


@pytest.mark.parametrize("expect_continue", [False, True])
def test_a_running_request_ends_when_the_client_is_closed(expect_continue: bool) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            begun.set()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        endpoint = resolve_endpoint(f"http://127.0.0.1:{port}", bucket="b-1", region=None)
        transport = HttpxTransport(ClientConfig(http_version="1.1"))
        headers = {"host": "h", "content-length": "1"} | ({"expect": "100-continue"} if expect_continue else {})
        request = HttpRequest(
            method="PUT",
            endpoint=endpoint,
            target="/",
            headers=headers,
            body=b"x",
            content_length=1,
            expect_continue=expect_continue,
        )
        sending = asyncio.create_task(transport.send(request))
        await begun.wait()
        await transport.aclose()
        with pytest.raises(TransportError, match="the client is closed"):
            await sending
        server.close()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_path_is_sent_unchanged() -> None:
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readline())
        await saying(b"HTTP/1.1 204 No Content\r\n\r\n")(reader, writer)

    asyncio.run(ask(script, target="/a/../b//c%2F?x&y=1%202"))
    assert seen == [b"GET /a/../b//c%2F?x&y=1%202 HTTP/1.1\r\n"]


def test_a_body_is_sent_whole_and_counted() -> None:
    body = bytes(range(256)) * 1000
    counted: list[int] = []
    arrived: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.append(await reader.readexactly(len(body)))
        await saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", read=False)(reader, writer)

    headers = {"host": "h", "content-length": str(len(body))}
    given = {"method": "PUT", "headers": headers, "content_length": len(body), "on_sent": counted.append}
    for form in (body, memoryview(body), [body[:100_000], body[100_000:]]):
        asyncio.run(ask(script, body=form, **given))
    assert arrived == [body] * 3
    assert sum(counted) == 3 * len(body)


def test_the_bytes_of_a_broken_request_are_subtracted() -> None:
    counted: list[int] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100_000)
        writer.transport.abort()

    headers = {"host": "h", "content-length": "10000000"}
    with pytest.raises(TransportError):
        asyncio.run(
            ask(
                script,
                method="PUT",
                headers=headers,
                content_length=10_000_000,
                body=b"x" * 10_000_000,
                on_sent=counted.append,
            )
        )
    assert max(counted) > 0
    assert sum(counted) == 0


def test_an_error_of_the_body_comes_through() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        raise CosxferError("the source broke")

    headers = {"host": "h", "content-length": "10"}
    with pytest.raises(CosxferError, match="the source broke"):
        asyncio.run(ask(saying(b"", read=True), method="PUT", headers=headers, content_length=10, body=body()))


def test_an_endless_response_is_not_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosxfer.transport.httpx_body.MAX_RESPONSE_BYTES", 1000)
    with pytest.raises(ProtocolError, match="longer than 1000 bytes"):
        asyncio.run(ask(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001)))


def test_a_body_goes_to_on_body_but_an_error_does_not() -> None:
    pieces: list[bytes] = []
    asyncio.run(ask(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"), on_body=pieces.append))
    assert b"".join(pieces) == b"body"
    response = asyncio.run(ask(saying(b"HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\nerror"), on_body=pieces.append))
    assert response.body == b"error"
    assert b"".join(pieces) == b"body"


def test_a_closed_transport_sends_nothing() -> None:
    async def main() -> None:
        transport = HttpxTransport(ClientConfig())
        await transport.aclose()
        endpoint = resolve_endpoint("http://127.0.0.1:1", bucket="b-1", region=None)
        with pytest.raises(TransportError, match="the client is closed"):
            await transport.send(HttpRequest(method="GET", endpoint=endpoint, target="/", headers={"host": "h"}))

    asyncio.run(main())


@pytest.mark.parametrize("kind", [ValueError, OSError, RuntimeError])
def test_an_exception_of_the_body_is_raised_unchanged(kind: type[Exception]) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        raise kind("of the body")

    with pytest.raises(kind, match="of the body"):
        asyncio.run(ask(saying(b""), method="PUT", body=body(), content_length=2))
