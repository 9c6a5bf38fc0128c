"""The native transport over HTTP/2 against servers with every kind of behaviour, frame by frame."""

from __future__ import annotations

import asyncio
import mmap
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from cosxfer.errors import CosxferError, ProtocolError, TransportError, TransportTimeoutError
from cosxfer.limits import MIB
from cosxfer.transport.native_pool import HTTP2_CONNECTIONS
from tests.functional.peer_raw import Http2Peer, Peer, in_loop, native, serving, until

BIG = random.Random(1).randbytes(2 * MIB)


async def sink(peer: Http2Peer, got: dict[int, bytearray] | None = None) -> None:
    """Read whole requests and respond with 200. Opens the window again as data arrives."""
    async for event in peer.events():
        if isinstance(event, DataReceived):
            if got is not None:
                got.setdefault(event.stream_id, bytearray()).extend(event.data)
            peer.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            peer.answer(event.stream_id)


@pytest.mark.parametrize("window", [1, 100, 16384, 1 << 20])
@in_loop
async def test_a_window_of_any_size_lets_the_body_through(window: int) -> None:
    body = BIG[: window * 200] if window < 1000 else BIG
    got: dict[int, bytearray] = {}

    async def serve(peer: Peer) -> None:
        await sink(Http2Peer(peer, {SettingCodes.INITIAL_WINDOW_SIZE: window}), got)

    sent: list[int] = []
    async with serving(serve) as server, native("2") as transport:
        response = await transport.send(server.request(body=body, on_sent=sent.append))
        assert (response.status, response.body, response.http_version) == (200, b"ok", "HTTP/2")
    assert bytes(got[1]) == body
    assert sum(sent) == len(body)


@in_loop
async def test_parallel_and_sequential_streams() -> None:
    got: list[dict[int, bytearray]] = []

    async def serve(peer: Peer) -> None:
        got.append({})
        await sink(Http2Peer(peer), got[-1])

    async with serving(serve) as server, native("2") as transport:
        for _ in range(3):
            responses = await asyncio.gather(*(transport.send(server.request(body=BIG)) for _ in range(6)))
            assert all(response.status == 200 for response in responses)
    bodies = [bytes(body) for streams in got for body in streams.values()]
    assert bodies == [BIG] * 18


@in_loop
async def test_the_stream_limit_of_the_peer_is_respected() -> None:
    most = 0

    async def serve(peer: Peer) -> None:
        nonlocal most
        http2 = Http2Peer(peer, {SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        open_streams = 0
        async for event in http2.events():
            if isinstance(event, RequestReceived):
                open_streams += 1
                most = max(most, open_streams)
            elif isinstance(event, DataReceived):
                http2.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                open_streams -= 1
                http2.answer(event.stream_id)

    async with serving(serve) as server, native("2") as transport:
        responses = await asyncio.gather(*(transport.send(server.request(body=b"x" * 1000)) for _ in range(50)))
        assert all(response.status == 200 for response in responses)
    assert most == 1


@in_loop
async def test_settings_that_are_lowered_during_a_body_are_respected() -> None:
    got: dict[int, bytearray] = {}

    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer, {SettingCodes.INITIAL_WINDOW_SIZE: 60000})
        lowered = False
        async for event in http2.events():
            if isinstance(event, DataReceived):
                got.setdefault(event.stream_id, bytearray()).extend(event.data)
                if not lowered:
                    lowered = True
                    # This makes the stream's window negative; the server opens it again below.
                    http2.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
                http2.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if len(got[event.stream_id]) >= 50000:
                    http2.http2.increment_flow_control_window(70000, event.stream_id)
            elif isinstance(event, StreamEnded):
                http2.answer(event.stream_id)

    async with serving(serve) as server, native("2") as transport:
        assert (await transport.send(server.request(body=BIG[:200_000]))).status == 200
    assert bytes(got[1]) == BIG[:200_000]


@pytest.mark.parametrize("reset", [True, False], ids=["and a reset", "no reset"])
@in_loop
async def test_a_refusal_before_the_body_is_sent_is_the_response(reset: bool) -> None:
    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, RequestReceived):
                http2.answer(event.stream_id, 403, b"no")
                if reset:
                    http2.http2.reset_stream(event.stream_id, ErrorCodes.NO_ERROR)

    async with serving(serve) as server, native("2") as transport:
        for _ in range(3):
            response = await transport.send(server.request(body=BIG))
            assert (response.status, response.body) == (403, b"no")
        assert server.connections == 1


@in_loop
async def test_an_early_success_counts_after_the_body_is_sent() -> None:
    got: dict[int, bytearray] = {}

    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, RequestReceived):
                http2.answer(event.stream_id)
            elif isinstance(event, DataReceived):
                got.setdefault(event.stream_id, bytearray()).extend(event.data)
                http2.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    async with serving(serve) as server, native("2") as transport:
        for stream in (1, 3):
            response = await transport.send(server.request(body=BIG))
            assert (response.status, response.body) == (200, b"ok")
            await until(lambda: len(got[stream]) == len(BIG))  # noqa: B023 # used at once
        assert server.connections == 1
    assert [bytes(body) for body in got.values()] == [BIG] * 2


@pytest.mark.parametrize("end", ["reset", "goaway", "closed"])
@in_loop
async def test_an_early_success_is_an_error_if_the_body_cannot_be_sent(end: str) -> None:
    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, RequestReceived):
                http2.answer(event.stream_id)
                if end == "reset":
                    http2.http2.reset_stream(event.stream_id, ErrorCodes.NO_ERROR)
                    continue
                if end == "goaway":
                    http2.http2.close_connection(ErrorCodes.NO_ERROR, last_stream_id=event.stream_id)
                await http2.flush()
                return

    async with serving(serve) as server, native("2") as transport:
        with pytest.raises(TransportError):
            await transport.send(server.request(body=BIG))


@in_loop
async def test_a_stream_that_is_reset_is_an_error_and_the_others_go_on() -> None:
    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, RequestReceived) and event.stream_id == 1:
                http2.http2.reset_stream(1, ErrorCodes.INTERNAL_ERROR)
            elif isinstance(event, DataReceived) and event.stream_id != 1:
                http2.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded) and event.stream_id != 1:
                http2.answer(event.stream_id)

    async with serving(serve) as server, native("2") as transport:
        transport._limits.resize(1)  # all over one connection
        results = await asyncio.gather(
            *(transport.send(server.request(body=BIG)) for _ in range(2)), return_exceptions=True
        )
        assert isinstance(results[0], TransportError)
        assert "INTERNAL_ERROR" in str(results[0])
        assert not isinstance(results[1], BaseException)
        assert server.connections == 1


@in_loop
async def test_refused_streams_and_streams_after_a_goaway_are_sent_again() -> None:
    got: list[tuple[int, int]] = []

    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, RequestReceived) and peer.number == 0:
                if event.stream_id == 1:
                    http2.http2.reset_stream(1, ErrorCodes.REFUSED_STREAM)
                else:
                    http2.http2.close_connection(ErrorCodes.NO_ERROR, last_stream_id=1)
                    await http2.flush()
                    return
            elif isinstance(event, DataReceived):
                http2.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                got.append((peer.number, event.stream_id))
                http2.answer(event.stream_id)

    sent: list[int] = []
    async with serving(serve) as server, native("2") as transport:
        response = await transport.send(server.request(body=b"x" * 100_000, on_sent=sent.append))
        assert response.status == 200
    assert got == [(1, 1)]
    assert sum(sent) == 100_000


@in_loop
async def test_streams_that_a_goaway_covers_finish() -> None:
    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, DataReceived):
                http2.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                # h2 sends nothing after its own GOAWAY, so the frame is made by hand.
                await peer.say(bytes.fromhex("0000080700000000000000000100000000"))
                http2.answer(event.stream_id)

    async with serving(serve) as server, native("2") as transport:
        for expected in (1, 2):
            assert (await transport.send(server.request(body=b"x" * 1000))).status == 200
            assert server.connections == expected


@in_loop
async def test_interim_responses_and_trailers_are_skipped() -> None:
    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, StreamEnded):
                stream = event.stream_id
                http2.http2.send_headers(stream, [(":status", "103"), ("link", "x")])
                http2.http2.send_headers(stream, [(":status", "200"), ("a", "1"), ("a", "2")])
                http2.http2.send_data(stream, b"ok")
                http2.http2.send_headers(stream, [("trailer", "x")], end_stream=True)

    async with serving(serve) as server, native("2") as transport:
        response = await transport.send(server.request(body=b"x"))
        assert (response.status, response.body, dict(response.headers)) == (200, b"ok", {"a": "1, 2"})


@in_loop
async def test_the_body_waits_for_100_continue() -> None:
    order: list[str] = []

    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, RequestReceived):
                order.append("head")
                http2.http2.send_headers(event.stream_id, [(":status", "100")])
            elif isinstance(event, DataReceived):
                order.append("body")
            elif isinstance(event, StreamEnded):
                http2.answer(event.stream_id)

    async with serving(serve) as server, native("2") as transport:
        request = server.request(body=b"x", headers={"expect": "100-continue"}, expect_continue=True)
        assert (await transport.send(request)).status == 200
    assert order == ["head", "body"]


@in_loop
async def test_cancelling_resets_only_its_stream() -> None:
    resets: list[int] = []
    begun = asyncio.Event()

    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, RequestReceived):
                begun.set()
            elif isinstance(event, StreamReset):
                resets.append(event.stream_id)
            elif isinstance(event, DataReceived) and event.stream_id != 1:
                http2.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                http2.answer(event.stream_id)

    async with serving(serve) as server, native("2") as transport:
        transport._limits.resize(1)  # all over one connection
        first = asyncio.create_task(transport.send(server.request(body=bytes(64 * MIB))))
        await begun.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        # The first request used up the connection's window, so this one has no body.
        assert (await transport.send(server.request(body=b""))).status == 200
        await until(lambda: resets == [1])
        assert server.connections == 1


@in_loop
async def test_cancelled_streams_do_not_affect_other_streams() -> None:
    bodies = [random.Random(n).randbytes(400_000 + n) for n in range(12)]
    got: dict[str, bytearray] = {}
    names: dict[int, str] = {}
    ended: list[str] = []
    resets: set[str] = set()
    waiting = asyncio.Event()

    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer, {SettingCodes.INITIAL_WINDOW_SIZE: 20_000})
        async for event in http2.events():
            if isinstance(event, RequestReceived):
                path = dict(event.headers)[":path"]
                names[event.stream_id] = path
                if path == "/first":
                    http2.answer(event.stream_id)
                    continue
                got[path] = bytearray()
                if len(got) == len(bodies):
                    waiting.set()
            elif isinstance(event, DataReceived):
                path = names[event.stream_id]
                got[path] += event.data
                http2.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if len(got[path]) > 200_000 and path not in begun:
                    # Half of the body has arrived and more is in transit: the middle of a stream.
                    begun.add(path)
                    if path in cancelled:
                        tasks[int(path[1:])].cancel()
            elif isinstance(event, StreamEnded) and names[event.stream_id] != "/first":
                ended.append(names[event.stream_id])
                http2.answer(event.stream_id, body=names[event.stream_id].encode())
            elif isinstance(event, StreamReset):
                resets.add(names[event.stream_id])

    cancelled = {f"/{n}" for n in range(0, len(bodies), 3)}
    begun: set[str] = set()
    async with serving(serve) as server, native("2") as transport:
        assert (await transport.send(server.request("GET", target="/first"))).status == 200
        (origin,) = transport._origins.values()
        origin.pool.limits.http2 = 1
        tasks = [
            asyncio.create_task(transport.send(server.request(body=body, target=f"/{n}")))
            for n, body in enumerate(bodies)
        ]
        await waiting.wait()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: resets == cancelled)
        assert server.connections == 1
    for n, (body, result) in enumerate(zip(bodies, results, strict=True)):
        if f"/{n}" in cancelled:
            assert isinstance(result, asyncio.CancelledError)
            assert body.startswith(bytes(got[f"/{n}"]))
        else:
            assert not isinstance(result, BaseException)
            assert (result.status, result.body) == (200, f"/{n}".encode())
            assert got[f"/{n}"] == body
    assert sorted(ended) == sorted(got.keys() - cancelled)


@pytest.mark.parametrize("count", [1, *range(115, 131), 400])
@in_loop
async def test_all_headers_of_a_request_are_sent_however_many_there_are(count: int) -> None:
    given = {f"x-cos-meta-{n}": f"value {n}" for n in range(count)}
    got: list[dict[str, str]] = []

    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, RequestReceived):
                got.append({name: value for name, value in event.headers if name.startswith("x-cos-meta-")})
            elif isinstance(event, StreamEnded):
                http2.answer(event.stream_id)

    async with serving(serve) as server, native("2") as transport:
        assert (await transport.send(server.request(body=b"x", headers=given))).status == 200
    assert got == [given]


@in_loop
async def test_headers_of_any_size_are_sent() -> None:
    given = {f"x-{n}": str(n) * 20_000 for n in range(8)}
    got: list[dict[str, str]] = []

    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        http2.http2.decoder.max_header_list_size = 1 << 20
        async for event in http2.events():
            if isinstance(event, RequestReceived):
                got.append({name: value for name, value in event.headers if name in given})
            elif isinstance(event, StreamEnded):
                http2.answer(event.stream_id, 431 if len(got) == 1 else 200)

    async with serving(serve) as server, native("2") as transport:
        assert (await transport.send(server.request(body=b"x", headers=given))).status == 431
        assert (await transport.send(server.request(body=b"x"))).status == 200
        assert server.connections == 1
    assert got == [given, {}]


@in_loop
async def test_headers_of_http1_connections_are_omitted() -> None:
    given = {
        "keep-alive": "timeout=5",
        "upgrade": "h2c",
        "proxy-connection": "keep-alive",
        "TE": "gzip",
        "x-other": "y",
    }
    got: list[set[str]] = []

    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        async for event in http2.events():  # h2 refuses such a request, as RFC 9113 requires
            if isinstance(event, RequestReceived):
                got.append({name for name, _ in event.headers})
            elif isinstance(event, StreamEnded):
                http2.answer(event.stream_id)

    async with serving(serve) as server, native("2") as transport:
        assert (await transport.send(server.request(body=b"x", headers=given))).status == 200
    assert "x-other" in got[0]
    assert not got[0] & {"keep-alive", "upgrade", "proxy-connection", "te"}


@in_loop
async def test_a_body_of_pieces_is_streamed() -> None:
    got: dict[int, bytearray] = {}

    async def serve(peer: Peer) -> None:
        await sink(Http2Peer(peer), got)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(BIG), 77_777):
            yield BIG[start : start + 77_777]

    async with serving(serve) as server, native("2") as transport:
        for length in (len(BIG), None):
            assert (await transport.send(server.request(body=pieces(), content_length=length))).status == 200
    assert [bytes(body) for body in got.values()] == [BIG, BIG]


@in_loop
async def test_silence_ends_in_a_timeout() -> None:
    async def serve(peer: Peer) -> None:
        async for _ in Http2Peer(peer).events():
            pass

    async with serving(serve) as server, native("2") as transport:
        with pytest.raises(TransportTimeoutError):
            await transport.send(server.request(body=b"x", stall_timeout_seconds=0.3))
        with pytest.raises(TransportTimeoutError):
            await transport.send(server.request(body=BIG, stall_timeout_seconds=0.3))


@in_loop
async def test_more_connections_are_opened_if_flow_control_blocks_bodies() -> None:
    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer, {SettingCodes.MAX_CONCURRENT_STREAMS: 2})
        if peer.number >= HTTP2_CONNECTIONS:
            await sink(http2)
        async for _ in http2.events():
            pass  # the window is never opened again

    async with serving(serve) as server, native("2") as transport:
        held = [asyncio.create_task(transport.send(server.request(body=BIG))) for _ in range(2 * HTTP2_CONNECTIONS)]
        await until(lambda: server.connections == HTTP2_CONNECTIONS)
        response = await transport.send(server.request(body=b"x"))
        assert response.status == 200
        assert server.connections > HTTP2_CONNECTIONS
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)


@in_loop
async def test_a_timeout_does_not_affect_requests_with_a_longer_timeout() -> None:
    other_ended = asyncio.Event()

    async def serve(peer: Peer) -> None:
        begun = 0
        http2 = Http2Peer(peer)
        async for event in http2.events():
            begun += isinstance(event, StreamEnded)
            if begun == 2 and isinstance(event, StreamReset):
                await other_ended.wait()
                http2.answer(1)

    async with serving(serve) as server, native("2") as transport:
        transport._limits.resize(1)  # all over one connection
        patient = asyncio.create_task(transport.send(server.request(body=b"x", stall_timeout_seconds=20)))
        await asyncio.sleep(0.1)  # its connection exists and can be shared
        with pytest.raises(TransportTimeoutError):
            await transport.send(server.request(body=b"y", stall_timeout_seconds=0.3))
        other_ended.set()
        assert (await patient).status == 200
        assert server.connections == 1


@in_loop
async def test_a_truncated_file_fails_only_its_own_request(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(BIG)
    cut = asyncio.Event()

    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer, {SettingCodes.INITIAL_WINDOW_SIZE: 0})
        begun = 0
        async for event in http2.events():
            if isinstance(event, DataReceived):
                http2.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, RequestReceived):
                begun += 1
                if begun == 2:
                    await cut.wait()
                    http2.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})

    with path.open("rb") as file:
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    async with serving(serve) as server, native("2") as transport:
        transport._limits.resize(1)  # all over one connection
        beside = asyncio.create_task(transport.send(server.request(body=BIG)))
        mapped = asyncio.create_task(transport.send(server.request(body=memoryview(whole))))
        await asyncio.sleep(0.2)
        os.truncate(path, 0)
        cut.set()
        with pytest.raises(TransportError, match="the file was cut"):
            await mapped
        with pytest.raises(TransportError, match="file of another request"):
            await beside


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x01",  # SETTINGS on a stream
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\xff\xff\xff\x00\x00\x00\x00\x00\x00",  # a frame of 16 MiB
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
        + b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",  # WINDOW_UPDATE by 0
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\x00\x00\x03\x01\x04\x00\x00\x00\x01\xff\xff\xff",  # bad HPACK
    ],
)
@in_loop
async def test_data_that_is_not_http2_is_an_error(response: bytes) -> None:
    async def serve(peer: Peer) -> None:
        await peer.reader.read(1000)
        await peer.say(response)
        await peer.reader.read()

    async with serving(serve) as server, native("2") as transport:
        with pytest.raises(TransportError):
            await transport.send(server.request(body=b"x", stall_timeout_seconds=5.0))


@in_loop
async def test_a_response_beyond_the_limit_is_refused() -> None:
    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        streams: list[int] = []
        async for event in http2.events():
            if isinstance(event, StreamEnded):
                http2.http2.send_headers(event.stream_id, [(":status", "200")])
                streams.append(event.stream_id)
            for stream in streams:
                while (room := min(http2.http2.local_flow_control_window(stream), 16384)) > 0:
                    http2.http2.send_data(stream, bytes(room))
            if isinstance(event, StreamReset):
                return

    async with serving(serve) as server, native("2") as transport:
        with pytest.raises(ProtocolError, match="longer than"):
            await transport.send(server.request(body=b"x"))


@in_loop
async def test_noise_after_a_valid_preface_never_hangs_or_crashes_the_process() -> None:
    """A hostile server at the level of bytes: valid frames with random damage."""
    chance = random.Random(7)

    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, RequestReceived):
                http2.answer(event.stream_id, body=b"x" * 100)
                damaged = bytearray(http2.http2.data_to_send())
                for _ in range(chance.randrange(1, 5)):
                    damaged[chance.randrange(len(damaged))] = chance.randrange(256)
                await peer.say(bytes(damaged))
                return

    async with serving(serve) as server:
        for _ in range(150):
            async with native("2") as transport:
                try:
                    await transport.send(server.request(body=b"x" * 10, stall_timeout_seconds=0.5))
                except CosxferError:
                    continue
