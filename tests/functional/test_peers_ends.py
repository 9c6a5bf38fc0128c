"""How connections begin and end: half-closes, dead addresses, IPv6, GOAWAY and settings in the middle of a body."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Iterator

import pytest
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.settings import SettingCodes

from cosxfer.config import ClientConfig
from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.errors import TransportError, TransportTimeoutError
from cosxfer.transport.choose import choose_transport
from tests.functional.peer_raw import OK, Http2Peer, Peer, in_loop, native, serving, until

BIG = random.Random(4).randbytes(3_000_000)
GOAWAY_1 = bytes.fromhex("0000080700000000000000000100000000")  # the last stream it covers: 1


def length_of(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)


@in_loop
async def test_a_half_close_after_the_response_ends_only_the_connection() -> None:
    async def serve(peer: Peer) -> None:
        await peer.body(length_of(await peer.head()))
        await peer.say(OK)
        peer.writer.write_eof()
        await peer.reader.read()

    async with serving(serve) as server, native() as transport:
        for expected in range(1, 5):
            assert (await transport.send(server.request(body=BIG))).body == b"ok"
            assert server.connections == expected


@pytest.mark.parametrize("status", [200, 403])
@in_loop
async def test_half_a_body_is_no_success_after_an_early_response_and_a_half_close(status: int) -> None:
    got: list[int] = []

    async def serve(peer: Peer) -> None:
        head = await peer.head()
        await peer.say(OK.replace(b"200", str(status).encode()))
        peer.writer.write_eof()
        with contextlib.suppress(asyncio.IncompleteReadError):
            got.append(len(await peer.body(length_of(head))))

    async with serving(serve) as server, native() as transport:
        try:
            response = await transport.send(server.request(body=BIG))
        except TransportError:
            ended = 0
        else:
            ended = response.status
        if ended == 200:
            await until(lambda: got)  # the body may still be in transit
        assert ended == 403 if status == 403 else ended in (0, 200)


@pytest.mark.parametrize("protocol", ["1.1", "2"])
@in_loop
async def test_a_half_close_without_a_response_fails_at_once(protocol: str) -> None:
    async def serve(peer: Peer) -> None:
        await peer.reader.read(1000)
        peer.writer.write_eof()
        await peer.reader.read()
        await asyncio.sleep(60)

    async with serving(serve) as server, native(protocol) as transport:  # type: ignore[arg-type]
        for body in (b"", b"x" * 1000, BIG):
            with pytest.raises(TransportError) as caught:
                await transport.send(server.request(body=body))
            assert not isinstance(caught.value, TransportTimeoutError)


@contextlib.contextmanager
def black_hole(port: int) -> Iterator[None]:
    """127.0.0.2:port neither accepts nor refuses connections, because its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.2", port))
        listener.listen(0)
        for _ in range(3):
            full = stack.enter_context(socket.socket())
            full.setblocking(False)
            full.connect_ex(("127.0.0.2", port))
        yield


@in_loop
async def test_a_silent_address_delays_the_others_only_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(peer: Peer) -> None:
        await peer.body(length_of(await peer.head()))
        await peer.say(OK)

    async with serving(serve) as server, native(connect_timeout_seconds=30.0) as transport:
        with black_hole(server.port):

            async def two(host: str, port: int) -> list[object]:
                return [(socket.AF_INET, ("127.0.0.2", port)), (socket.AF_INET, ("127.0.0.1", port))]

            monkeypatch.setattr("cosxfer.transport.native_connect.addresses", two)
            # The client tries the next address after a quarter of the 30 seconds; more would exceed 20 seconds.
            for _ in range(2):
                assert (await asyncio.wait_for(transport.send(server.request(body=b"x")), 20)).status == 200


@pytest.mark.parametrize("kind", ["native", "httpx"])
@in_loop
async def test_ipv6(kind: str) -> None:
    heads: list[bytes] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        await reader.readexactly(length_of(head))
        writer.write(OK)
        writer.close()

    try:
        listener = await asyncio.start_server(accept, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = listener.sockets[0].getsockname()[1]
    endpoint = resolve_endpoint(f"http://[::1]:{port}", bucket="examplebucket-1250000000", region=None)
    transport = choose_transport(kind, ClientConfig())  # type: ignore[arg-type]
    response = await transport.send(
        HttpRequest(
            method="PUT",
            endpoint=endpoint,
            target="/k",
            body=b"abc",
            content_length=3,
            headers={"host": endpoint.authority, "content-length": "3"},
        )
    )
    await transport.aclose()
    listener.close()
    assert response.status == 200
    assert f"host: [::1]:{port}\r\n".encode() in heads[0].lower()


@in_loop
async def test_after_a_goaway_the_body_is_finished_and_the_next_request_uses_a_new_connection() -> None:
    got = 0

    async def serve(peer: Peer) -> None:
        nonlocal got
        http2, told = Http2Peer(peer), False
        async for event in http2.events():
            if isinstance(event, DataReceived):
                got += len(event.data)
                http2.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if not told:
                    told = True
                    await peer.say(GOAWAY_1)  # by hand, because h2 sends nothing after its own GOAWAY
            elif isinstance(event, StreamEnded):
                http2.answer(event.stream_id)

    async with serving(serve) as server, native("2") as transport:
        for expected in (1, 2, 3):
            assert (await transport.send(server.request(body=BIG))).status == 200
            assert server.connections == expected
    assert got == 3 * len(BIG)


@in_loop
async def test_a_goaway_with_an_error_in_the_middle_of_the_body_names_it() -> None:
    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, DataReceived):
                http2.http2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM, b"too much", last_stream_id=1)
                await http2.flush()
                return

    async with serving(serve) as server, native("2") as transport:
        with pytest.raises(TransportError, match=r"ENHANCE_YOUR_CALM.*too much"):
            await transport.send(server.request(body=BIG))


@in_loop
async def test_lower_stream_and_window_limits_during_a_body_are_respected() -> None:
    bodies: dict[tuple[int, int], int] = {}
    over = 0

    async def serve(peer: Peer) -> None:
        nonlocal over
        http2, lowered, acknowledged = Http2Peer(peer), False, False
        open_streams: set[int] = set()
        async for event in http2.events():
            if isinstance(event, RequestReceived):
                open_streams.add(event.stream_id)
                over += acknowledged and len(open_streams) > 1
            elif isinstance(event, DataReceived):
                key = (peer.number, event.stream_id)
                bodies[key] = bodies.get(key, 0) + len(event.data)
                http2.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if not lowered:
                    lowered = True
                    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 1, SettingCodes.INITIAL_WINDOW_SIZE: 1000}
                    http2.http2.update_settings(settings)
            elif type(event).__name__ == "SettingsAcknowledged" and lowered:
                acknowledged = len(open_streams) <= 1
            elif isinstance(event, StreamEnded):
                open_streams.discard(event.stream_id)
                acknowledged = acknowledged or (lowered and len(open_streams) <= 1)
                http2.answer(event.stream_id)

    async with serving(serve) as server, native("2") as transport:
        responses = await asyncio.gather(*(transport.send(server.request(body=BIG[:200_000])) for _ in range(24)))
        assert all(response.status == 200 for response in responses)
    assert sorted(bodies.values()) == [200_000] * 24
    assert not over


@in_loop
async def test_many_interim_responses_in_the_middle_of_the_body_are_skipped() -> None:
    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        async for event in http2.events():
            if isinstance(event, DataReceived):
                http2.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                http2.http2.send_headers(event.stream_id, [(":status", "102")])
            elif isinstance(event, StreamEnded):
                http2.answer(event.stream_id)

    async with serving(serve) as server, native("2") as transport:
        response = await transport.send(server.request(body=BIG))
        assert (response.status, response.body) == (200, b"ok")
