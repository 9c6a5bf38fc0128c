"""The end of a request on a connection, as in RFC 9112, without any ambiguity."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.server import http1
from cosxfer.server.framing import MAX_HEAD_BYTES, MAX_TRAILER_BYTES, RequestFraming

HOST = b"Host: x\r\n"
CHUNKED = b"PUT /k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def taken(data: bytes, *, cut: int = 1 << 20) -> bytes:
    framing = RequestFraming()
    passed = b""
    for start in range(0, len(data), cut):
        framing.feed(data[start : start + cut])
        passed += framing.take()
    return passed


def status_of(data: bytes) -> int:
    """Return the status of the error, which is the same for whole data and byte by byte."""
    found = []
    for cut in (1 << 20, 1):
        with pytest.raises(h11.RemoteProtocolError) as caught:
            taken(data, cut=cut)
        found.append(caught.value.error_status_hint)
    assert found[0] == found[1]
    return int(found[0])


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", 400),
        (b"PUT / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n", 501),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", 400),
        *[
            (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: " + value + b"\r\n\r\n", 400)
            for value in (b"+5", b"-5", b"0x5", b"5 5", b"5, 5", b"", b"5_0", b"\xb2", b"9" * 21)
        ],
        (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nCONTENT-LENGTH: 6\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nx-a: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nx-a: b\r\n\tc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nx-a: b\rc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nx-a: b\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nx-a: b\x1b[2J\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
        *[(b"GET / HTTP/1.1\r\nHost: " + h + b"\r\n\r\n", 400) for h in (b"", b"a b", b"a/b", b"u@a", b"a:b", b"[::1")],
        (b"GET http://other/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http://x@other/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /\r\nHost: x\r\n\r\n", 400),
        (b"GET / http/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: x\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"x: y\r\n" * 300 + b"\r\n", 431),
        (b"\x16\x03\x01", 400),
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused(head: bytes, status: int) -> None:
    assert status_of(head) == status


@pytest.mark.parametrize(
    "head",
    [
        b"GET /k?a=b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /k HTTP/1.0\r\n\r\n",
        b"GET http://X:1/k HTTP/1.1\r\nHost: x:1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1]:80\r\nempty:\r\nx-a: \t b\tc \r\nx-\xc3".replace(b"x-\xc3", b"x-b: \xc3\xbc")
        + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nx: " + b"y" * (MAX_HEAD_BYTES - 200) + b"\r\n\r\n",
    ],
)
def test_a_valid_head_is_passed_unchanged(head: bytes) -> None:
    assert taken(head) == taken(head, cut=1) == taken(b"\r\n" + head) == head


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n",
        b"+2\r\n",
        b"0x2\r\n",
        b" 2\r\n",
        b"2 \r\n",
        b"\r\n",
        b";a\r\n",
        b"2\nab",
        b"2;a\x00\r\n",
        b"2;a\rb\r\n",
        b"F" * 17 + b"\r\n",
        b"\xb2\r\n",
        b"2\r\nabc",
        b"2\r\nab\n",
        b"2;" + b"x" * 2000,
        (b"1;" + b"x" * 900 + b"\r\na\r\n") * 30,
        b"0\r\nx-a: b\n\r\n",
        b"0\r\nx a: b\r\n\r\n",
        b"0\r\n x-a: b\r\n\r\n",
    ],
)
def test_malformed_chunks_are_refused(body: bytes) -> None:
    assert status_of(CHUNKED + body) == 400


def test_the_size_of_trailers_is_limited() -> None:
    assert status_of(CHUNKED + b"0\r\nx: " + b"y" * MAX_TRAILER_BYTES) == 431


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    st.sampled_from([b"", b";a", b';a="b"']),
    st.sampled_from([b"", b"x-a: b\r\n"]),
    st.integers(1, 60),
)
def test_chunks_pass_without_extensions_and_trailers(
    chunks: list[bytes], extension: bytes, trailer: bytes, cut: int
) -> None:
    def body(extension: bytes, trailer: bytes) -> bytes:
        listed = b"".join(b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
        return listed + b"0" + extension + b"\r\n" + trailer + b"\r\n"

    passed = taken(CHUNKED + body(extension, trailer) + b"GET /next", cut=cut)
    # h11 may split the data of one chunk in any way.
    assert passed == CHUNKED + body(b"", b"")


@given(st.integers(0, 50), st.integers(1, 60))
def test_a_request_ends_with_its_last_byte(size: int, cut: int) -> None:
    first = b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size
    second = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    framing = RequestFraming()
    framing.feed(first + second)
    assert framing.take() == first
    assert framing.take() == b""
    framing.next_request()
    assert framing.take() == second
    assert taken(first + second, cut=cut) == first


async def _responses_to(data: bytes) -> tuple[bytes, list[bytes]]:
    """Return the server's responses to ``data``, and the bodies that its application read."""
    bodies: list[bytes] = []

    async def app(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message["body"]
            more = message["more_body"]
        bodies.append(body)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    listening = await asyncio.start_server(
        lambda reader, writer: http1.speak_http1(app, reader, writer, client=("", 0), scheme="http"), "127.0.0.1"
    )
    async with listening:
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname()[:2])
        writer.write(data)
        writer.write_eof()
        said = await reader.read()
        writer.close()
    return said, bodies


def test_pipelined_requests_are_served_in_order() -> None:
    put = CHUNKED + b"2;x\r\nab\r\n3\r\ncde\r\n0\r\nx-t: 1\r\n\r\n"
    length = b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nfg"
    said, bodies = asyncio.run(_responses_to(put + length + put))
    assert bodies == [b"abcde", b"fg", b"abcde"]
    assert said.count(b"HTTP/1.1 204 ") == 3


def test_nothing_is_served_after_an_ambiguous_request() -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    for ambiguous in (
        b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"0\n\r\n\r\n",
    ):
        said, bodies = asyncio.run(_responses_to(ambiguous + smuggled))
        assert re.findall(rb"HTTP/1.1 \d+", said) == [b"HTTP/1.1 400"]
        assert bodies == []
