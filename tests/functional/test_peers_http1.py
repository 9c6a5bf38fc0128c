"""The native transport over HTTP/1.1 against servers with every kind of behaviour, byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cosxfer.errors import ConnectError, ProtocolError, TransportError, TransportTimeoutError, UsageError
from cosxfer.limits import MIB
from tests.functional.peer_raw import OK, Peer, Server, in_loop, native, serving, until

BIG = bytes(8 * MIB)


async def once(peer: Peer) -> None:
    head = await peer.head()
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
    await peer.body(length)


@in_loop
async def test_a_connection_is_kept_for_the_next_request() -> None:
    async def serve(peer: Peer) -> None:
        while True:
            await once(peer)
            await peer.say(OK)

    async with serving(serve) as server, native() as transport:
        for _ in range(20):
            response = await transport.send(server.request(body=b"x" * 5000))
            assert (response.status, response.body, response.http_version) == (200, b"ok", "HTTP/1.1")
        assert server.connections == 1


@pytest.mark.parametrize("size", [1, 2, 7])
@in_loop
async def test_a_response_may_arrive_in_pieces_of_any_size(size: int) -> None:
    response = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A:  1 \r\nx-a: 2\r\n\r\n"
        b"5;x=1\r\nhello\r\n6\r\n world\r\n0\r\ntrailer: x\r\n\r\n"
    )

    async def serve(peer: Peer) -> None:
        while True:
            await once(peer)
            for start in range(0, len(response), size):
                await peer.say(response[start : start + size])
                await asyncio.sleep(0)

    async with serving(serve) as server, native() as transport:
        for _ in range(2):
            got = await transport.send(server.request(body=b"x"))
            assert (got.status, got.body, got.headers["x-a"]) == (200, b"hello world", "1, 2")
        assert server.connections == 1


MALFORMED = {
    "not http": b"SSH-2.0-OpenSSH_9\r\n\r\n",
    "http/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "bare lf": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n\r\n\r\n",
    "lf in the middle": b"HTTP/1.1 200 OK\r\na: b\nc: d\r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 0\r\n\r\n",
    "blank before colon": b"HTTP/1.1 200 OK\r\ncontent-length : 0\r\n\r\n",
    "no name": b"HTTP/1.1 200 OK\r\n: 0\r\n\r\n",
    "status 99": b"HTTP/1.1 099 OK\r\n\r\n",
    "status 2000": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status text": b"HTTP/1.1 OK\r\n\r\n",
    "http/1.2": b"HTTP/1.2 200 OK\r\ncontent-length: 0\r\n\r\n",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "list of lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\na",
    "negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    "signed length": b"HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\na",
    "huge length": b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
    "length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "other coding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks in http/1.0": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk size": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    "no chunk size": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n\r\n",
    "huge chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    "chunk too long": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    "endless chunk line": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;" + b"x" * 5000,
    "nul": b"HTTP/1.1 200 OK\r\na: \x00\r\n\r\n",
    "cr in value": b"HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n",
    "long head": b"HTTP/1.1 200 OK\r\na: " + b"x" * 70000,
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
    "endless interim": b"HTTP/1.1 102 Processing\r\n\r\n" * 100,
    "cut in the head": b"HTTP/1.1 200 OK\r\nconte",
    "cut in the body": b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
    "cut in a chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nabc",
    "bad trailer": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n: x\r\n\r\n",
}


@pytest.mark.parametrize("response", MALFORMED.values(), ids=MALFORMED.keys())
@in_loop
async def test_a_malformed_response_is_a_protocol_error(response: bytes) -> None:
    async def serve(peer: Peer) -> None:
        await once(peer)
        await peer.say(response)

    async with serving(serve) as server, native() as transport:
        with pytest.raises(ProtocolError):
            await transport.send(server.request(body=b"x"))


@pytest.mark.parametrize(
    ("response", "body"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 smuggled\r\n\r\n", b"ok"),
    ],
)
@in_loop
async def test_the_end_of_a_connection_does_not_lose_the_response(response: bytes, body: bytes) -> None:
    async def serve(peer: Peer) -> None:
        await once(peer)
        await peer.say(response)

    async with serving(serve) as server, native() as transport:
        for _ in range(3):
            assert (await transport.send(server.request(body=b"x"))).body == body
        assert server.connections == 3


@in_loop
async def test_head_has_no_body_whatever_its_content_length_is() -> None:
    async def serve(peer: Peer) -> None:
        while True:
            await once(peer)
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")

    async with serving(serve) as server, native() as transport:
        for _ in range(2):
            response = await transport.send(server.request("HEAD"))
            assert (response.body, response.headers["content-length"]) == (b"", "1000")
        assert server.connections == 1


@pytest.mark.parametrize("lingering", [True, False], ids=["reads on", "closes"])
@in_loop
async def test_a_refusal_before_the_body_is_sent_is_the_response(lingering: bool) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")
        while lingering and await peer.reader.read(65536):
            pass

    async with serving(serve) as server, native() as transport:
        for _ in range(3):
            response = await transport.send(server.request(body=BIG))
            assert (response.status, response.body) == (403, b"no")


@in_loop
async def test_an_early_success_waits_for_the_body_and_keeps_the_connection() -> None:
    got: list[int] = []

    async def serve(peer: Peer) -> None:
        while True:
            await peer.head()
            await peer.say(OK)
            got.append(len(await peer.body(len(BIG))))

    async with serving(serve) as server, native() as transport:
        for _ in range(2):
            assert (await transport.send(server.request(body=BIG))).status == 200
        await until(lambda: len(got) == 2)
        assert server.connections == 1
    assert got == [len(BIG)] * 2


@in_loop
async def test_an_early_success_with_connection_close_waits_for_the_body() -> None:
    got: list[int] = []

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.say(OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        got.append(len(await peer.body(len(BIG))))

    async with serving(serve) as server, native() as transport:
        for _ in range(2):
            assert (await transport.send(server.request(body=BIG))).status == 200
        await until(lambda: len(got) == 2)
    assert got == [len(BIG)] * 2


@pytest.mark.parametrize("head", [OK, OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)])
@in_loop
async def test_an_early_success_is_an_error_if_the_body_cannot_be_sent(head: bytes) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.say(head)

    async with serving(serve) as server, native() as transport:
        with pytest.raises(TransportError):
            await transport.send(server.request(body=BIG))


@in_loop
async def test_a_refusal_during_the_last_chunk_does_not_affect_the_next_request() -> None:
    heads: list[bytes] = []
    said = asyncio.Event()

    async def serve(peer: Peer) -> None:
        while True:
            head = await peer.head()
            heads.append(head.partition(b" ")[0])
            if b"chunked" not in head.lower():
                await peer.say(OK)
                continue
            await peer.body(len(b"3\r\nabc\r\n"))
            await peer.say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            said.set()

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        await said.wait()  # the last chunk is sent when the refusal arrives

    async with serving(serve) as server, native() as transport:
        for _ in range(100):
            said.clear()
            response = await transport.send(server.request(body=body()))
            assert response.status == 403
            assert (await transport.send(server.request())).status == 200
    assert set(heads) <= {b"PUT", b"GET"}


@in_loop
async def test_the_body_waits_for_100_continue() -> None:
    order: list[str] = []

    async def serve(peer: Peer) -> None:
        await peer.head()
        order.append("head")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.body(1), 0.05)
        await peer.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        await peer.body(5)
        order.append("body")
        await peer.say(OK)

    async with serving(serve) as server, native() as transport:
        response = await transport.send(
            server.request(body=b"12345", headers={"expect": "100-continue"}, expect_continue=True)
        )
        assert response.status == 200
    assert order == ["head", "body"]


@in_loop
async def test_a_refused_expectation_sends_nothing_and_silence_sends_the_body() -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        if peer.number == 0:
            await peer.say(b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n")
            assert not await peer.reader.read(10)
            return
        await peer.body(5)
        await peer.say(OK)

    sent: list[int] = []
    async with serving(serve) as server, native() as transport:
        request = server.request(
            body=b"12345", headers={"expect": "100-continue"}, expect_continue=True, on_sent=sent.append
        )
        assert (await transport.send(request)).status == 417
        assert not sent
        assert (await transport.send(request)).status == 200
    assert sum(sent) == 5


@in_loop
async def test_a_response_beyond_the_limit_is_refused() -> None:
    async def serve(peer: Peer) -> None:
        await once(peer)
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await peer.say(bytes(MIB))

    async with serving(serve) as server, native() as transport:
        with pytest.raises(ProtocolError, match="longer than"):
            await transport.send(server.request(body=b"x"))


@in_loop
async def test_a_body_given_to_a_callback_may_have_any_length() -> None:
    async def serve(peer: Peer) -> None:
        await once(peer)
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (40 * MIB))
        for _ in range(40):
            await peer.say(bytes(MIB))

    got: list[int] = []
    async with serving(serve) as server, native() as transport:
        response = await transport.send(server.request("GET", on_body=lambda piece: got.append(len(piece))))
        assert (response.body, sum(got)) == (b"", 40 * MIB)


@in_loop
async def test_reading_waits_for_a_slow_caller_and_the_connection_is_reused() -> None:
    sent = 0

    async def serve(peer: Peer) -> None:
        nonlocal sent
        await once(peer)
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (40 * MIB))
        for _ in range(40):
            await peer.say(bytes(MIB))
            sent += 1
        await once(peer)
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (4 * MIB + 1))
        await peer.say(
            bytes(4 * MIB + 1)
        )  # the last byte exceeds the limit at which the client stops reading, and ends the body
        await once(peer)
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext")

    async with serving(serve) as server, native() as transport:
        room = asyncio.get_running_loop().create_future()
        got, held = 0, asyncio.Event()

        def keep(piece: bytes) -> asyncio.Future[None]:
            nonlocal got
            got += len(piece)
            if got > 4 * MIB:
                held.set()
            return room

        call = asyncio.create_task(transport.send(server.request("GET", on_body=keep)))
        await held.wait()
        assert sent < 40
        room.set_result(None)
        await call
        assert got == 40 * MIB

        room = asyncio.get_running_loop().create_future()
        await transport.send(server.request("GET", on_body=keep))
        assert got == 44 * MIB + 1
        response = await transport.send(server.request("GET"))
        assert response.body == b"next"
        room.set_result(None)


@in_loop
async def test_a_server_that_closes_without_a_response_is_reported() -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()

    async with serving(serve) as server, native() as transport:
        with pytest.raises(TransportError, match="connection broke"):
            await transport.send(server.request(body=b"x"))


@in_loop
async def test_an_idle_connection_that_the_server_closes_is_replaced() -> None:
    async def serve(peer: Peer) -> None:
        await once(peer)
        await peer.say(OK)
        if peer.number % 2:
            peer.reset()

    async with serving(serve) as server, native() as transport:
        for expected in range(1, 6):
            assert (await transport.send(server.request(body=b"x"))).status == 200
            await until(lambda: not transport._connections)
            assert server.connections == expected


@in_loop
async def test_silence_ends_in_a_timeout_and_affects_no_other_request() -> None:
    async def serve(peer: Peer) -> None:
        head = await peer.head()
        if b"GET" in head:
            await asyncio.sleep(60)
        await peer.say(OK)

    async with serving(serve) as server, native() as transport:
        silent = asyncio.create_task(transport.send(server.request("GET", stall_timeout_seconds=0.3)))
        assert (await transport.send(server.request("HEAD"))).status == 200
        with pytest.raises(TransportTimeoutError, match=r"silent for 0\.3 s"):
            await silent


@in_loop
async def test_a_server_that_reads_nothing_causes_a_timeout() -> None:
    async def serve(peer: Peer) -> None:
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    async with serving(serve) as server, native() as transport:
        with pytest.raises(TransportTimeoutError):
            await transport.send(server.request(body=bytes(64 * MIB), stall_timeout_seconds=0.5))


@in_loop
async def test_cancelling_ends_only_its_request() -> None:
    async def serve(peer: Peer) -> None:
        if b"GET" in await peer.head():
            await asyncio.sleep(60)
        await peer.say(OK)

    async with serving(serve) as server, native() as transport:
        waiting = asyncio.create_task(transport.send(server.request("GET")))
        await until(lambda: server.connections)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await transport.send(server.request("HEAD"))).status == 200


@in_loop
async def test_a_body_of_pieces_is_sent_with_and_without_a_length() -> None:
    got: list[bytes] = []

    async def serve(peer: Peer) -> None:
        while True:
            head = await peer.head()
            if b"chunked" in head:
                body = b""
                while size := int(await peer.reader.readline(), 16):
                    body += await peer.body(size)
                    await peer.body(2)
                await peer.body(2)
                got.append(body)
            else:
                got.append(await peer.body(len(BIG)))
            await peer.say(OK)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(BIG), 300_000):
            yield BIG[start : start + 300_000]

    sent: list[int] = []
    async with serving(serve) as server, native() as transport:
        for length in (len(BIG), None):
            request = server.request(body=pieces(), content_length=length, on_sent=sent.append)
            assert (await transport.send(request)).status == 200
    assert got == [BIG, BIG]
    assert sum(sent) == 2 * len(BIG)


@in_loop
async def test_an_error_of_the_body_comes_through_unchanged() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        raise RuntimeError("the source failed")

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.reader.read()

    sent: list[int] = []
    async with serving(serve) as server, native() as transport:
        with pytest.raises(RuntimeError, match="the source failed"):
            await transport.send(server.request(body=pieces(), content_length=5000, on_sent=sent.append))
        assert sum(sent) == 0


@pytest.mark.parametrize("length", [999, 1001])
@in_loop
async def test_a_body_with_a_wrong_announced_length_fails(length: int) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * length

    async def serve(peer: Peer) -> None:
        await once(peer)
        await peer.say(OK)

    async with serving(serve) as server, native() as transport:
        with pytest.raises(ProtocolError, match="1000 bytes that were announced"):
            await transport.send(server.request(body=pieces(), content_length=1000))
        with pytest.raises(ProtocolError, match="1000 bytes that were announced"):
            await transport.send(server.request(body=b"x" * length, content_length=1000))


@in_loop
async def test_a_callback_that_raises_ends_its_request() -> None:
    async def serve(peer: Peer) -> None:
        await once(peer)
        await peer.say(OK)

    def fail(_: int) -> None:
        raise ValueError("no more")

    async with serving(serve) as server, native() as transport:
        with pytest.raises(ValueError, match="no more"):
            await transport.send(server.request(body=BIG, on_sent=fail))
        assert (await transport.send(server.request(body=b"x"))).status == 200


@in_loop
async def test_a_header_cannot_smuggle_another() -> None:
    async def serve(peer: Peer) -> None:
        raise AssertionError("nothing may be sent")

    async with serving(serve) as server, native() as transport:
        for value in ("a\r\nx: y", "a\nb", "a\0b"):
            with pytest.raises(UsageError):
                await transport.send(server.request(headers={"x-cos-meta-a": value}))
        with pytest.raises(UsageError):
            await transport.send(server.request(headers={"a b": "c"}))


@in_loop
async def test_the_rate_limit_applies_to_all_connections_together() -> None:
    loop = asyncio.get_running_loop()

    async def serve(peer: Peer) -> None:
        await once(peer)
        await peer.say(OK)

    async with serving(serve) as server, native(max_bytes_per_second=4e6) as transport:
        began = loop.time()
        await asyncio.gather(*(transport.send(server.request(body=bytes(500_000))) for _ in range(4)))
        # The first tenth of a second may be sent in one burst. A slow machine only takes longer.
        assert loop.time() - began >= (2e6 - 4e5) / 4e6 * 0.95


@in_loop
async def test_a_closed_transport_sends_nothing_and_ends_running_requests() -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        await asyncio.sleep(60)

    async with serving(serve) as server:
        async with native() as transport:
            waiting = asyncio.create_task(transport.send(server.request("GET")))
            await until(lambda: server.connections)
        with pytest.raises(TransportError, match="closed"):
            await waiting
        with pytest.raises(TransportError, match="closed"):
            await transport.send(server.request("GET"))


@in_loop
async def test_the_second_address_is_used_if_the_first_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(peer: Peer) -> None:
        await once(peer)
        await peer.say(OK)

    async with serving(serve) as server, native() as transport:
        loop = asyncio.get_running_loop()
        real = await loop.getaddrinfo("127.0.0.1", server.port, type=1)
        dead = await loop.getaddrinfo("::1", server.port, type=1)

        async def two(host: str, port: int) -> list[object]:
            return [(found[0], found[4]) for found in [*dead, *real]]

        monkeypatch.setattr("cosxfer.transport.native_connect.addresses", two)
        assert (await transport.send(server.request(body=b"x"))).status == 200


@in_loop
async def test_a_name_without_an_address_and_a_refusal_are_connect_errors() -> None:
    async with native() as transport:
        with pytest.raises(ConnectError, match="refused"):
            await transport.send(Server(1).request())
