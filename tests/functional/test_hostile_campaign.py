"""Random hostile servers against both transports. A run prints its seed; ``COSXFER_CAMPAIGN_SEED`` repeats one."""

from __future__ import annotations

import asyncio
import os
import random
import re
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from h2.events import StreamEnded

import cosxfer
from cosxfer._native import hashing
from cosxfer.errors import CosxferError
from tests.functional.peer_raw import Http2Peer, Peer, in_loop, serving, until

ROUNDS = 40
STALL_SECONDS = 0.5
LONGEST_CALL_SECONDS = 20.0
"""Far above the timeouts, to allow for a busy machine. A call that hangs never ends."""
LARGEST_GROWTH_KIB = 200 * 1024
"""The most seen is 114 MiB, in a process that had run other tests. An endless response would take far more."""
BUCKET = "examplebucket-1250000000"
CONTENT = b"the content of the object"
WRONG = b"not the content of object"

Reply = Callable[[random.Random], bytes]


def response(body: bytes, *, length: int | None = None, crc: int | None = None, more: bytes = b"") -> bytes:
    crc = hashing.crc64(CONTENT) if crc is None else crc
    size = len(body) if length is None else length
    head = b'HTTP/1.1 200 OK\r\netag: "x"\r\ncontent-length: %d\r\nx-cos-hash-crc64ecma: %d\r\n' % (size, crc)
    return head + more + b"\r\n" + body


REPLIES: dict[str, Reply] = {
    "garbage": lambda chance: chance.randbytes(chance.randrange(1, 5000)),
    "truncated": lambda chance: response(CONTENT)[: chance.randrange(1, 80)],
    "wrong content": lambda _: response(WRONG),
    "lying checksum": lambda chance: response(CONTENT, crc=chance.randrange(1 << 64)),
    "too short": lambda chance: response(CONTENT[: chance.randrange(25)], length=25),
    "too long": lambda chance: response(CONTENT + chance.randbytes(50), length=25),
    "two lengths": lambda _: response(CONTENT, more=b"content-length: 3\r\n"),
    "endless head": lambda _: b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200_000,
    "endless body": lambda _: b"HTTP/1.1 500 X\r\n\r\n" + b"x" * (20 * 1024 * 1024),
    "interim flood": lambda _: b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20_000,
    "XML bomb": lambda _: b"HTTP/1.1 500 X\r\n\r\n<Error>" + b"<a/>" * 1_000_000,
    "controls": lambda _: b"HTTP/1.1 500 \x1b[2J\r\nx-cos-request-id: \x07\x9b\r\n\r\n<Error>\xe2\x80\xae",
    "chunks": lambda chance: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % chance.randrange(1 << 70),
}


async def http1(peer: Peer, chance: random.Random) -> None:
    await peer.head()
    reply = REPLIES[chance.choice(list(REPLIES))](chance)
    match chance.randrange(4):
        case 0:  # a byte now and then
            for byte in reply[:200]:
                await peer.say(bytes([byte]))
                await asyncio.sleep(STALL_SECONDS / 4)
            await peer.reader.read()
        case 1:
            await peer.say(reply)
            peer.reset()
        case 2:
            await peer.say(reply)
            await peer.reader.read()  # stays open and silent
        case _:
            await peer.say(reply)


async def http2(peer: Peer, chance: random.Random) -> None:
    if chance.randrange(4) == 0:
        await peer.say(chance.randbytes(2000))
        return
    side = Http2Peer(peer)
    async for event in side.events():
        if not isinstance(event, StreamEnded):
            continue
        headers = [("etag", '"x"'), ("content-length", "25"), ("x-cos-hash-crc64ecma", str(hashing.crc64(CONTENT)))]
        match chance.randrange(6):
            case 0:
                side.http2.reset_stream(event.stream_id, chance.randrange(14))
            case 1:
                side.http2.close_connection(chance.randrange(14), b"\x1b\r\n", last_stream_id=event.stream_id)
                await side.flush()
                return
            case 2:
                side.http2.send_headers(event.stream_id, [(":status", "200"), *headers])
                side.http2.send_data(event.stream_id, WRONG, end_stream=True)
            case 3:
                for _ in range(200):
                    side.http2.ping(bytes(8))
            case 4:
                await side.flush()
                frame = (4).to_bytes(3, "big") + b"\x03\x00" + event.stream_id.to_bytes(4, "big") + bytes(4)
                await peer.say(frame * 1000)  # RST_STREAM
            case _:
                peer.reset()
                return


class Calls:
    """The calls of the rounds. Each returns True if its result is correct."""

    def __init__(self, folder: Path) -> None:
        self._downloaded = folder / "downloaded"
        self._source = folder / "source"
        self._source.write_bytes(bytes(3 * 1024 * 1024))

    async def get(self, client: cosxfer.AsyncClient) -> bool:
        return (await client.get_object(BUCKET, "k")).body == CONTENT

    async def download(self, client: cosxfer.AsyncClient) -> bool:
        self._downloaded.unlink(missing_ok=True)
        try:
            await client.get_object(BUCKET, "k", output=self._downloaded)
        except CosxferError:
            assert [path.name for path in self._downloaded.parent.iterdir()] == ["source"], "a partial file is left"
            raise
        return self._downloaded.read_bytes() == CONTENT

    async def put(self, client: cosxfer.AsyncClient) -> bool:
        # The server's checksum is that of other content, so the put must not be verified.
        return not (await client.put_object(BUCKET, "k", bytes(300_000))).verified

    async def upload(self, client: cosxfer.AsyncClient) -> bool:
        await client.slice_upload_file(BUCKET, "k", self._source, slice_size=1024 * 1024)
        return False

    async def list_uploads(self, client: cosxfer.AsyncClient) -> bool:
        await client.multipart_list(BUCKET)
        return False

    def choose(self, chance: random.Random) -> Callable[[cosxfer.AsyncClient], Awaitable[bool]]:
        return chance.choice([self.get, self.download, self.put, self.upload, self.list_uploads])


def memory_kib(kind: str) -> int:
    """``VmRSS`` is the current memory, ``VmHWM`` the peak since the last reset."""
    found = re.search(rf"{kind}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def reset_highest() -> None:
    """Reset the peak, ``VmHWM``, to the current memory."""
    Path("/proc/self/clear_refs").write_text("5")


async def campaign(
    kind: Any, version: Any, seed: int, serve: Callable[[Peer, random.Random], Any], rounds: int, folder: Path
) -> list[str]:
    """Run the rounds; return those that ended in neither a correct result nor a CosxferError."""
    chance = random.Random(seed)
    faults: list[str] = []
    calls = Calls(folder)

    async def reply(peer: Peer) -> None:
        await serve(peer, chance)

    async with serving(reply) as server:
        for number in range(rounds):
            call = calls.choose(chance)
            said = f"round {number}, {call.__name__}"  # type: ignore[attr-defined] # a method
            async with cosxfer.AsyncClient(
                endpoint=f"http://127.0.0.1:{server.port}",
                transport=kind,
                http_version=version,
                anonymous=True,
                max_attempts=1,
                retry_for_seconds=0,
                stall_timeout_seconds=STALL_SECONDS,
                connect_timeout_seconds=2.0,
            ) as client:
                try:
                    async with asyncio.timeout(LONGEST_CALL_SECONDS):
                        if not await call(client):
                            faults.append(f"{said}: a wrong result is called right")
                except TimeoutError:
                    faults.append(f"{said}: hangs")
                except CosxferError:
                    pass
                except Exception as error:
                    faults.append(f"{said}: {error!r}")
    return faults


def left() -> tuple[int, int]:
    """Number of open descriptors and of threads, without the threads that all clients share."""
    threads = [thread for thread in threading.enumerate() if not thread.name.startswith("cosxfer-thread")]
    return len(list(Path("/proc/self/fd").iterdir())), len(threads)


@pytest.mark.deep
@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("kind", ["native", "httpx"])
def test_no_hostile_server_hangs_breaks_or_deceives_the_client(tmp_path: Path, kind: str, version: str) -> None:
    seed = int(os.environ.get("COSXFER_CAMPAIGN_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"COSXFER_CAMPAIGN_SEED={seed}")
    serve = http1 if version == "1.1" else http2

    @in_loop
    async def main() -> None:
        # A first round loads and starts everything that is created only once.
        faults = await campaign(kind, version, seed + 1, serve, ROUNDS // 4, tmp_path)
        held, before = left(), memory_kib("VmRSS")
        reset_highest()
        faults += await campaign(kind, version, seed, serve, ROUNDS, tmp_path)
        assert not faults, f"seed {seed}: {faults}"
        assert memory_kib("VmHWM") - before < LARGEST_GROWTH_KIB, f"seed {seed}"
        await until(lambda: left() <= held)

    main()


@in_loop
async def test_the_campaign_notices_a_wrong_object_and_a_foreign_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Calls, "choose", lambda self, _: self.get)

    async def lying(peer: Peer, _: random.Random) -> None:
        await peer.head()
        await peer.say(response(WRONG, crc=hashing.crc64(WRONG)))  # the checksum matches, so the client cannot notice

    faults = await campaign("native", "1.1", 1, lying, 1, tmp_path)
    assert faults == ["round 0, get: a wrong result is called right"]

    async def broken(*_: object, **__: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("cosxfer.transport.native.NativeTransport.send", broken)
    assert await campaign("native", "1.1", 1, lying, 1, tmp_path) == ["round 0, get: KeyError('x')"]
