"""The portable transport: httpx, HTTP/1.1 and HTTP/2.

httpx keeps one HTTP/2 connection per origin and client. On one connection, all parts share one congestion window and
one flow-control window. So this transport has several clients (`cosxfer.transport.httpx_lanes`).
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any, cast

import httpcore
import httpx

from cosxfer.config import ClientConfig
from cosxfer.cos.headers import decode_headers
from cosxfer.cos.requests import Body, HttpRequest, can_be_sent_again
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import (
    ConnectError,
    CosxferError,
    ProtocolError,
    TransportError,
    TransportTimeoutError,
)
from cosxfer.threads import in_thread
from cosxfer.transport.base import copy_of
from cosxfer.transport.expect import ContinueExchange, Http2ChosenError
from cosxfer.transport.httpx_body import read_body
from cosxfer.transport.httpx_lanes import Lane, Lanes
from cosxfer.transport.httpx_network import connect, use_own_network
from cosxfer.transport.httpx_proxy import (
    AUTHENTICATION_REQUIRED,
    HostOfUrl,
    Passage,
    TlsToProxyError,
    check_proxy,
    client_proxy,
    named,
    refused,
)
from cosxfer.transport.native_pool import IDLE_SECONDS, ConnectionLimits
from cosxfer.transport.pace import Pace
from cosxfer.transport.progress import Progress, unacknowledged_bytes
from cosxfer.transport.proxies import Proxies, Proxy
from cosxfer.transport.request_body import body_views
from cosxfer.transport.tls import context_of, no_tls, no_tls_message, not_trusted, refusal

HTTP2_CHUNK_BYTES = 64 * 1024
"""httpcore splits each chunk into HTTP/2 frames by repeated slicing, which is cheap at this size."""
HTTP1_CHUNK_BYTES = 256 * 1024
"""HTTP/1.1 writes a chunk unchanged. Fewer chunks need less Python code."""

USER_AGENT = "cosxfer/0.1.0"
REFUSAL_SECONDS = 1.0
"""How long to wait for the server's reason for closing connections."""


# hpack logs every header at DEBUG, including keys and tokens. Only an explicit level for hpack turns this on.
if logging.getLogger("hpack").level == logging.NOTSET:
    logging.getLogger("hpack").setLevel(logging.INFO)


def _import_now() -> None:
    """Import the modules that the libraries import at their first use or at each use.

    If a process is forked while a thread imports a module, an import of it in the child hangs. httpcore imports sniffio
    at each use. If sniffio is not installed, None in `sys.modules` makes the import fail without a search or a lock.
    """
    for name in ("anyio._backends._asyncio", "httpcore._async.http2", "httpcore._async.http_proxy"):
        importlib.import_module(name)
    if importlib.util.find_spec("socksio") is not None:
        importlib.import_module("httpcore._async.socks_proxy")
    if "sniffio" not in sys.modules:
        try:
            importlib.import_module("sniffio")
        except ImportError:
            sys.modules["sniffio"] = None  # type: ignore[assignment]


_import_now()


class HttpxTransport:
    """Sends over httpx, through the proxies of the environment (`cosxfer.transport.proxies`).

    An unusable proxy raises `UsageError`: here if every request would use it, else at the request.

    A ``client`` of the caller is used unchanged for all requests, with its own limits, and not closed.
    """

    def __init__(
        self,
        config: ClientConfig,
        *,
        client: httpx.AsyncClient | None = None,
        proxies: Proxies | None = None,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self._config = config
        self._pace = None if config.max_bytes_per_second is None else Pace(config.max_bytes_per_second)
        self._http2 = config.http_version != "1.1"
        self._http1 = config.http_version != "2"
        self._context: ssl.SSLContext | None = None
        self._http1_context: ssl.SSLContext | None = None
        if isinstance(config.verify, str | os.PathLike):
            self._context = context_of(config)  # so a bad file is an error when the client is made
        self._client = client
        self._proxies = proxies or Proxies()
        if client is None and self._proxies.same_for_all(config.endpoint):
            proxy = self._proxies.of_template(config.endpoint, config.region)
            if proxy is not None:
                check_proxy(proxy)
        self._lanes = Lanes(limits or ConnectionLimits())
        self._own_lane = None if client is None else Lane(client, HTTP2_CHUNK_BYTES, True)
        self._http1_lanes = Lanes(ConnectionLimits(http2=1))
        self._refusal: TransportError | None = None
        self._under_way: set[asyncio.Timeout] = set()
        self._in_flight: set[Progress] = set()
        self._closed = False
        self._responded = False

    async def send(self, request: HttpRequest) -> HttpResponse:
        if self._closed:
            raise TransportError("the client is closed", url=request.url)
        proxy = self._proxy(request)
        if self._context is None and self._client is None:
            self._context = await in_thread(None, context_of, self._config)  # reads files
        try:
            async with asyncio.timeout(None) as until_closed:
                self._under_way.add(until_closed)
                try:
                    return await self._send(request, proxy)
                finally:
                    self._under_way.discard(until_closed)
        except (TransportError, TimeoutError) as error:
            if self._closed:
                raise TransportError("the client is closed", url=request.url) from error
            if not isinstance(error, TransportError) or isinstance(error, ConnectError | TransportTimeoutError):
                raise
            final = await self._refused_handshake(request) if proxy is None else ""
            if final:
                raise ConnectError(
                    f"cannot connect to {request.endpoint.where}: {final}", url=request.url, permanent=True
                ) from error
            raise

    async def _send(self, request: HttpRequest, proxy: Proxy | None) -> HttpResponse:
        own_way = self._client is None and self._pace is None and proxy is None
        if request.expect_continue and self._http1 and own_way:
            try:
                return await self._ask_first(request)
            except Http2ChosenError:
                pass  # the caller's context offers HTTP/2: send without waiting
        try:
            if self._own_lane is not None:
                return await self._send_over(self._own_lane, request)
            return await self._send_over_lanes(request, proxy)
        except _CutWhileSendingError as error:
            if self._client is not None or not _can_ask_again(request):
                raise error.unread(request) from error.__cause__
            return await self._ask_over_http1(request, proxy, error)

    def unacknowledged_bytes(self) -> int:
        return unacknowledged_bytes(self._in_flight)

    async def aclose(self) -> None:
        self._closed = True
        # httpcore forgets connections that are being made, and requests that wait for one would be sent over it.
        under_way, self._under_way = self._under_way, set()
        for until_closed in under_way:
            until_closed.reschedule(0)
        await self._lanes.aclose()
        await self._http1_lanes.aclose()

    async def _ask_first(self, request: HttpRequest) -> HttpResponse:
        """Send the body only after the server agrees, over a separate connection, because httpx cannot wait.

        With only HTTP/2 or through a proxy, the body is sent without waiting.
        """
        return await ContinueExchange(
            request=request,
            context=await self._context_for_http1(),
            user_agent=USER_AGENT,
            connect_timeout_seconds=self._config.connect_timeout_seconds,
            in_flight=self._in_flight,
        ).run()

    async def _refused_handshake(self, request: HttpRequest) -> str:
        """Return the server's TLS reason for closing connections without any response; empty if it gives none.

        In TLS 1.3, a server refuses a client certificate after the handshake. httpx is already writing then and loses
        the alert.
        """
        if self._responded or self._context is None or request.endpoint.scheme != "https":
            return ""
        self._responded = True  # ask only once
        try:
            async with asyncio.timeout(REFUSAL_SECONDS):
                stream = await connect(request.endpoint.host, request.endpoint.port)
                try:
                    await (await stream.secured(self._context, request.endpoint.host)).receive(1)
                finally:
                    await stream.aclose()
        except (OSError, TimeoutError) as error:
            return refusal(str(error))
        return ""

    def _proxy(self, request: HttpRequest) -> Proxy | None:
        """Return the proxy of the environment for this request. A client of the caller has its own."""
        if self._client is not None:
            return None
        endpoint = request.endpoint
        return self._proxies.of(endpoint.scheme, endpoint.host, endpoint.port)

    async def _send_over_lanes(self, request: HttpRequest, proxy: Proxy | None) -> HttpResponse:
        """Send the request. If a connection is refused while others work, wait for one of those."""
        refused: Lane | None = None
        while True:
            lane, refused = await self._lane(request, proxy, refused), None
            try:
                return await self._send_over(lane, request, self._lanes)
            except ConnectError as error:  # nothing was sent
                if not error.retryable or not self._lanes.refuse(lane):
                    raise
                self._refusal, refused = error, lane
            finally:
                await self._lanes.release(lane, refused=refused is not None)

    async def _lane(self, request: HttpRequest, proxy: Proxy | None, refused: Lane | None) -> Lane:
        """Return a lane for the request. ``refused`` is one that has just refused it, and may only after a wait."""
        if proxy is not None and proxy.scheme == "https":
            await self._context_for_http1()
        make = partial(self._new_lane, proxy, http1=self._http1, http2=self._http2)
        outages = self._lanes.outages
        while (lane := self._lanes.pick(proxy, make, avoid=refused)) is None:
            if self._closed:
                raise TransportError("the client is closed", url=request.url)
            sent = self._sent_bytes()
            refused = None
            try:
                async with asyncio.timeout(request.stall_timeout_seconds):
                    await self._lanes.freed()
            except TimeoutError:
                # The body of another request may itself wait for this one.
                stuck = sent == self._sent_bytes()
            else:
                stuck = outages != self._lanes.outages
            if stuck and self._refusal is not None:
                raise copy_of(self._refusal, request.url)
        return lane

    def _sent_bytes(self) -> int:
        return sum(progress.body_bytes for progress in self._in_flight)

    async def _context_for_http1(self) -> ssl.SSLContext:
        """Return a context that does not offer HTTP/2. httpcore makes that of the lanes offer it."""
        if not self._http2:
            assert self._context is not None
            return self._context
        if self._http1_context is None:
            self._http1_context = await in_thread(None, context_of, self._config)  # reads files
        return self._http1_context

    def _new_lane(self, proxy: Proxy | None, *, http1: bool, http2: bool) -> Lane:
        context = self._context if http2 == self._http2 else self._http1_context
        assert context is not None
        transport = httpx.AsyncHTTPTransport(
            http1=http1,
            http2=http2,
            verify=context,
            # This transport decides which requests use a proxy, not httpx.
            proxy=None if proxy is None else self._client_proxy(proxy),
            trust_env=False,
            # The limiter bounds the requests of HTTP/1.1, and the lanes the connections of HTTP/2.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=IDLE_SECONDS),
        )
        use_own_network(transport)
        client = httpx.AsyncClient(
            transport=transport,
            trust_env=False,
            headers={"user-agent": USER_AGENT, "accept-encoding": "identity"},
        )
        return Lane(client, HTTP2_CHUNK_BYTES if http2 else HTTP1_CHUNK_BYTES, http2, proxy)

    def _client_proxy(self, proxy: Proxy) -> httpx.Proxy:
        check_proxy(proxy)
        if proxy.scheme != "https":
            return client_proxy(proxy, None)
        # Check the proxy's certificate like a server's.
        return client_proxy(proxy, self._http1_context if self._http2 else self._context)

    async def _ask_over_http1(
        self, request: HttpRequest, proxy: Proxy | None, error: _CutWhileSendingError
    ) -> HttpResponse:
        """Send the request once more over HTTP/1.1.

        A server that refuses a request before its body has arrived may send a response and reset the stream. Over
        HTTP/2, httpx then reports a protocol error and loses the response. Over HTTP/1.1 it can read it.
        """
        await self._context_for_http1()
        lane = self._http1_lanes.pick(proxy, partial(self._new_lane, proxy, http1=True, http2=False))
        assert lane is not None
        try:
            return await self._send_over(lane, request)
        except CosxferError as second:
            if isinstance(second, TransportError | _CutWhileSendingError):
                raise error.unread(request) from error.__cause__
            raise
        finally:
            await self._http1_lanes.release(lane)

    async def _send_over(self, lane: Lane, request: HttpRequest, lanes: Lanes | None = None) -> HttpResponse:
        progress = Progress(request.stall_timeout_seconds)
        body = _BodyStream(request, lane.chunk_bytes, self._pace, progress)
        self._in_flight.add(progress)
        lane.in_flight.add(progress)
        try:
            response = await progress.watch(self._exchange(lane, request, body, progress))
            if response.status == AUTHENTICATION_REQUIRED and lane.proxy is not None:
                # From the proxy, which did not forward the request.
                raise refused(lane.proxy, request, f"{response.status} Proxy Authentication Required")
            self._responded = True
            if lanes is not None:
                lanes.prove(lane)
            if response.http_version == "HTTP/1.1":
                # A server that does not negotiate HTTP/2 once will not do so later.
                lane.chunk_bytes = HTTP1_CHUNK_BYTES
                lane.http2 = False
            return response
        except Exception as error:
            body.take_back()
            if body.error is not None:
                # httpcore has removed its cause.
                raise body.error from body.cause
            if isinstance(error, CosxferError):
                raise
            if lanes is not None and progress.is_fresh and _is_disconnect(error):
                # A server that accepts too many connections may end new ones before any response.
                lanes.refuse(lane)
            # Also errors that httpx passes through from other libraries.
            raise _translated(error, request, self._config, lane, silent=progress.expired) from error
        finally:
            self._in_flight.discard(progress)
            lane.in_flight.discard(progress)
            if lanes is not None and progress.expired and lane.http2:
                # Otherwise httpcore would send the next request over the same connection.
                lanes.retire(lane)

    async def _exchange(self, lane: Lane, request: HttpRequest, body: _BodyStream, progress: Progress) -> HttpResponse:
        # A single read or write may take long if there is progress. A client of the caller does not show acknowledged
        # bytes, so there the timeout applies to each read and write.
        stall = None if self._client is None else request.stall_timeout_seconds
        url = _Url(request)
        outgoing = lane.client.build_request(
            request.method,
            url,
            headers=[(name.encode(), value.encode()) for name, value in request.headers.items()],
            content=body if request.content_length != 0 else None,
            timeout=httpx.Timeout(stall, connect=self._config.connect_timeout_seconds, pool=None),
        )
        outgoing.url = url  # httpx has replaced it by a plain URL
        response = await self._start_response(lane, request, outgoing, progress)
        try:
            collected = await read_body(response, request, progress, self._pace)
        finally:
            await response.aclose()
        return HttpResponse(
            status=response.status_code,
            headers=decode_headers(response.headers.raw),
            body=collected,
            http_version=response.http_version,
        )

    async def _start_response(
        self, lane: Lane, request: HttpRequest, outgoing: httpx.Request, progress: Progress
    ) -> httpx.Response:
        """Send the request and return when the response head has arrived."""
        sending = lane.client.send(outgoing, stream=True)
        if lane.proxy is None or not Passage.is_watched(lane.proxy):
            outgoing.extensions["trace"] = _traced(progress, _Handshake().trace)
            return await sending
        passage = Passage(request, lane.proxy, timeout_seconds=self._config.connect_timeout_seconds)
        outgoing.extensions["trace"] = _traced(progress, passage.trace)
        return await passage.watch(sending)


_Trace = Callable[[str, Mapping[str, Any]], Awaitable[None]]


def _traced(progress: Progress, watcher: _Trace) -> _Trace:
    async def trace(event: str, info: Mapping[str, Any]) -> None:
        progress.follow(event)
        await watcher(event, info)

    return trace


class _CutWhileSendingError(CosxferError):
    """Over HTTP/2, the stream or the connection ended while the body was sent."""

    def __init__(self, message: str, *, broken: bool = False) -> None:
        super().__init__(message)
        self._broken = broken

    def unread(self, request: HttpRequest) -> TransportError:
        """Return the error for the caller if no response can be read."""
        return (TransportError if self._broken else ProtocolError)(str(self), url=request.url)


class _Handshake:
    """Closes a connection whose TLS handshake is cancelled. httpcore closes it only after errors.

    httpcore's extension "trace" reports the events.
    """

    def __init__(self) -> None:
        self._stream: httpcore.AsyncNetworkStream | None = None

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._stream = info["return_value"]
        elif event == "connection.start_tls.failed" and self._stream is not None:
            await self._stream.aclose()


class _Url(httpx.URL):
    """The URL of a request with the path as it was signed. httpx would simplify "a/../b", which is a valid key. (The
    extension "target" of httpx would keep the path, but httpx then sends it to a proxy instead of the host.)"""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(scheme=request.endpoint.scheme, host=request.endpoint.host, port=request.endpoint.port)
        self._target = request.target.encode()

    @property
    def raw_host(self) -> bytes:
        host = super().raw_host
        return HostOfUrl(b"[%b]" % host) if b":" in host else host

    @property
    def raw_path(self) -> bytes:
        return self._target


class _BodyStream(httpx.AsyncByteStream):
    """Yields the body in chunks for httpcore and counts them."""

    def __init__(self, request: HttpRequest, chunk_bytes: int, pace: Pace | None, progress: Progress) -> None:
        self._pace = pace
        self._progress = progress
        self._body: Body = request.body
        self._chunk_bytes = chunk_bytes
        self._on_sent = request.on_sent
        self._sent = 0
        self.error: Exception | None = None
        """The error that the body itself raised. It is not an error of the network."""
        self.cause: BaseException | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for view in self._views():
            for start in range(0, len(view), self._chunk_bytes):
                chunk = view[start : start + self._chunk_bytes]
                if self._pace is not None:
                    with self._progress.waits_for_us():
                        await self._pace.wait(len(chunk))
                # httpcore accepts any buffer, although its annotation says bytes.
                yield cast(bytes, chunk)
                self._sent += len(chunk)
                self._progress.sent(len(chunk))
                if self._on_sent is not None:
                    self._on_sent(len(chunk))

    async def _views(self) -> AsyncIterator[memoryview]:
        try:
            pieces = body_views(self._body)
            while True:
                with self._progress.waits_for_us():
                    view = await anext(pieces, None)
                if view is None:
                    return
                yield view
        except Exception as error:
            self.error, self.cause = error, error.__cause__
            raise

    def take_back(self) -> None:
        """Report to ``on_sent`` that the sent bytes must be sent again."""
        if self._on_sent is not None and self._sent:
            self._on_sent(-self._sent)
        self._sent = 0


def _is_disconnect(error: Exception) -> bool:
    broke = isinstance(error, httpx.ReadError | httpx.WriteError)
    return broke or (isinstance(error, httpx.RemoteProtocolError) and "disconnected" in str(error))


def _can_ask_again(request: HttpRequest) -> bool:
    return request.method == "PUT" and can_be_sent_again(request.body)


def _translated(
    error: Exception, request: HttpRequest, config: ClientConfig, lane: Lane, *, silent: bool
) -> CosxferError:
    url = request.url
    proxy = lane.proxy
    through = f" through {named(proxy)}" if proxy else ""
    cannot = f"cannot connect to {request.endpoint.where}{through}"
    without_tls = no_tls_message(request.endpoint.where, through=through)
    if isinstance(error, TlsToProxyError) and proxy and isinstance(error.__cause__, Exception):
        cannot, error = f"cannot connect to {named(proxy)}", error.__cause__
        without_tls = f"{cannot}: it does not speak TLS. Is it {proxy.name}=http://{proxy.where}, without the s?"
    reason = _reason(error)
    if any(no_tls(cause) for cause in _causes(error)):
        return ConnectError(without_tls, url=url, permanent=True)
    final = refusal(reason)
    if final:
        return ConnectError(f"{cannot}: {final}", url=url, permanent=True)
    if isinstance(error, httpx.ConnectTimeout):
        return ConnectError(f"{cannot}: no response in {config.connect_timeout_seconds:g} s", url=url)
    if isinstance(error, httpx.ProxyError) and proxy:
        return refused(proxy, request, str(error))
    if isinstance(error, httpx.ConnectError | httpx.ProxyError | httpx.UnsupportedProtocol):
        untrusted = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLCertVerificationError)), None)
        if untrusted is not None:
            return ConnectError(f"{cannot}: {not_trusted(untrusted)}", url=url, permanent=True)
        return ConnectError(f"{cannot}: {reason}", url=url)
    if silent or isinstance(error, httpx.TimeoutException):
        return TransportTimeoutError(
            f"{request.method} {url}{through}: the server was silent for {request.stall_timeout_seconds:g} s", url=url
        )
    message = f"{request.method} {url}{through}: the connection broke: {reason}"
    if isinstance(error, httpx.LocalProtocolError) or "StreamReset" in repr(error):
        return _CutWhileSendingError(message)
    if isinstance(error, httpx.WriteError) and lane.http2:
        return _CutWhileSendingError(message, broken=True)
    if isinstance(error, httpx.ProtocolError):
        return ProtocolError(message, url=url)
    return TransportError(message, url=url)


def _reason(error: BaseException) -> str:
    """Return the system's reason, which httpx and its libraries wrap several times."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError | socket.gaierror) and cause.strerror:
            return cause.strerror
        if isinstance(cause, OSError) and cause.errno:
            # asyncio replaces the system's reason by the address.
            return os.strerror(cause.errno)
    return str(error) or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    # Bounded, because a chain of causes may be circular.
    for _ in range(16):
        if cause is None:
            return
        yield cause
        # A group has one error per address of the host. Use the first.
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__ or cause.__context__
