"""The exchange with Expect: 100-continue, against scripted servers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.cos.requests import Body, HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import ConnectError, ProtocolError, TransportError, TransportTimeoutError, UsageError
from cosxfer.transport.expect import ContinueExchange

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: x\r\nSet: a\r\nSet: \xc3\xbc\r\n\r\nok"
REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
BODY = b"x" * 600_000


async def exchange(
    script: Script, *, body: Body = BODY, content_length: int | None = len(BODY), wait_seconds: float = 30.0
) -> tuple[HttpResponse, list[int], bytes]:
    """Return the response, the bytes reported as sent, and the head that the server received."""
    sent: list[int] = []
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        try:
            await script(reader, writer)
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        lengths = {} if content_length is None else {"content-length": str(content_length)}
        request = HttpRequest(
            method="PUT",
            endpoint=resolve_endpoint(f"http://127.0.0.1:{port}", bucket="b-1", region=None),
            target="/a/../b?c",
            headers={"host": "h", **lengths, "expect": "100-continue", "x-cos-meta-a": "ü"},
            body=body,
            content_length=content_length,
            stall_timeout_seconds=30.0 if wait_seconds > 1 else 0.2,
            expect_continue=True,
            on_sent=sent.append,
        )
        response = await ContinueExchange(
            request=request, context=None, user_agent="test", connect_timeout_seconds=30.0, wait_seconds=wait_seconds
        ).run()
    return response, sent, heads[0]


def test_the_body_follows_after_100_continue() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" + CONTINUE)
        assert await reader.readexactly(len(BODY)) == BODY
        writer.write(FINE)

    response, sent, head = asyncio.run(exchange(script))
    assert (response.status, response.body, response.headers["etag"]) == (200, b"ok", "x")
    assert response.headers["set"] == "a, ü"
    assert sum(sent) == len(BODY)
    assert head.startswith(b"PUT /a/../b?c HTTP/1.1\r\n")
    assert "x-cos-meta-a: ü".encode() in head


def test_nothing_follows_when_the_server_refuses() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(REFUSED)
        await writer.drain()
        writer.write_eof()
        assert await reader.read() == b""

    response, sent, _ = asyncio.run(exchange(script))
    assert (response.status, response.body, sent) == (403, b"no", [])


def test_a_server_that_ignores_expect_gets_the_body_after_a_while() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(BODY)) == BODY
        writer.write(CONTINUE + FINE)

    response, sent, _ = asyncio.run(exchange(script, wait_seconds=0.05))
    assert (response.status, sum(sent)) == (200, len(BODY))


def test_a_body_of_unknown_length_goes_in_chunks() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CONTINUE)
        assert await reader.readuntil(b"0\r\n\r\n") == b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
        writer.write(FINE)

    response, _, head = asyncio.run(exchange(script, body=[b"ab", b"c"], content_length=None))
    assert response.status == 200
    assert b"transfer-encoding: chunked" in head.lower()


def test_a_connection_that_breaks_in_the_middle_of_the_body_is_a_plain_transport_error() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CONTINUE)
        await reader.readexactly(10)
        writer.transport.abort()

    with pytest.raises(TransportError, match="the connection broke") as caught:
        asyncio.run(exchange(script))
    assert type(caught.value) is TransportError


def test_a_response_in_the_middle_of_the_body_is_read() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CONTINUE)
        await reader.readexactly(10)
        writer.write(REFUSED)

    try:
        response, _, _ = asyncio.run(exchange(script, body=[BODY] * 20, content_length=20 * len(BODY)))
    except TransportError:
        pass  # the reset may overtake the response, which is then lost
    else:
        assert response.status == 403


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", TransportError),
        (CONTINUE, TransportError),
        (b"SSH-2.0-OpenSSH\r\n\r\n", ProtocolError),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nno", ProtocolError),
    ],
)
def test_a_malformed_response_is_reported(answer: bytes, error: type[TransportError]) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    with pytest.raises(error, match=r"PUT http://127\.0\.0\.1"):
        asyncio.run(exchange(script))


def test_a_server_that_falls_silent_times_out() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CONTINUE)
        await reader.read()

    with pytest.raises(TransportTimeoutError, match="silent"):
        asyncio.run(exchange(script, wait_seconds=0.5))


def test_an_exception_of_the_body_is_raised_unchanged() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CONTINUE)
        await reader.read()

    class Broken:
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield b"a"
            raise UsageError("no more")

    with pytest.raises(UsageError, match="no more"):
        asyncio.run(exchange(script, body=Broken(), content_length=5))


def test_a_dead_port_is_reported() -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        request = HttpRequest(
            method="PUT",
            endpoint=resolve_endpoint(f"http://127.0.0.1:{port}", bucket="b-1", region=None),
            target="/",
            headers={"host": "h"},
            expect_continue=True,
        )
        await ContinueExchange(request=request, context=None, user_agent="t", connect_timeout_seconds=5.0).run()

    with pytest.raises(ConnectError, match="cannot connect to 127"):
        asyncio.run(main())
