"""A proxy that damages what it carries, byte by byte, by a schedule: for `survival.py` and the tests.

It knows nothing of HTTP. A `Trouble` happens once, at a byte of one direction. That byte is counted over all
connections, so a schedule means the same for one connection and for many. With ``marker`` it is counted from the place
where these bytes pass, so a flip can be aimed at a body.

One thread runs the proxies of a process (`ProxyThread`), beside the event loop of the client that is tested.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

T = TypeVar("T")

Way = Literal["up", "down"]
Kind = Literal["delay", "rate", "reset", "cut", "half_close", "swallow", "freeze", "flip", "event"]

KINDS: dict[Kind, str] = {
    "delay": "the direction pauses for ``seconds``",
    "rate": "the direction carries ``rate`` bytes per second from here on",
    "reset": "both ends get a TCP reset",
    "cut": "both ends see the end of the stream; the rest is lost (truncation)",
    "half_close": "the target of this direction sees the end; the other direction goes on",
    "swallow": "the proxy reads the rest and drops it, and closes nothing (a black hole)",
    "freeze": "the proxy stops reading and closes nothing, so the buffers fill (a black hole)",
    "flip": "bit ``bit`` of the byte is inverted",
    "event": "``on_event`` of the proxy is called",
}

_READ_BYTES = 64 << 10
_MARKER_SECONDS = 0.05
"""How long data that may end in the middle of a marker is held back."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One fault. ``at`` is the byte before which it happens; a flip happens to this byte."""

    kind: Kind
    way: Way = "up"
    at: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    bit: int = 0
    marker: bytes = b""
    for_good: bool = False
    """It happens again on each connection that carries more bytes, so no later one works."""


class ChaosProxy:
    """Carries connections to a local port. Made and closed by `ProxyThread`."""

    def __init__(
        self, target: tuple[str, int], troubles: Sequence[Trouble], on_event: Callable[[Trouble], None] | None
    ) -> None:
        self._target = target
        self._waiting = sorted(troubles, key=lambda trouble: trouble.at)
        self._on_event = on_event
        self.carried: dict[Way, int] = {"up": 0, "down": 0}
        """Bytes of each direction, over all connections."""
        self.happened: list[Trouble] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, limit=_READ_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _ in range(10):  # connections that were just accepted, and transports that forget their sockets
            await asyncio.sleep(0)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed:
            _abort(writer)
            return
        self.connections += 1
        task = asyncio.ensure_future(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.close())

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server = await asyncio.open_connection(*self._target, limit=_READ_BYTES)
        except OSError:
            _abort(writer)
            return
        await _Connection(self, (reader, writer), server).run()

    def due(self, connection: _Connection, way: Way, data: bytes) -> list[tuple[int, Trouble]]:
        """Count ``data`` and return what happens in it: offsets and troubles, in this order."""
        begin = self.carried[way]
        self.carried[way] += len(data)
        found = []
        for trouble in self._waiting:
            if trouble.way != way:
                continue
            offset = connection.offset(trouble, data) if trouble.marker else max(0, trouble.at - begin)
            if offset is not None and offset < len(data):
                found.append((offset, trouble))
        for _, trouble in found:
            if not trouble.for_good:
                self._waiting.remove(trouble)
            self.happened.append(trouble)
        return sorted(found, key=lambda pair: pair[0])

    def markers(self, way: Way) -> list[bytes]:
        """The markers that have not been seen yet."""
        return [trouble.marker for trouble in self._waiting if trouble.marker and trouble.way == way]

    def event(self, trouble: Trouble) -> None:
        if self._on_event is not None:
            self._on_event(trouble)

    def add(self, trouble: Trouble) -> None:
        """Add to the schedule, from any thread. What is sent afterwards meets it."""
        assert self._server is not None
        self._server.get_loop().call_soon_threadsafe(self._waiting.append, trouble)


class _Connection:
    def __init__(
        self,
        proxy: ChaosProxy,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy = proxy
        self._ends = {"up": (client[0], server[1]), "down": (server[0], client[1])}
        self._rates: dict[Way, float] = {"up": 0.0, "down": 0.0}
        self._cut = False
        self._marked: dict[bytes, int] = {}
        """How many bytes have passed since the begin of a marker."""

    async def run(self) -> None:
        ways: tuple[Way, Way] = ("up", "down")
        tasks = [asyncio.ensure_future(self._carry(way)) for way in ways]
        try:
            await asyncio.gather(*tasks)
        except (OSError, _Ended):
            pass
        finally:
            for task in tasks:
                task.cancel()
            for _, writer in self._ends.values():
                writer.close()  # first: the next line may be cancelled
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry(self, way: Way) -> None:
        reader, writer = self._ends[way]
        while data := await self._read(reader, way):
            sent, changed = 0, bytearray(data)
            happening = self._proxy.due(self, way, data)
            for offset, trouble in happening:
                if trouble.kind == "flip":
                    changed[offset] ^= 1 << trouble.bit
            for offset, trouble in happening:
                await self._send(way, writer, changed[sent:offset])
                sent = max(sent, offset)
                if not await self._apply(way, trouble):
                    return
            await self._send(way, writer, changed[sent:])
        with suppress(OSError, RuntimeError):
            writer.write_eof()

    async def _read(self, reader: asyncio.StreamReader, way: Way) -> bytes:
        data = await reader.read(_READ_BYTES)
        while any(_begins_at_end(data, marker) for marker in self._proxy.markers(way)):
            try:
                more = await asyncio.wait_for(reader.read(_READ_BYTES), _MARKER_SECONDS)
            except TimeoutError:
                break
            if not more:
                break
            data += more
        return data

    async def _send(self, way: Way, writer: asyncio.StreamWriter, data: bytes | bytearray) -> None:
        rate = self._rates[way]
        step = max(1, int(rate / 50)) if rate else len(data)
        for begin in range(0, len(data), step or 1):
            if self._cut:
                return
            writer.write(data[begin : begin + step])
            await writer.drain()
            if rate:
                await asyncio.sleep(step / rate)

    async def _apply(self, way: Way, trouble: Trouble) -> bool:
        """Do what ``trouble`` says; returns whether the direction goes on."""
        reader, writer = self._ends[way]
        if trouble.kind == "delay":
            await asyncio.sleep(trouble.seconds)
        elif trouble.kind == "rate":
            self._rates[way] = trouble.rate
        elif trouble.kind == "event":
            self._proxy.event(trouble)
        elif trouble.kind == "reset":
            for _, end in self._ends.values():
                _abort(end)
            raise _Ended
        elif trouble.kind in ("cut", "half_close", "swallow"):
            if trouble.kind == "half_close":
                writer.write_eof()
            elif trouble.kind == "cut":
                self._cut = True
                for _, end in self._ends.values():
                    end.write_eof()
            # Data that nobody reads would turn the end into a reset.
            await self._swallow(reader)
            return False
        elif trouble.kind == "freeze":
            # The end of a frozen client shows in the other direction, if at all.
            await asyncio.get_running_loop().create_future()
        return True

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(_READ_BYTES):
            pass

    def offset(self, trouble: Trouble, data: bytes) -> int | None:
        """The place of ``trouble`` in ``data``, counted from its marker; None if the marker has not passed."""
        passed = self._marked.get(trouble.marker)
        if passed is None:
            where = data.find(trouble.marker)
            if where < 0:
                return None
            passed = -where
        self._marked[trouble.marker] = passed + len(data)
        offset = trouble.at - passed
        if offset < len(data):
            del self._marked[trouble.marker]
        return offset


class _Ended(Exception):  # noqa: N818 # not an error
    """Both directions end."""


def _begins_at_end(data: bytes, marker: bytes) -> bool:
    """Whether the end of ``data`` may be the first bytes of ``marker``."""
    return any(data.endswith(marker[:length]) for length in range(1, len(marker)))


def _abort(writer: asyncio.StreamWriter) -> None:
    end = writer.get_extra_info("socket")
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class ProxyThread:
    """Runs proxies in a thread of its own. Close it after use."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos", daemon=True)
        self._thread.start()

    @contextmanager
    def proxy(
        self,
        port: int,
        troubles: Sequence[Trouble] = (),
        *,
        host: str = "127.0.0.1",
        on_event: Callable[[Trouble], None] | None = None,
    ) -> Iterator[ChaosProxy]:
        """Run a proxy to a port of this machine. ``on_event`` is called in the thread of the proxies."""
        proxy = ChaosProxy((host, port), troubles, on_event)
        self._run(proxy.open())
        try:
            yield proxy
        finally:
            self._run(proxy.close())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@contextmanager
def chaos(
    port: int, troubles: Sequence[Trouble] = (), *, on_event: Callable[[Trouble], None] | None = None
) -> Iterator[ChaosProxy]:
    """Run one proxy in a thread of its own."""
    thread = ProxyThread()
    try:
        with thread.proxy(port, troubles, on_event=on_event) as proxy:
            yield proxy
    finally:
        thread.close()
