"""What `cosxfer.transport.httpx` has to know of proxies: which can be used, and how each fails.

httpcore speaks to HTTP proxies (``CONNECT``, or requests with an absolute address), over TLS too, and with ``socksio``
to SOCKS5 ones. What it leaves open is closed here: its SOCKS handshake has no time-out, leaves its connection behind
where it fails, and is logged with the password; its errors do not say whether the proxy's TLS failed or the server's;
and it forgets the brackets of an IPv6 address.
"""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import httpcore
import httpx

from cosxfer.cos.requests import HttpRequest
from cosxfer.errors import ConnectError, UsageError
from cosxfer.transport.proxies import Proxy

AUTHENTICATION_REQUIRED = 407

_TLS_TO_PROXY = "connection.start_tls"
_SOCKS = "socks.setup_socks5_connection"
_NOT_ALLOWED = "Connection not allowed by ruleset"
_NOT_THIS_WAY = ("Command not supported", "Address type not supported")
_NO_ENTRY = ("from proxy server, but got", "Invalid username/password")
_Answer = TypeVar("_Answer")


class TlsToProxyError(Exception):
    """The handshake with the proxy itself failed, for the reason that is its ``__cause__``."""


def check_proxy(proxy: Proxy) -> None:
    """Raise a `UsageError` for a proxy that cannot be used. What the variable holds, a password maybe, is not shown."""
    try:
        httpx.URL(proxy.url)
        usable = proxy.scheme in ("http", "https", "socks5", "socks5h")
    except (httpx.InvalidURL, ValueError):
        usable = False
    if not usable:
        raise UsageError(
            f"{proxy.name} cannot be used: it should be like http://host:port (or https://, socks5://, socks5h://)",
            name=proxy.name,
        ) from None
    if proxy.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise UsageError(
            f"{proxy.name} names a SOCKS proxy, which needs the package socksio: pip install 'cosxfer[socks]'",
            name=proxy.name,
        )


def client_proxy(proxy: Proxy, context: ssl.SSLContext | None) -> httpx.Proxy:
    """``proxy`` as httpx takes it; ``context`` is for TLS to the proxy itself."""
    return _Proxy(proxy.url, ssl_context=context)


class _Proxy(httpx.Proxy):
    @property
    def raw_auth(self) -> tuple[bytes, bytes] | None:
        auth = super().raw_auth
        return None if auth is None else (_Secret(auth[0]), _Secret(auth[1]))


class _Secret(bytes):
    """httpcore logs what it hands to SOCKS."""

    def __repr__(self) -> str:
        return "(not shown)"


class HostOfUrl(bytes):
    """A host for httpcore: in brackets (of IPv6) where it becomes part of an address, without where it is decoded.

    It is decoded to connect to, and to be compared with the certificate.
    """

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, errors).strip("[]")


def named(proxy: Proxy) -> str:
    """How messages name it."""
    return f"the proxy {proxy.where} ({proxy.name})"


def refused(proxy: Proxy, request: HttpRequest, said: str) -> ConnectError:
    """The proxy answered, and lets nothing through. ``said`` begins with an HTTP status, or is httpcore's for SOCKS."""
    status = said[:3]
    no_entry = status == str(AUTHENTICATION_REQUIRED) or any(text in said for text in _NO_ENTRY)
    not_allowed = status == "403" or _NOT_ALLOWED in said
    advice = ""
    if said.startswith("Requested USERNAME"):
        advice = f". It takes no user and password: {proxy.name}={proxy.scheme}://host:port"
    elif no_entry:
        advice = f". It wants a user and a password, or others: {proxy.name}={proxy.scheme}://user:password@host:port"
    elif not_allowed:
        advice = f". Where the way is open without it, name the host in NO_PROXY: {request.endpoint.host}"
    did = said.removeprefix("Proxy Server ") if said.startswith("Proxy Server ") else f"refused: {said}"
    return ConnectError(
        f"cannot connect to {request.endpoint.where}: {named(proxy)} {did.rstrip('.')}{advice}",
        url=request.url,
        permanent=no_entry
        or not_allowed
        or any(text in said for text in _NOT_THIS_WAY)
        or (status.isascii() and status.isdigit() and status.startswith("4") and status not in ("408", "429")),
    )


class Passage:
    """One request's way through a proxy to which there is TLS or SOCKS: watched by httpcore's extension "trace"."""

    def __init__(self, request: HttpRequest, proxy: Proxy, *, timeout_seconds: float) -> None:
        self._request = request
        self._proxy = proxy
        self._timeout_seconds = timeout_seconds
        self._limit = asyncio.timeout(None)
        self._stage = ""
        self._stream: httpcore.AsyncNetworkStream | None = None

    @staticmethod
    def is_watched(proxy: Proxy) -> bool:
        return proxy.scheme != "http"

    async def watch(self, sending: Awaitable[_Answer]) -> _Answer:
        """Await ``sending``, whose extension "trace" is `trace`."""
        try:
            async with self._limit:
                return await sending
        except Exception as error:
            cannot = f"cannot connect to {self._request.endpoint.where} through {named(self._proxy)}"
            if self._limit.expired():
                raise ConnectError(
                    f"{cannot}: no answer in {self._timeout_seconds:g} s", url=self._request.url
                ) from error
            if self._stage == _TLS_TO_PROXY and not isinstance(error, httpx.TimeoutException):
                raise TlsToProxyError from error
            if self._stage == _SOCKS and not isinstance(error, httpx.ProxyError):
                # A reset, an assertion of httpcore's, or socksio's protocol error.
                raise ConnectError(
                    f"{cannot}: it closed the connection, or what it answers is not SOCKS5", url=self._request.url
                ) from error
            raise

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """What httpcore is about to do, or has done."""
        stage, _, state = event.rpartition(".")
        if stage not in (_TLS_TO_PROXY, _SOCKS):
            return
        self._stage = "" if state == "complete" else stage
        if stage != _SOCKS:
            return
        if state == "started":
            self._stream = info["stream"]
            self._limit.reschedule(asyncio.get_running_loop().time() + self._timeout_seconds)
            return
        stream, self._stream = self._stream, None
        if not self._limit.expired():
            self._limit.reschedule(None)
        if state == "failed" and stream is not None:
            await stream.aclose()
