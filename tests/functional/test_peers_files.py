"""Bodies that threads read from a file object: one attempt ends before the next one begins to read."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import random
import threading
from collections.abc import AsyncIterator

import pytest

import cosxfer
from cosxfer._native import hashing
from cosxfer.engine.upload.file_body import FileBody
from cosxfer.limits import MIB
from cosxfer.transport.native import NativeTransport
from tests.functional.peer_raw import Peer, in_loop, native, serving, until

DATA = random.Random(5).randbytes(4 * MIB + 17)
REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


class HeldFile(io.BytesIO):
    """Blocks one of its reads until the test calls `let_go`. Reads run in a thread."""

    def __init__(self, data: bytes, *, held_read: int) -> None:
        super().__init__(data)
        self._left = held_read
        self._lock = threading.Lock()
        self.held = threading.Event()
        self._let_go = threading.Event()
        self.readers = 0
        self.most_readers = 0

    def let_go(self) -> None:
        self._let_go.set()

    def read(self, size: int | None = -1, /) -> bytes:
        if not size:
            return b""
        with self._lock:
            self._left -= 1
            hold = self._left == 0
            self.readers += 1
            self.most_readers = max(self.readers, self.most_readers)
        if hold:
            self.held.set()
            assert self._let_go.wait(20), "nobody released this read: it is not the one that the test means"
        with self._lock:
            self.readers -= 1
            return super().read(size)


def let_go_after_the_response(transport: NativeTransport, file: HeldFile) -> None:
    """Release the blocked read shortly after the I/O thread has reported the end of the request."""
    on_done = transport.on_done

    def noted(exchange: object) -> None:
        on_done(exchange)  # type: ignore[arg-type]
        asyncio.get_running_loop().call_later(0.1, file.let_go)

    transport.on_done = noted  # type: ignore[method-assign]


async def takes_the_second(peer: Peer, file: HeldFile, got: list[bytes], response: bytes) -> None:
    """Refuse the first request while its file is being read; accept the second one."""
    await peer.head()
    if peer.number == 0:
        await until(file.held.is_set)
        await peer.say(REFUSAL)
        await peer.reader.read()
        return
    got.append(await peer.body(len(DATA)))
    await peer.say(response)
    await peer.reader.read()


@pytest.mark.parametrize("held_read", [1, 2, 4])
@in_loop
async def test_a_refused_attempt_ends_after_the_last_read_of_its_file(held_read: int) -> None:
    file = HeldFile(DATA, held_read=held_read)
    body = FileBody(file, len(DATA))
    got: list[bytes] = []

    async def serve(peer: Peer) -> None:
        await takes_the_second(peer, file, got, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with serving(serve) as server, native() as transport:
        let_go_after_the_response(transport, file)
        assert (await transport.send(server.request(body=body, content_length=len(DATA)))).status == 503
        assert not file.readers
        assert (await transport.send(server.request(body=body, content_length=len(DATA)))).status == 200
    assert got == [DATA]
    assert file.most_readers == 1


@pytest.mark.parametrize("times", [1, 2])
@in_loop
async def test_a_cancelled_attempt_ends_after_the_last_read_of_its_file(times: int) -> None:
    file = HeldFile(DATA, held_read=2)

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.reader.read()

    async with serving(serve) as server, native() as transport:
        body = FileBody(file, len(DATA))
        sending = asyncio.create_task(transport.send(server.request(body=body, content_length=len(DATA))))
        await until(file.held.is_set)
        for _ in range(times):
            sending.cancel()
            await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.1, file.let_go)
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert not file.readers


@in_loop
async def test_a_retry_of_a_file_sends_each_byte_once() -> None:
    file = HeldFile(
        DATA, held_read=7
    )  # the first read of the attempt; the digests take six, of which the last finds the end
    got: list[bytes] = []
    etag = hashlib.md5(DATA).hexdigest().encode()
    response = b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\netag: "%s"\r\nx-cos-hash-crc64ecma: %d\r\n\r\n' % (
        etag,
        hashing.crc64(DATA),
    )

    async def serve(peer: Peer) -> None:
        head = await peer.head()
        assert base64.b64encode(hashlib.md5(DATA).digest()) in head
        if peer.number == 0:
            await until(file.held.is_set)
            await peer.say(REFUSAL)
            asyncio.get_running_loop().call_later(0.3, file.let_go)
            await peer.reader.read()
            return
        file.let_go()
        got.append(await peer.body(len(DATA)))
        await peer.say(response)
        await peer.reader.read()

    async with serving(serve) as server:
        credentials = cosxfer.Credentials(secret_id="id", secret_key="key")
        async with cosxfer.AsyncClient(
            endpoint=f"http://127.0.0.1:{server.port}", credentials=credentials, transport="native"
        ) as client:
            await client.put_object("examplebucket-1250000000", "object", file)
    assert got == [DATA]
    assert file.most_readers == 1


@in_loop
async def test_a_body_is_not_read_further_after_a_refusal() -> None:
    read = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal read
        piece = bytes(MIB)
        for _ in range(1000):
            read += 1
            yield piece  # never yields to the event loop

    async def serve(peer: Peer) -> None:
        await peer.head()
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.3)
        await peer.say(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
        await asyncio.sleep(60)

    async with serving(serve) as server, native() as transport:
        request = server.request(body=pieces(), content_length=1000 * MIB)
        assert (await transport.send(request)).status == 403
    assert read < 100
