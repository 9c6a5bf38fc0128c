"""The same client over each transport and each protocol, against the embedded server."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import io
import random
import socket
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from cosxfer.transport.choose import is_built
from tests.functional.peer_raw import in_loop

TRANSPORTS: tuple[Literal["native", "httpx"], ...] = ("native", "httpx")
PROTOCOLS = {"http1": "HTTP/1.1", "h2c": "HTTP/2", "tls-http1": "HTTP/1.1", "tls-http2": "HTTP/2"}
BODY = random.Random(3).randbytes(5 * MIB + 77)


@dataclass(frozen=True, kw_only=True)
class Way:
    """A server, and the transport and protocol by which a client reaches it."""

    server: RunningServer
    settings: dict[str, Any]
    version: str

    def client(self, **more: Any) -> cosxfer.AsyncClient:
        return cosxfer.AsyncClient(**{**self.settings, **more})


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[bool, RunningServer]]:
    with running() as plain, running(tls=True) as tls:
        yield {False: plain, True: tls}


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    if request.param == "native":
        assert is_built(), "the native transport is not built: make setup installs what it needs"
    return str(request.param)


@pytest.fixture(params=PROTOCOLS)
def way(request: pytest.FixtureRequest, transport: str, servers: dict[bool, RunningServer]) -> Iterator[Way]:
    protocol: str = request.param
    server = servers[protocol.startswith("tls")]
    settings = {
        "endpoint": server.endpoint,
        "credentials": server.credentials,
        "http_version": "2" if PROTOCOLS[protocol] == "HTTP/2" else "1.1",
        "verify": str(server.ca_file) if server.ca_file else True,
        "transport": transport,
    }
    yield Way(server=server, settings=settings, version=PROTOCOLS[protocol])
    server.set_faults([])


@in_loop
async def test_objects_of_any_size_are_put_and_got(way: Way, tmp_path: Path) -> None:
    async with way.client() as client:
        for size in (0, 1, 16384, 65536, len(BODY)):
            await client.put_object(way.server.bucket, f"object-{size}", BODY[:size])
            got = await client.get_object(way.server.bucket, f"object-{size}")
            assert hashlib.sha256(got.body).digest() == hashlib.sha256(BODY[:size]).digest()


@in_loop
async def test_a_file_in_parts_by_the_expected_protocol(way: Way, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(BODY)
    progress: list[int] = []
    async with way.client() as client:
        result = await client.slice_upload_file(
            way.server.bucket, "file", path, slice_size=MIB, on_progress=lambda p: progress.append(p.loaded)
        )
        assert result.verified
        assert result.http_version == way.version
        got = await client.get_object(way.server.bucket, "file")
    assert got.body == BODY
    assert progress == sorted(progress)
    assert progress[-1] == len(BODY)


@in_loop
async def test_many_at_once(way: Way) -> None:
    async with way.client() as client:
        await asyncio.gather(
            *(client.put_object(way.server.bucket, f"many-{n}", BODY[:n]) for n in range(0, 6000, 100))
        )
        for n in range(0, 6000, 700):
            assert (await client.get_object(way.server.bucket, f"many-{n}")).body == BODY[:n]


@in_loop
async def test_a_body_that_comes_in_pieces(way: Way) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(BODY), 100_000):
            yield BODY[start : start + 100_000]

    async with way.client() as client:
        await client.put_object(way.server.bucket, "pieces", pieces(), content_length=len(BODY))
        assert (await client.get_object(way.server.bucket, "pieces")).body == BODY


@in_loop
async def test_a_refusal_keeps_its_code_however_long_the_body(way: Way) -> None:
    wrong = cosxfer.Credentials(secret_id=way.server.credentials.secret_id, secret_key="wrong")
    async with way.client(credentials=wrong) as client:
        for body in (b"x", BODY, BODY * 4):
            with pytest.raises(cosxfer.AccessDeniedError) as caught:
                await client.put_object(way.server.bucket, "refused", body)
            assert caught.value.code == "SignatureDoesNotMatch"


@in_loop
async def test_an_expectation_is_met(way: Way) -> None:
    async with way.client() as client:
        await client.put_object(way.server.bucket, "expected", BODY, expect="100-continue")
        assert (await client.get_object(way.server.bucket, "expected")).body == BODY


@in_loop
async def test_a_cancelled_call_leaves_the_client_usable(way: Way) -> None:
    way.server.set_faults([{"operation": "get_object", "do": "stall", "at": "answer"}])
    async with way.client() as client:
        await client.put_object(way.server.bucket, "object", b"x")
        waiting = asyncio.create_task(client.get_object(way.server.bucket, "object"))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await client.put_object(way.server.bucket, "object", b"y")


async def of_a_cancelled_task() -> AsyncIterator[bytes]:
    yield BODY[:-1]
    other = asyncio.create_task(asyncio.sleep(60))
    other.cancel()
    await other


def of_a_cancelled_future() -> Iterator[bytes]:
    yield BODY[:-1]
    raise asyncio.CancelledError


class CancelledWhenSent(io.BytesIO):
    """A file object that can be read once, for the digests; the next read raises CancelledError."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size and self.ended:
            raise asyncio.CancelledError
        piece = super().read(size)
        self.ended = self.ended or (size != 0 and not piece)
        return piece

    ended = False


@in_loop
@pytest.mark.parametrize("make", [of_a_cancelled_task, of_a_cancelled_future, lambda: CancelledWhenSent(BODY)])
@pytest.mark.parametrize("length", [None, len(BODY)])
async def test_a_body_that_raises_cancelled_error_ends_the_call_with_an_error(
    way: Way, make: Callable[[], Any], length: int | None
) -> None:
    async with way.client() as client, asyncio.timeout(30):
        with pytest.raises(cosxfer.SourceError, match="CancelledError"):
            await client.put_object(way.server.bucket, "cancelled", make(), content_length=length)
        with pytest.raises(cosxfer.NotFoundError):
            await client.head_object(way.server.bucket, "cancelled")


@in_loop
async def test_a_body_that_cancels_the_task_that_reads_it_ends_the_call(way: Way) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield BODY[:-1]
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)

    async with way.client() as client:
        sending = asyncio.create_task(
            client.put_object(way.server.bucket, "cancelled", body(), content_length=len(BODY))
        )
        await asyncio.wait([sending], timeout=30)
        assert sending.done()
        with pytest.raises((cosxfer.CosxferError, asyncio.CancelledError)):
            await sending


@in_loop
async def test_an_upload_can_be_cancelled_while_it_waits_for_its_body(way: Way) -> None:
    begun = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield BODY[:-1]
        begun.set()
        await asyncio.sleep(60)

    async with way.client() as client:
        for length in (None, len(BODY)):
            begun.clear()
            sending = asyncio.create_task(
                client.put_object(way.server.bucket, "cancelled", body(), content_length=length)
            )
            await begun.wait()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending


@in_loop
async def test_a_file_object_is_read_outside_the_event_loop(way: Way) -> None:
    loop_thread = threading.current_thread()
    readers: list[threading.Thread] = []

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if size:
                readers.append(threading.current_thread())
            return super().read(size)

    async with way.client() as client:
        await client.put_object(way.server.bucket, "file-object", Slow(BODY))
        await client.put_object(way.server.bucket, "file-object", Slow(BODY), expect="100-continue")
        await client.post_object(way.server.bucket, "file-object", Slow(BODY))
        assert (await client.get_object(way.server.bucket, "file-object")).body == BODY
    assert len(readers) >= 6 * len(BODY) // MIB
    assert loop_thread not in readers


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("when", ["while the loop runs", "after the loop", "with an upload under way"])
def test_a_client_that_was_not_closed_leaves_no_thread_and_no_descriptor(
    servers: dict[bool, RunningServer], tmp_path: Path, when: str
) -> None:
    pytest.importorskip("cosxfer._native.wire")
    server = servers[False]
    path = tmp_path / "f"
    path.write_bytes(b"x")

    async def main() -> None:
        held = [cosxfer.AsyncClient(endpoint=server.endpoint, credentials=server.credentials, transport="native")]
        await held[0].put_object(server.bucket, "object", b"x")
        if when == "while the loop runs":
            with pytest.warns(ResourceWarning, match="unclosed client"):
                held.clear()
            assert wires() == before
        elif when == "with an upload under way":
            server.set_faults([{"operation": "put_object", "do": "stall", "at": "answer"}])
            held[0].submit_upload_file(server.bucket, "stalled", path)
            await asyncio.sleep(0.1)

    def wires() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "cosxfer-wire"]

    gc.collect()
    before, open_before = wires(), descriptors()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(main())
        gc.collect()
    server.set_faults([])
    assert (wires(), descriptors()) == (before, open_before)


@in_loop
async def test_a_kept_error_holds_no_descriptor_of_its_client(servers: dict[bool, RunningServer]) -> None:
    pytest.importorskip("cosxfer._native.wire")
    server = servers[False]
    server.set_faults([{"operation": "put_object", "do": "reset"}])
    gc.collect()
    before = descriptors()
    kept = []
    for _ in range(3):
        async with cosxfer.AsyncClient(
            endpoint=server.endpoint, credentials=server.credentials, transport="native", max_attempts=1
        ) as client:
            with pytest.raises(cosxfer.TransportError) as caught:
                await client.put_object(server.bucket, "object", b"x")
            kept.append(caught.value)
    server.set_faults([])
    assert descriptors() == before
    assert len(kept) == 3


@in_loop
async def test_an_httpx_client_of_the_caller_is_used_and_left_open(servers: dict[bool, RunningServer]) -> None:
    seen: list[str] = []

    async def note(request: httpx.Request) -> None:
        seen.append(request.method)

    server = servers[False]
    async with httpx.AsyncClient(event_hooks={"request": [note]}) as mine:
        async with cosxfer.AsyncClient(
            endpoint=server.endpoint, credentials=server.credentials, transport=mine
        ) as client:
            await client.put_object(server.bucket, "object", BODY)
        assert not mine.is_closed
    assert seen == ["PUT"]


@in_loop
async def test_the_rate_limit_applies_to_each_transport(transport: str, servers: dict[bool, RunningServer]) -> None:
    server = servers[False]
    loop = asyncio.get_running_loop()
    async with cosxfer.AsyncClient(
        endpoint=server.endpoint, credentials=server.credentials, transport=transport,  # type: ignore[arg-type]
        max_bytes_per_second=4e6,
    ) as client:  # fmt: skip
        began = loop.time()
        await asyncio.gather(*(client.put_object(server.bucket, f"rate-{n}", bytes(500_000)) for n in range(4)))
        # The first tenth of a second may be sent in one burst. A slow machine only takes longer.
        assert loop.time() - began >= (2e6 - 4e5) / 4e6 * 0.95


@in_loop
async def test_the_rate_limit_counts_both_directions(
    transport: str, servers: dict[bool, RunningServer], tmp_path: Path
) -> None:
    server = servers[False]
    loop = asyncio.get_running_loop()
    small = [f"rate/small-{n}" for n in range(32)]
    async with cosxfer.AsyncClient(endpoint=server.endpoint, credentials=server.credentials) as quick:
        await quick.put_object(server.bucket, "rate/large", BODY[:MIB])
        for key in small:
            await quick.put_object(server.bucket, key, bytes(16_384))
    async with cosxfer.AsyncClient(
        endpoint=server.endpoint, credentials=server.credentials, transport=transport,  # type: ignore[arg-type]
        max_bytes_per_second=4e6,
    ) as client:  # fmt: skip
        began = loop.time()
        into = bytearray(MIB)
        outcomes = await asyncio.gather(
            client.download_files(
                [{"bucket": server.bucket, "key": key, "path": tmp_path / key.removeprefix("rate/")} for key in small]
            ),
            client.get_object(server.bucket, "rate/large", into=into),
            client.put_object(server.bucket, "rate/up", bytes(500_000)),
        )
        assert all(file.error is None for file in outcomes[0])
        assert into == BODY[:MIB]
        moved = 32 * 16_384 + MIB + 500_000
        assert loop.time() - began >= (moved - 4e5) / 4e6 * 0.95


@in_loop
async def test_an_untrusted_certificate_is_a_connect_error(transport: str, servers: dict[bool, RunningServer]) -> None:
    server = servers[True]
    async with cosxfer.AsyncClient(
        endpoint=server.endpoint,
        credentials=server.credentials,
        transport=transport,  # type: ignore[arg-type]
    ) as client:
        with pytest.raises(cosxfer.ConnectError, match="not trusted") as caught:
            await client.put_object(server.bucket, "object", b"x")
        assert not caught.value.retryable


@in_loop
async def test_https_to_an_http_port_is_reported_without_a_retry(
    transport: str, servers: dict[bool, RunningServer]
) -> None:
    server = servers[False]
    async with cosxfer.AsyncClient(
        endpoint=f"https://127.0.0.1:{server.port}/{{bucket}}",
        credentials=server.credentials,
        transport=transport,  # type: ignore[arg-type]
    ) as client:
        with pytest.raises(cosxfer.ConnectError, match=r"does not speak TLS. Is its address http://127") as caught:
            await client.put_object(server.bucket, "object", b"x")
        assert not caught.value.retryable
        assert not hasattr(caught.value, "__notes__")


@in_loop
async def test_an_ipv6_address_has_brackets_in_messages(transport: str) -> None:
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::1", 0))  # reserves the port without listening
        port = taken.getsockname()[1]
        async with cosxfer.AsyncClient(
            endpoint=f"http://[::1]:{port}",
            secret_id="id",
            secret_key="key",
            max_attempts=1,
            transport=transport,  # type: ignore[arg-type]
        ) as client:
            with pytest.raises(cosxfer.ConnectError, match=rf"cannot connect to \[::1\]:{port}: "):
                await client.put_object("examplebucket-1250000000", "k", b"x")
