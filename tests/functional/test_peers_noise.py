"""A hostile server at the level of bytes: good responses with random damage, over HTTP/1.1 and HTTP/2.

Every request ends with a response or a CosxferError. ``COSXFER_NOISE`` sets the number of rounds.
"""

from __future__ import annotations

import os
import random

import pytest

from cosxfer.errors import CosxferError
from tests.functional.peer_raw import Http2Peer, Peer, in_loop, native, serving

ROUNDS = int(os.environ.get("COSXFER_NOISE", "60"))
GOOD = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
)


def damaged(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(changed))
        match chance.randrange(3):
            case 0:
                changed[at] = chance.randrange(256)
            case 1:
                changed[at:at] = chance.randbytes(chance.randrange(1, 9))
            case 2 if len(changed) > 20:
                del changed[at : at + chance.randrange(1, 9)]
    return bytes(changed)


@pytest.mark.timeout(300)
@in_loop
async def test_noise_over_http1_ends_every_request() -> None:
    chance = random.Random(11)

    async def serve(peer: Peer) -> None:
        await peer.head()
        response = damaged(chance.choice(GOOD), chance)
        middle = chance.randrange(len(response))
        await peer.say(response[:middle])
        await peer.say(response[middle:])
        if chance.randrange(2):
            peer.reset()

    async with serving(serve) as server, native() as transport:
        for _ in range(ROUNDS):
            body = bytes(chance.choice((0, 10, 300_000)))
            try:
                await transport.send(server.request(body=body, stall_timeout_seconds=0.4))
            except CosxferError:
                continue


@pytest.mark.timeout(300)
@in_loop
async def test_noise_over_http2_ends_every_request() -> None:
    chance = random.Random(13)

    async def serve(peer: Peer) -> None:
        http2 = Http2Peer(peer)
        await peer.reader.read(65536)
        http2.http2.clear_outbound_data_buffer()
        frames = [
            bytes.fromhex("000000040000000000"),  # SETTINGS
            bytes.fromhex("000006040000000000000400000001"),  # SETTINGS: windows of 1
            bytes.fromhex("00000104010000000188"),  # HEADERS: 200
            bytes.fromhex("000005000100000001") + b"hello",
            bytes.fromhex("000004080000000000000fffff"),  # WINDOW_UPDATE
            bytes.fromhex("00000403000000000100000008"),  # RST_STREAM
            bytes.fromhex("0000080700000000000000000100000000"),  # GOAWAY
            bytes.fromhex("0000080600000000000011223344556677"),  # PING
        ]
        chosen = frames[:1] + [chance.choice(frames) for _ in range(chance.randrange(1, 12))]
        await peer.say(damaged(b"".join(chosen), chance))
        await peer.reader.read(chance.choice((0, 1000)))

    async with serving(serve) as server, native("2") as transport:
        for _ in range(ROUNDS):
            body = bytes(chance.choice((0, 10, 300_000)))
            try:
                await transport.send(server.request(body=body, stall_timeout_seconds=0.4))
            except CosxferError:
                continue
