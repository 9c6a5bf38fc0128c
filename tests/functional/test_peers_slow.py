"""Slow servers, and servers that trickle: what counts as progress, and which requests wait for a connection."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, SettingsAcknowledged, StreamEnded
from h2.settings import SettingCodes

from cosxfer.config import HttpVersion
from cosxfer.errors import ProtocolError, TransportTimeoutError
from cosxfer.limits import MIB
from cosxfer.transport.native_pool import HTTP2_CONNECTIONS
from tests.functional.peer_raw import OK, Http2Peer, Peer, in_loop, native, sending, serving, until

BODY = random.Random(29).randbytes(400_000)
STALL_SECONDS = 0.5
STEP_SECONDS = 0.05
"""The interval at which a trickling server sends something."""


async def endless(step: Callable[[], Awaitable[None]]) -> None:
    while True:
        await step()
        await asyncio.sleep(STEP_SECONDS)


async def window_byte_by_byte(peer: Peer) -> None:
    """Opens the window byte by byte, although the whole body has arrived."""
    http2 = Http2Peer(peer)
    async for event in http2.events():
        if isinstance(event, DataReceived):

            async def step() -> None:
                await peer.say(bytes.fromhex("00000408000000000100000001"))

            await endless(step)


async def taken_byte_by_byte(peer: Peer) -> None:
    """Opens the window for one byte at a time."""
    http2 = Http2Peer(peer, {SettingCodes.INITIAL_WINDOW_SIZE: 1})
    async for event in http2.events():
        if isinstance(event, DataReceived):
            await asyncio.sleep(STEP_SECONDS)
            http2.http2.increment_flow_control_window(1, event.stream_id)


async def interim_http2(peer: Peer) -> None:
    http2 = Http2Peer(peer)
    async for event in http2.events():
        if isinstance(event, RequestReceived):

            async def step() -> None:
                http2.http2.send_headers(1, [(":status", "102")])
                await http2.flush()

            await endless(step)


async def body_http2(peer: Peer) -> None:
    http2 = Http2Peer(peer)
    async for event in http2.events():
        if isinstance(event, RequestReceived):
            http2.http2.send_headers(1, [(":status", "200")])

            async def step() -> None:
                http2.http2.send_data(1, b" ")
                await http2.flush()

            await endless(step)


async def interim_http1(peer: Peer) -> None:
    await peer.head()
    await endless(lambda: peer.say(b"HTTP/1.1 102 Processing\r\n\r\n"))


async def head_http1(peer: Peer) -> None:
    await peer.head()
    await peer.say(b"HTTP/1.1 200 OK\r\nx: ")
    await endless(lambda: peer.say(b"x"))


async def body_http1(peer: Peer) -> None:
    await peer.head()
    await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    await endless(lambda: peer.say(b"x"))


async def chunks_http1(peer: Peer) -> None:
    await peer.head()
    await peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;")
    await endless(lambda: peer.say(b"x"))


@pytest.mark.parametrize(
    ("version", "serve"),
    [
        ("2", window_byte_by_byte),
        ("2", taken_byte_by_byte),
        ("2", interim_http2),
        ("2", body_http2),
        ("1.1", interim_http1),
        ("1.1", head_http1),
        ("1.1", body_http1),
        ("1.1", chunks_http1),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
@pytest.mark.parametrize("over", ["native", "httpx"])
@in_loop
async def test_a_trickle_does_not_count_as_progress(
    version: HttpVersion, serve: Callable[[Peer], Awaitable[None]], over: str
) -> None:
    async with serving(serve) as server, sending(over, http_version=version) as transport, asyncio.timeout(20):
        with pytest.raises(TransportTimeoutError):
            await transport.send(server.request(body=b"x" * 100, stall_timeout_seconds=STALL_SECONDS))


@pytest.mark.parametrize("version", ["1.1", "2"])
@in_loop
async def test_a_response_that_makes_progress_may_take_longer_than_the_timeout(version: HttpVersion) -> None:
    steps, length = 20, 4000  # a response that takes twice the timeout

    async def serve(peer: Peer) -> None:
        if version == "1.1":
            await peer.head()
            await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (steps * length))
            for _ in range(steps):
                await asyncio.sleep(STEP_SECONDS)
                await peer.say(bytes(length))
            return
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, StreamEnded):
                http2.http2.send_headers(1, [(":status", "200")])
                for _ in range(steps):
                    await asyncio.sleep(STEP_SECONDS)
                    http2.http2.send_data(1, bytes(length))
                    await http2.flush()
                http2.http2.end_stream(1)

    async with serving(serve) as server, native(version) as transport:
        response = await transport.send(server.request("GET", stall_timeout_seconds=STALL_SECONDS))
        assert len(response.body) == steps * length


@in_loop
async def test_a_server_that_reads_nothing_of_a_fed_body_times_out() -> None:
    async def serve(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined] # it can
        await asyncio.sleep(60)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(8 * MIB)  # more than the read-ahead: the next piece waits until this one is sent

    async with serving(serve) as server, native() as transport, asyncio.timeout(20):
        request = server.request(body=pieces(), content_length=24 * MIB, stall_timeout_seconds=STALL_SECONDS)
        with pytest.raises(TransportTimeoutError):
            await transport.send(request)


@in_loop
async def test_an_endless_refusal_times_out_while_the_body_is_missing() -> None:
    never = asyncio.Event()

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.body(3)
        await peer.say(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\n")
        await peer.reader.read()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"
        await never.wait()

    async with serving(serve) as server, native() as transport, asyncio.timeout(20):
        with pytest.raises(TransportTimeoutError):
            await transport.send(server.request(body=pieces(), content_length=6, stall_timeout_seconds=STALL_SECONDS))


@in_loop
async def test_a_server_that_accepts_no_more_streams_times_out() -> None:
    none_taken = asyncio.Event()

    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, StreamEnded):
                http2.answer(event.stream_id)
                http2.http2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 0})
            elif isinstance(event, SettingsAcknowledged) and http2.http2.local_settings.max_concurrent_streams == 0:
                none_taken.set()

    async with serving(serve) as server, native("2") as transport, asyncio.timeout(20):
        (await transport.send(server.request("GET")))
        (origin,) = transport._origins.values()
        origin.pool.limits.http2 = 1
        await none_taken.wait()
        await until(lambda: all(slot.max_streams == 0 for slot in origin.pool.slots))
        with pytest.raises(TransportTimeoutError, match="takes no requests"):
            await transport.send(server.request("GET", stall_timeout_seconds=STALL_SECONDS))
        assert not origin.waiting


@in_loop
async def test_waiting_for_a_connection_has_no_timeout_while_another_request_runs() -> None:
    let_go = asyncio.Event()

    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer, {SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        async for event in http2.events():
            if isinstance(event, StreamEnded):
                await let_go.wait()
                http2.answer(event.stream_id)

    async with serving(serve) as server, native("2") as transport:
        first = asyncio.create_task(transport.send(server.request("GET")))
        await until(lambda: transport._origins and all(o.pool.slots for o in transport._origins.values()))
        (origin,) = transport._origins.values()
        origin.pool.limits.http2 = 1
        second = asyncio.create_task(transport.send(server.request("GET", stall_timeout_seconds=0.1)))
        await asyncio.sleep(0.3)
        assert not second.done()
        let_go.set()
        assert [(await first).status, (await second).status] == [200, 200]


@in_loop
async def test_requests_do_not_wait_for_a_connection_with_a_silent_server() -> None:
    async def serve(peer: Peer) -> None:
        if peer.number == 0:
            await peer.reader.read()  # never returns
            await asyncio.sleep(60)
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, StreamEnded):
                http2.answer(event.stream_id)

    async with serving(serve) as server, native("2") as transport, asyncio.timeout(20):
        silent = asyncio.create_task(transport.send(server.request("GET")))
        await until(lambda: server.connections)
        for _ in range(3):
            assert (await transport.send(server.request("GET"))).status == 200
        silent.cancel()
        await asyncio.gather(silent, return_exceptions=True)
        assert (await transport.send(server.request("GET"))).status == 200  # not over the silent connection


@in_loop
async def test_a_silent_server_costs_each_of_many_requests_one_timeout() -> None:
    async def serve(peer: Peer) -> None:
        await asyncio.sleep(60)

    async with serving(serve) as server, native("2") as transport, asyncio.timeout(20):
        requests = [server.request("GET", stall_timeout_seconds=1.0) for _ in range(2 * HTTP2_CONNECTIONS)]
        results = await asyncio.gather(*map(transport.send, requests), return_exceptions=True)
        assert all(isinstance(result, TransportTimeoutError) for result in results), results
        assert server.connections <= HTTP2_CONNECTIONS  # no connection was opened for a request that had timed out


@in_loop
async def test_a_body_that_can_be_read_once_times_out_if_the_server_is_silent() -> None:
    begun = False

    async def serve(peer: Peer) -> None:
        await asyncio.sleep(60)

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal begun
        begun = True
        yield BODY

    async with serving(serve) as server, native("2") as transport, asyncio.timeout(20):
        request = server.request(body=pieces(), content_length=len(BODY), stall_timeout_seconds=STALL_SECONDS)
        with pytest.raises(TransportTimeoutError):
            await transport.send(request)
    assert not begun


@pytest.mark.parametrize("status", ["000", "099", "600"])
@in_loop
async def test_an_invalid_status_is_malformed(status: str) -> None:
    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, StreamEnded):
                http2.http2.send_headers(event.stream_id, [(":status", status)], end_stream=True)

    async with serving(serve) as server, native("2") as transport:
        with pytest.raises(ProtocolError, match="status"):
            await transport.send(server.request(body=b"x"))


@pytest.mark.parametrize("version", ["1.1", "2"])
@in_loop
async def test_a_head_that_is_too_long_is_malformed(version: HttpVersion) -> None:
    headers = [(f"x-{n}", "x" * 1000) for n in range(140)]

    async def serve(peer: Peer) -> None:
        if version == "1.1":
            await peer.head()
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
            await peer.say(f"HTTP/1.1 200 OK\r\n{lines}content-length: 0\r\n\r\n".encode())
            return
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, StreamEnded):
                http2.http2.send_headers(event.stream_id, [(":status", "200"), *headers], end_stream=True)

    async with serving(serve) as server, native(version) as transport:
        with pytest.raises(ProtocolError, match="head is longer"):
            await transport.send(server.request("GET"))


@pytest.mark.parametrize("length", [400, None])
@in_loop
async def test_a_body_that_can_be_read_once_is_not_read_before_the_server_responds(length: int | None) -> None:
    got = bytearray()

    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        refused = False
        while data := await peer.reader.read(65536):
            for event in http2.http2.receive_data(data):
                if isinstance(event, RequestReceived) and not refused:
                    refused = True  # sent together with our SETTINGS, before any of the body has arrived
                    http2.http2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
                elif isinstance(event, DataReceived):
                    got.extend(event.data)
                elif isinstance(event, StreamEnded):
                    http2.answer(event.stream_id)
            if refused:
                await http2.flush()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, 400, 100):
            yield BODY[start : start + 100]

    async with serving(serve) as server, native("2") as transport:
        assert (await transport.send(server.request(body=pieces(), content_length=length))).status == 200
    assert bytes(got) == BODY[:400]


@pytest.mark.parametrize("version", ["1.1", "2"])
@in_loop
async def test_a_body_that_was_wrongly_announced_as_empty_is_an_error(version: HttpVersion) -> None:
    async def serve(peer: Peer) -> None:
        if version == "1.1":
            await peer.head()
            await peer.say(OK)
            return
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, StreamEnded):
                http2.answer(event.stream_id)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"

    async with serving(serve) as server, native(version) as transport:
        with pytest.raises(ProtocolError, match="0 bytes that were announced"):
            await transport.send(server.request(body=pieces(), content_length=0))


@pytest.mark.parametrize("version", ["1.1", "2"])
@in_loop
async def test_with_a_rate_limit_the_connections_take_turns(version: HttpVersion) -> None:
    count = 4
    got: dict[str, int] = {}
    when_the_first_was_whole: list[int] = []

    def arrived(path: str, length: int) -> None:
        got[path] = got.get(path, 0) + length
        if got[path] == len(BODY) and not when_the_first_was_whole:
            when_the_first_was_whole.extend(got.values())

    async def serve(peer: Peer) -> None:
        if version == "2":
            http2 = Http2Peer(peer, {SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
            async for event in http2.events():
                if isinstance(event, DataReceived):
                    http2.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    arrived(f"{peer.number}/{event.stream_id}", len(event.data))
                elif isinstance(event, StreamEnded):
                    http2.answer(event.stream_id)
            return
        path, left = (await peer.head()).split(b" ")[1].decode(), len(BODY)
        while left:
            data = await peer.reader.read(min(left, 65536))
            left -= len(data)
            arrived(path, len(data))
        await peer.say(OK)

    async with serving(serve) as server, native(version, max_bytes_per_second=1_000_000) as transport:
        requests = [server.request(body=BODY, target=f"/{n}") for n in range(count)]
        responses = await asyncio.gather(*map(transport.send, requests))
        assert [response.status for response in responses] == [200] * count
    assert len(when_the_first_was_whole) == count
    assert min(when_the_first_was_whole) > len(BODY) // 4


@in_loop
async def test_waiting_for_the_rate_limit_does_not_count_as_a_stall() -> None:
    begun = asyncio.Event()

    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        while data := await peer.reader.read(65536):
            for event in http2.http2.receive_data(data):
                if isinstance(event, DataReceived):
                    begun.set()
                    http2.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    http2.answer(event.stream_id)
            await http2.flush()  # the server is silent until the client has sent something

    async with serving(serve) as server, serving(serve) as other, native("2", max_bytes_per_second=16_000) as transport:
        first = asyncio.create_task(transport.send(server.request(body=BODY[:40_000])))
        await begun.wait()
        # The rate limit delays the others for two seconds, because of the bytes of the first request.
        others = [other.request("GET", stall_timeout_seconds=STALL_SECONDS) for _ in range(2)]
        transport._origin(others[0].endpoint).pool.limits.http2 = 1
        responses = await asyncio.gather(first, *map(transport.send, others), return_exceptions=True)
    assert [getattr(response, "status", response) for response in responses] == [200] * 3


@pytest.mark.parametrize("version", ["1.1", "2"])
@in_loop
async def test_cancelling_under_a_rate_limit_does_not_affect_other_requests(version: HttpVersion) -> None:
    begun = asyncio.Event()

    async def serve(peer: Peer) -> None:
        if version == "2":
            http2 = Http2Peer(peer)
            async for event in http2.events():
                if isinstance(event, DataReceived):
                    begun.set()
                    http2.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    http2.answer(event.stream_id)
            return
        await peer.head()
        await peer.body(1)
        begun.set()
        await peer.body(99_999)
        await peer.say(OK)

    async with serving(serve) as server, native(version, max_bytes_per_second=1_000_000) as transport:
        tasks = [asyncio.create_task(transport.send(server.request(body=BODY[:100_000]))) for _ in range(9)]
        await begun.wait()  # the other requests wait for the rate limit
        for task in tasks[1::3] + tasks[2::3]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results[1::3] + results[2::3])
    assert [result.status for result in results[::3] if not isinstance(result, BaseException)] == [200] * 3
