"""A network layer for httpcore, which replaces its own.

httpcore's own layer loses a response that arrived before the server closed, because asyncio's transports drop unread
data when a write fails. It also cannot report acknowledged bytes, and it imports libraries at each use.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import httpcore
import httpx

from cosxfer.transport.progress import CURRENT, NoiseError, confirmed
from cosxfer.transport.tcp import addresses, connect_any, ready

_READ_BYTES = 64 * 1024


def use_own_network(transport: httpx.AsyncHTTPTransport) -> None:
    """Make ``transport`` use this network layer."""
    # httpcore accepts a network layer, but httpx has no parameter for it.
    transport._pool._network_backend = _Network()


async def connect(host: str, port: int) -> Stream:
    """Return a connection without TLS. Raises OSError, or UnicodeError for an invalid name."""
    return Stream(await connect_any(await addresses(host, port)))


class _Network(httpcore.AsyncNetworkBackend):
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with _translated(httpcore.ConnectTimeout, httpcore.ConnectError):
            async with asyncio.timeout(timeout):
                return await connect(host, port)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@contextmanager
def _translated(timeout: type[Exception], failure: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise (failure if error.errno else timeout)(str(error)) from error  # ETIMEDOUT comes from the system
    except (OSError, UnicodeError) as error:
        raise failure(str(error)) from error
    except NoiseError as error:
        raise httpcore.RemoteProtocolError(str(error)) from error


class Stream(httpcore.AsyncNetworkStream):
    """A connection without TLS.

    Several requests share a connection of HTTP/2. So a caller that is cancelled must lose no byte, read or written:
    without a head, the compressed heads that follow would have other values.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._busy = 0
        self._closed = False
        self._rest: asyncio.Task[None] | None = None
        """The last write that a cancelled caller has left."""
        self._written = 0
        self.noise = 0
        self.proven = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        progress = CURRENT.get()
        with _translated(httpcore.ReadTimeout, httpcore.ReadError):
            async with asyncio.timeout(timeout):
                data = await self.receive(max_bytes)
            if progress is not None:
                progress.received(self, data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        progress = CURRENT.get()
        with _translated(httpcore.WriteTimeout, httpcore.WriteError):
            async with asyncio.timeout(timeout):
                with nullcontext() if progress is None else progress.writes(self):
                    await self.send(buffer)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        with _translated(httpcore.ConnectTimeout, httpcore.ConnectError):
            async with asyncio.timeout(timeout):
                return await self.secured(ssl_context, server_hostname)

    async def secured(self, context: ssl.SSLContext, server_hostname: str | None) -> TlsStream:
        """Return this connection with TLS. Closes it if the handshake fails."""
        try:
            secure = TlsStream(self, context, server_hostname)
            await secure.shake_hands()
        except BaseException:
            await self.aclose()
            raise
        return secure

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # wakes readers and writers, which then fail
        if not self._busy:
            self._let_go()

    def _check_open(self) -> None:
        if self._closed:
            raise OSError("the connection is closed")

    def _let_go(self) -> None:
        if self._closed:
            self._sock.close()

    def get_extra_info(self, info: str) -> Any:
        if info == "socket":
            return self._sock
        if info == "is_readable":
            return self._is_readable()
        if info in ("client_addr", "server_addr"):
            return self._sock.getsockname() if info == "client_addr" else self._sock.getpeername()
        return None

    def confirmed(self) -> tuple[int, int]:
        return confirmed(self._sock, self._written)

    async def receive(self, max_bytes: int) -> bytes:
        """Return some bytes; none at the end of the stream."""
        with self._in_use():
            while True:
                try:
                    return self._sock.recv(max_bytes)
                except (BlockingIOError, InterruptedError):
                    await ready(self._sock, reading=True)

    async def send(self, buffer: bytes | memoryview) -> None:
        """Send all of ``buffer``, after what cancelled callers have left. If it is ``bytes``, also after a cancel."""
        self._check_open()
        view, before = memoryview(buffer), self._rest
        if before is None or before.done():
            if before is not None:
                before.result()  # raises what has broken the connection
            with self._in_use():
                try:
                    sent = self._sock.send(view)
                except (BlockingIOError, InterruptedError):
                    sent = 0
                self._written += sent
                if sent == len(view):
                    return
            view = view[sent:]
        rest = self._loop.create_task(self._send_rest(view, before))
        try:
            await asyncio.shield(rest)
        except asyncio.CancelledError:
            if isinstance(buffer, bytes):
                # A partial frame or record would end the other requests on this connection.
                self._rest = rest
                rest.add_done_callback(lambda rest: rest.cancelled() or rest.exception())
            else:
                rest.cancel()  # the memory of a body, which its owner may free now
                await asyncio.wait([rest])
            raise

    async def _send_rest(self, view: memoryview, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.shield(before)
        with self._in_use():
            await self._loop.sock_sendall(self._sock, view)
            self._written += len(view)

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        self._check_open()
        self._busy += 1
        try:
            yield
            self._check_open()  # it may have been closed meanwhile
        finally:
            self._busy -= 1
            if not self._busy:
                self._let_go()

    def _is_readable(self) -> bool:
        """Whether data or the end of the stream has arrived. An idle connection can then not be used."""
        if self._sock.fileno() < 0:
            return True
        if not hasattr(select, "poll"):
            return bool(select.select([self._sock], [], [], 0)[0])
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))


class TlsStream(Stream):
    """TLS over a connection, which may itself have TLS (to a proxy)."""

    def __init__(self, inner: Stream, context: ssl.SSLContext, server_hostname: str | None) -> None:
        super().__init__(inner._sock)
        self._inner = inner
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._reading, self._writing = asyncio.Lock(), asyncio.Lock()

    async def shake_hands(self) -> None:
        await self._run(self._tls.do_handshake)

    async def receive(self, max_bytes: int) -> bytes:
        try:
            data: bytes = await self._run(self._tls.read, max_bytes)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        return data

    async def send(self, buffer: bytes | memoryview) -> None:
        if len(buffer):
            await self._run(self._tls.write, buffer)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._tls if info == "ssl_object" else self._inner.get_extra_info(info)

    def confirmed(self) -> tuple[int, int]:
        return self._inner.confirmed()

    async def _run(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """Call ``step`` until it succeeds. Reads from the peer if the session needs data."""
        while True:
            try:
                result = step(*arguments)
            except ssl.SSLWantReadError:
                await self._flush()
                async with self._reading:
                    if self._incoming.pending:
                        continue  # another task has read it
                    data = await self._inner.receive(_READ_BYTES)
                    if data:
                        self._incoming.write(data)
                    else:
                        self._incoming.write_eof()
            except ssl.SSLError:
                with suppress(OSError):
                    await self._flush()  # the alert that says why
                raise
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        async with self._writing:
            if data := self._outgoing.read():
                await self._inner.send(data)
