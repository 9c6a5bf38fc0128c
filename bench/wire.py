"""The wire against bare socket loops and against httpx: the CPU cost of a byte and an object in the client.

Each pair is measured in one run, in turn, against the same server process. A figure is bytes (or objects) per second of
this process's own CPU, user and system. nginx takes large HTTP/2 frames, nghttpd those of 16 KiB. Both read the whole
body before they respond. The peers on the same cores limit the wall clock.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import os
import resource
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from _report import Figure, Rounds, absolute, arguments, interleave, publish, ratio
from _wire_peers import Peers, peers

import cosxfer
from cosxfer._native import wire
from cosxfer.config import ClientConfig, HttpVersion
from cosxfer.cos import sign
from cosxfer.cos.endpoint import Endpoint, resolve_endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.credentials import Credentials
from cosxfer.engine.multipart.source import HashedPart
from cosxfer.engine.upload.part_body import PartBody
from cosxfer.planning import PartRange
from cosxfer.sources import FileSource
from cosxfer.transport.native import NativeTransport
from cosxfer.transport.native_connect import Target, connect

BUCKET = "examplebucket-1250000000"
PART_BYTES = 8 << 20
SMALL_BYTES = 16 << 10
STREAMS = 4
KEY = Credentials(secret_id="AKIDexample", secret_key="example")


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def endpoint_of(scheme: str, port: int) -> Endpoint:
    return resolve_endpoint(f"{scheme}://127.0.0.1:{port}", bucket=BUCKET, region=None)


class Bench:
    """One run: the peers, a file of parts in the page cache, and an event loop."""

    def __init__(self, at: Peers, source: FileSource, *, quick: bool) -> None:
        self.at = at
        self.source = source
        self.parts = source.size // PART_BYTES
        self.rounds = 5 if quick else 9
        self.objects = 300 if quick else 1000
        self.whole = source.slice(0, source.size)
        self.context = ssl.create_default_context(cafile=str(at.ca_file))
        self.loop = asyncio.new_event_loop()
        self.sent = self.parts * PART_BYTES
        self.executor = ThreadPoolExecutor(1)

    def config(self, version: HttpVersion, endpoint: str = "") -> ClientConfig:
        return ClientConfig(
            endpoint=endpoint or "http://127.0.0.1", http_version=version, verify=str(self.at.ca_file), concurrency=32
        )

    def body(self, number: int) -> PartBody:
        """Return a part of the file like `slice_upload_file` sends it; no server here compares the digests."""
        part = PartRange(number=number + 1, offset=number * PART_BYTES, length=PART_BYTES)
        hashed = HashedPart(range=part, md5=b"", crc64=0)
        return PartBody(self.source, hashed, self.executor)

    # -- 8 MiB bodies ----------------------------------------------------------------------------------------------

    def bare(self, port: int, *, tls: bool) -> Callable[[], float]:
        """Send head and body and read the response on one blocking socket; the body is a mapping with loaded pages."""
        context = ssl.create_default_context(cafile=str(self.at.ca_file))
        head = f"PUT /part HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {PART_BYTES}\r\n\r\n".encode()

        def run() -> float:
            with socket.create_connection(("127.0.0.1", port)) as plain:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock = context.wrap_socket(plain, server_hostname="127.0.0.1") if tls else plain
                began = cpu_seconds()
                for number in range(self.parts):
                    sock.sendall(head)
                    body = self.whole[number * PART_BYTES : (number + 1) * PART_BYTES]
                    if isinstance(sock, ssl.SSLSocket):
                        done = 0
                        while done < PART_BYTES:
                            done += sock.send(body[done:])
                    else:
                        sock.sendall(body)
                    answer = b""
                    while b"\r\n\r\n" not in answer:
                        answer += sock.recv(65536)
                    assert answer.startswith(b"HTTP/1.1 200"), answer
                used = cpu_seconds() - began
                if tls:
                    sock.close()
            return self.sent / used

        return run

    def native(self, scheme: str, port: int, version: HttpVersion, path: str = "/part") -> Callable[[], float]:
        transport = NativeTransport(self.config(version), threads=1)
        endpoint = endpoint_of(scheme, port)

        async def put(number: int) -> None:
            answer = await transport.send(request(endpoint, path, self.body(number), PART_BYTES))
            assert answer.status == 200, answer

        return self._measured(put)

    def httpx(self, port: int, path: str = "/part") -> Callable[[], float]:
        """Use httpx on HTTP/2 with the fastest form of body, memoryviews of 64 KiB, and as many clients as streams."""
        clients = [httpx.AsyncClient(http2=True, verify=self.context, timeout=60) for _ in range(STREAMS)]

        async def views(number: int) -> AsyncIterator[memoryview]:
            start = number * PART_BYTES
            for offset in range(start, start + PART_BYTES, 65536):
                yield self.whole[offset : offset + 65536]

        async def put(number: int) -> None:
            client = clients[number % STREAMS]
            headers = {"content-length": str(PART_BYTES)}
            url = f"https://127.0.0.1:{port}{path}"
            answer = await client.put(url, content=views(number), headers=headers)  # type: ignore[arg-type]
            assert answer.status_code == 200
            assert answer.http_version == "HTTP/2"

        return self._measured(put)

    def _measured(self, put: Callable[[int], Awaitable[None]]) -> Callable[[], float]:
        def run() -> float:
            began = cpu_seconds()
            self.loop.run_until_complete(in_parallel(put, self.parts, STREAMS))
            return self.sent / (cpu_seconds() - began)

        return run

    # -- small objects ---------------------------------------------------------------------------------------------

    def small_native(self, scheme: str, port: int, version: HttpVersion) -> Callable[[], float]:
        """Measure `AsyncClient.put_object`: hash, sign, send, check."""
        client = cosxfer.AsyncClient(
            endpoint=f"{scheme}://127.0.0.1:{port}", credentials=KEY, http_version=version,
            verify=str(self.at.ca_file), transport="native",
        )  # fmt: skip
        body = os.urandom(SMALL_BYTES)

        async def put(number: int) -> None:
            await client.put_object(BUCKET, f"object-{number}", body)

        return self._small(put)

    def small_httpx(self, scheme: str, port: int, *, http2: bool) -> Callable[[], float]:
        """Do the same by hand with httpx: hash, sign, send."""
        client = httpx.AsyncClient(http2=http2, http1=not http2, verify=self.context, timeout=60)
        body = os.urandom(SMALL_BYTES)
        base = f"{scheme}://127.0.0.1:{port}"

        async def put(number: int) -> None:
            headers = {
                "host": f"127.0.0.1:{port}",
                "content-type": "application/octet-stream",
                "content-length": str(SMALL_BYTES),
                "content-md5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
            }
            headers["authorization"] = sign.authorization(
                KEY, method="PUT", path=f"/object-{number}", params={}, headers=headers,
                key_time=sign.key_time(time.time(), life_seconds=900),
            )  # fmt: skip
            answer = await client.put(f"{base}/object-{number}", content=body, headers=headers)
            assert answer.status_code == 200

        return self._small(put)

    def _small(self, put: Callable[[int], Awaitable[None]]) -> Callable[[], float]:
        def run() -> float:
            began = cpu_seconds()
            self.loop.run_until_complete(in_parallel(put, self.objects, 32))
            return self.objects / (cpu_seconds() - began)

        return run

    # -- memory, fairness ------------------------------------------------------------------------------------------

    def idle_memory(self) -> list[float]:
        """Measure the memory of an idle HTTP/2 connection over TLS that has carried a request."""
        count = 100
        io_thread = wire.IoThread()
        io_thread.start()
        events = _Done()

        async def opened() -> list[wire.Connection]:
            target = Target(host="127.0.0.1", port=self.at.tls, context=self.context, protocols=("h2",))
            connections = []
            for _ in range(count):
                sock, http2 = await connect(target, timeout_seconds=10)
                connections.append(wire.Connection(sock, http2=http2))
                io_thread.add(connections[-1])
                exchange = wire.Exchange(
                    b"GET /x HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
                    length=0,
                    stall_seconds=10,
                    max_response_bytes=1 << 20,
                )
                exchange.no_more()
                io_thread.submit(connections[-1], exchange)
                while not exchange.done:
                    await asyncio.sleep(0.001)
                    io_thread.drain(events)
            return connections

        self.loop.run_until_complete(opened())
        gc.collect()
        before = resident_bytes()
        kept = self.loop.run_until_complete(opened())
        used = (resident_bytes() - before) / count
        assert len(kept) == count
        io_thread.stop()
        io_thread.drain(events)
        return [used]

    def beside_a_busy_thread(self, *, without_gil: bool) -> Callable[[], float]:
        """Measure bytes per second over TLS while another thread of the process never releases the GIL by itself."""
        transport = NativeTransport(self.config("1.1"), threads=1)
        endpoint = endpoint_of("https", self.at.tls)

        async def put(number: int) -> None:
            await transport.send(request(endpoint, "/part", self.body(number), PART_BYTES))

        def run() -> float:
            ended = False

            def count() -> None:
                number = 0
                while not ended:
                    number += 1

            busy = threading.Thread(target=count)
            # A connection keeps the mode in which it was opened; this one lasts for all rounds.
            wire.tls_without_gil(without_gil)
            busy.start()
            try:
                began = time.perf_counter()
                # With the GIL this is a hundred times slower, so few parts are enough.
                self.loop.run_until_complete(in_parallel(put, STREAMS, STREAMS))
                return STREAMS * PART_BYTES / (time.perf_counter() - began)
            finally:
                ended = True
                busy.join()
                wire.tls_without_gil()

        return run

    def seven_streams(self) -> dict[str, Callable[[], float]]:
        """Measure bytes per second of seven streams, alone and with an eighth that is read at 1 MiB/s."""
        transport = NativeTransport(self.config("2"), threads=1)
        endpoint = endpoint_of("https", self.at.tls)

        async def put(number: int, path: str = "/part") -> None:
            await transport.send(request(endpoint, path, self.body(number % self.parts), PART_BYTES))

        async def run(*, slow: bool) -> float:
            eighth = asyncio.create_task(put(0, "/slow/part")) if slow else None
            await asyncio.sleep(0.2 if slow else 0)
            began = time.perf_counter()
            await in_parallel(put, 4 * self.parts, 7)  # many: the last parts of the streams count little
            seconds = time.perf_counter() - began
            if eighth is not None:
                eighth.cancel()
                await asyncio.gather(eighth, return_exceptions=True)
            return self.sent / seconds

        return {
            "alone": lambda: self.loop.run_until_complete(run(slow=False)),
            "beside": lambda: self.loop.run_until_complete(run(slow=True)),
        }


class _Done:
    """A handler that accepts everything."""

    def on_done(self, exchange: wire.Exchange) -> None: ...
    def on_sent(self, exchange: wire.Exchange, count: int) -> None: ...
    def on_wanted(self, exchange: wire.Exchange) -> None: ...
    def on_body(self, exchange: wire.Exchange, piece: bytes) -> None: ...
    def on_settings(self, connection: wire.Connection, streams: int) -> None: ...
    def on_leaving(self, connection: wire.Connection) -> None: ...
    def on_stalled(self, connection: wire.Connection) -> None: ...
    def on_closed(self, connection: wire.Connection) -> None: ...


def resident_bytes() -> int:
    """Return this process's own memory, without pages of files."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


def request(endpoint: Endpoint, path: str, body: PartBody, length: int) -> HttpRequest:
    headers = {"host": endpoint.authority, "content-length": str(length)}
    return HttpRequest(method="PUT", endpoint=endpoint, target=path, headers=headers, body=body, content_length=length)


async def in_parallel(put: Callable[[int], Awaitable[None]], count: int, width: int) -> None:
    numbers: Iterator[int] = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await put(number)

    await asyncio.gather(*(work() for _ in range(width)))


def measure(bench: Bench) -> list[Figure]:
    at = bench.at
    # The rounds differ by a quarter or more, because both ends share the cores and caches. These rounds are cheap.
    plain: Rounds = interleave(
        {
            "bare": bench.bare(at.http1, tls=False),
            "http1": bench.native("http", at.http1, "1.1"),
            "h2c": bench.native("http", at.h2c, "2"),
        },
        4 * bench.rounds,
    )
    large: Rounds = interleave(
        {
            "bare tls": bench.bare(at.tls, tls=True),
            "http1 tls": bench.native("https", at.tls, "1.1"),
            "http2 tls": bench.native("https", at.tls, "2"),
            "httpx http2": bench.httpx(at.tls),
        },
        bench.rounds,
    )
    small_frames = interleave(
        {"ours": bench.native("https", at.small_frames, "2", "/sink"), "httpx": bench.httpx(at.small_frames, "/sink")},
        max(3, bench.rounds // 2),
    )
    objects = interleave(
        {
            "ours": bench.small_native("http", at.http1, "1.1"),
            "httpx": bench.small_httpx("http", at.http1, http2=False),
            "ours h2": bench.small_native("http", at.h2c, "2"),
            "httpx h2": bench.small_httpx("http", at.h2c, http2=True),
            "ours tls": bench.small_native("https", at.tls, "1.1"),
        },
        bench.rounds,
    )
    busy = interleave(
        {
            "without": bench.beside_a_busy_thread(without_gil=True),
            "with": bench.beside_a_busy_thread(without_gil=False),
        },
        max(3, bench.rounds // 2),
    )
    fair = interleave(bench.seven_streams(), 4 * bench.rounds)
    figures = [
        ratio("HTTP/1.1 plain / bare socket loop", plain["http1"], plain["bare"], must=0.7, aim=0.9),
        ratio("HTTP/1.1 TLS / bare TLS loop", large["http1 tls"], large["bare tls"], must=0.85, aim=1.0),
        ratio("h2c / bare socket loop", plain["h2c"], plain["bare"], must=0.45, aim=0.7),
        ratio("HTTP/2 TLS / bare TLS loop", large["http2 tls"], large["bare tls"], must=0.75, aim=0.9),
        ratio("HTTP/2 TLS, 16 KiB frames / httpx", small_frames["ours"], small_frames["httpx"], must=2, aim=3),
        ratio("HTTP/2 TLS, large frames / httpx", large["http2 tls"], large["httpx http2"], must=1.3, aim=2),
        ratio("16 KiB puts per cpu-s / httpx async", objects["ours"], objects["httpx"], must=6, aim=10),
        Figure(name="memory per idle connection", value=min(bench.idle_memory()) / 1024, unit="KiB",
               must=300, aim=100, better="lower"),
        ratio("seven streams beside a slow one / alone", fair["beside"], fair["alone"], must=0.95, aim=1.0),
        ratio("16 KiB puts, h2c / httpx HTTP/2", objects["ours h2"], objects["httpx h2"]),
        ratio("TLS beside a busy thread, without / with the GIL", busy["without"], busy["with"]),
    ]  # fmt: skip
    framed = {f"{name}, 16 KiB frames": values for name, values in small_frames.items()}
    for name, values in {**plain, **large, **framed}.items():
        figures.append(absolute(name, [value / 1e6 for value in values], "MB/cpu-s"))
    for name, values in objects.items():
        figures.append(absolute(f"16 KiB puts, {name}", values, "1/cpu-s"))
    return figures


def main() -> None:
    options = arguments(__doc__ or "").parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "parts"
        path.write_bytes(os.urandom((128 if options.quick else 256) << 20))
        with peers(folder) as at, FileSource.open(path) as source:
            figures = measure(Bench(at, source, quick=options.quick))
    publish(figures, as_json=options.json, note=__doc__ or "", openssl=ssl.OPENSSL_VERSION)


if __name__ == "__main__":
    main()
