"""Sends a request with ``Expect: 100-continue`` over its own HTTP/1.1 connection (RFC 9110, section 10.1.1).

httpx cannot wait for 100 Continue before it sends a body. So this module makes the exchange with h11, which httpx uses
too. It sends the head first. If the server refuses, it reads the response and sends no body. If the server says nothing
for a while, it sends the body: by the RFC, clients must not wait for ever, because old servers and proxies ignore the
header.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import field

import h11

from cosxfer.cos.headers import decode_headers
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import ConnectError, ProtocolError, TransportError, TransportTimeoutError
from cosxfer.records import dataclass
from cosxfer.transport.base import MAX_RESPONSE_BYTES
from cosxfer.transport.httpx_network import Stream, connect
from cosxfer.transport.progress import NoiseError, Progress
from cosxfer.transport.request_body import body_views
from cosxfer.transport.tls import not_trusted, refusal

WAIT_SECONDS = 3.0
"""How long to wait for 100 Continue before the body is sent anyway."""
CHUNK_BYTES = 256 * 1024
_READ_BYTES = 64 * 1024


class Http2ChosenError(TransportError):
    """The server chose HTTP/2 in the TLS handshake, which this exchange does not support. Nothing was sent."""


@dataclass(kw_only=True)
class ContinueExchange:
    """One request and its response. ``context`` is for https and should offer only HTTP/1.1."""

    request: HttpRequest
    context: ssl.SSLContext | None
    user_agent: str
    connect_timeout_seconds: float
    wait_seconds: float = WAIT_SECONDS
    in_flight: set[Progress] = field(default_factory=set)
    """Holds the progress of this request while it is in flight."""
    _progress: Progress = field(init=False, repr=False)
    _protocol: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT), repr=False)

    async def run(self) -> HttpResponse:
        """Send the request once. Raises a `TransportError` if there is no complete response."""
        stream = await self._connect()
        self._progress = Progress(self.request.stall_timeout_seconds)
        self._progress.begins()
        self.in_flight.add(self._progress)
        try:
            return await self._progress.watch(self._exchange(stream))
        except TimeoutError as error:
            if not self._progress.expired:
                raise
            raise TransportTimeoutError(
                self._message(f"the server was silent for {self.request.stall_timeout_seconds:g} s"),
                url=self.request.url,
            ) from error
        except (h11.ProtocolError, NoiseError) as error:
            raise ProtocolError(self._message(f"the response is not HTTP: {error}"), url=self.request.url) from error
        finally:
            self.in_flight.discard(self._progress)
            await stream.aclose()

    async def _connect(self) -> Stream:
        endpoint = self.request.endpoint
        where = endpoint.where
        try:
            async with asyncio.timeout(self.connect_timeout_seconds):
                stream = await connect(endpoint.host, endpoint.port)
                if endpoint.scheme == "https":
                    assert self.context is not None
                    stream = await stream.secured(self.context, endpoint.host)
        except TimeoutError as error:
            raise ConnectError(
                f"cannot connect to {where}: no response in {self.connect_timeout_seconds:g} s", url=self.request.url
            ) from error
        except ssl.SSLCertVerificationError as error:
            raise ConnectError(
                f"cannot connect to {where}: {not_trusted(error)}", url=self.request.url, permanent=True
            ) from error
        except (OSError, UnicodeError) as error:
            final = refusal(str(error))
            raise ConnectError(
                f"cannot connect to {where}: {final or getattr(error, 'strerror', None) or error}",
                url=self.request.url,
                permanent=bool(final),
            ) from error
        session = stream.get_extra_info("ssl_object")
        if session is not None and session.selected_alpn_protocol() == "h2":
            await stream.aclose()
            raise Http2ChosenError(self._message("the server chose HTTP/2"), url=self.request.url)
        return stream

    async def _exchange(self, stream: Stream) -> HttpResponse:
        await self._write(stream, self._protocol.send(self._head()))
        with self._progress.waits_for_us():  # this wait has its own limit
            first = await self._leave(stream)
        if isinstance(first, h11.Response):
            return await self._response(stream, first)
        try:
            await self._send_body(stream)
        except (ConnectError, TransportTimeoutError):
            raise
        except TransportError as broken:
            # The server may have sent a response and closed. Its response is more useful than the error.
            try:
                return await self._response(stream, await self._final(stream))
            except ConnectError:
                raise
            except (TransportError, h11.ProtocolError):
                raise broken from broken.__cause__
        return await self._response(stream, await self._final(stream))

    def _head(self) -> h11.Request:
        headers = [(name.encode(), value.encode()) for name, value in self.request.headers.items()]
        headers += [(b"user-agent", self.user_agent.encode()), (b"accept-encoding", b"identity")]
        if self.request.content_length is None:
            headers.append((b"transfer-encoding", b"chunked"))
        return h11.Request(method=self.request.method.encode(), target=self.request.target.encode(), headers=headers)

    async def _leave(self, stream: Stream) -> h11.InformationalResponse | h11.Response | None:
        """Return the server's reaction to the head: 100 Continue, a final response, or None after the timeout."""
        try:
            async with asyncio.timeout(self.wait_seconds):
                while True:
                    event = await self._event(stream)
                    if isinstance(event, h11.Response) or getattr(event, "status_code", 0) == 100:
                        assert isinstance(event, h11.Response | h11.InformationalResponse)
                        return event
        except TimeoutError:
            return None

    async def _final(self, stream: Stream) -> h11.Response:
        while True:
            event = await self._event(stream)
            if isinstance(event, h11.Response):
                self._progress.responded()
                return event

    async def _send_body(self, stream: Stream) -> None:
        pieces = body_views(self.request.body)
        while True:
            with self._progress.waits_for_us():
                view = await anext(pieces, None)
            if view is None:
                break
            for start in range(0, len(view), CHUNK_BYTES):
                chunk = view[start : start + CHUNK_BYTES]
                # h11 needs only the length of the data.
                await self._write(stream, *(self._protocol.send_with_data_passthrough(h11.Data(data=chunk)) or ()))  # type: ignore[arg-type]
                self._progress.sent(len(chunk))
                if self.request.on_sent is not None:
                    self.request.on_sent(len(chunk))
        await self._write(stream, self._protocol.send(h11.EndOfMessage()))
        self._progress.stage()

    async def _response(self, stream: Stream, head: h11.Response) -> HttpResponse:
        on_body = self.request.on_body if 200 <= head.status_code < 300 else None
        body = bytearray()
        while not isinstance(event := await self._event(stream), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise ProtocolError(self._message("the response ended early"), url=self.request.url)
            self._progress.moved(len(event.data))
            if on_body is not None:
                if (room := on_body(bytes(event.data))) is not None:
                    await asyncio.wait([asyncio.ensure_future(room)])
                continue
            body += event.data
            if len(body) > MAX_RESPONSE_BYTES:
                raise ProtocolError(
                    self._message(f"the response is longer than {MAX_RESPONSE_BYTES} bytes; it cannot be COS's"),
                    url=self.request.url,
                )
        return HttpResponse(status=head.status_code, headers=decode_headers(head.headers), body=bytes(body))

    async def _event(self, stream: Stream) -> h11.Event | None:
        while True:
            event = self._protocol.next_event()
            if event is h11.NEED_DATA:
                try:
                    data = await stream.receive(_READ_BYTES)
                except OSError as error:
                    raise self._broken(error) from error
                self._progress.received(stream, data)
                self._protocol.receive_data(data)
                continue
            if isinstance(event, h11.ConnectionClosed):
                raise TransportError(
                    self._message("the server closed the connection without a response"), url=self.request.url
                )
            return None if event is h11.PAUSED else event  # type: ignore[return-value]

    async def _write(self, stream: Stream, *pieces: bytes | None) -> None:
        try:
            with self._progress.writes(stream):
                for piece in pieces:
                    if piece:
                        await stream.send(piece)
        except OSError as error:
            raise self._broken(error) from error

    def _broken(self, error: OSError) -> TransportError:
        final = refusal(str(error))
        if final:
            return ConnectError(
                f"cannot connect to {self.request.endpoint.where}: {final}", url=self.request.url, permanent=True
            )
        return TransportError(self._message(f"the connection broke: {error.strerror or error}"), url=self.request.url)

    def _message(self, why: str) -> str:
        return f"{self.request.method} {self.request.url}: {why}"
