"""Proxy support for `cosxfer.transport.httpx`: checks proxies and explains their failures.

httpcore supports HTTP proxies (``CONNECT``, or requests with an absolute URL), also over TLS, and SOCKS5 proxies with
``socksio``. This module closes its gaps. The SOCKS handshake has no timeout, leaks its connection if it fails, and
logs the password. Errors do not say whether the TLS of the proxy or of the server failed. IPv6 addresses lose their
brackets.
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
_Response = TypeVar("_Response")


class TlsToProxyError(Exception):
    """The TLS handshake with the proxy failed. The reason is ``__cause__``."""


def check_proxy(proxy: Proxy) -> None:
    """Raise `UsageError` for an unusable proxy. It does not show the variable's value, which may have a password."""
    try:
        httpx.URL(proxy.url)
        usable = proxy.scheme in ("http", "https", "socks5", "socks5h")
    except (httpx.InvalidURL, ValueError):
        usable = False
    if not usable:
        raise UsageError(
            f"{proxy.name} cannot be used: write it as http://host:port (or https://, socks5://, socks5h://)",
            name=proxy.name,
        ) from None
    if proxy.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise UsageError(
            f"{proxy.name} names a SOCKS proxy, which needs the package socksio: pip install 'cosxfer[socks]'",
            name=proxy.name,
        )


def client_proxy(proxy: Proxy, context: ssl.SSLContext | None) -> httpx.Proxy:
    """Return ``proxy`` for httpx. ``context`` is for TLS to the proxy itself."""
    return _Proxy(proxy.url, ssl_context=context)


class _Proxy(httpx.Proxy):
    @property
    def raw_auth(self) -> tuple[bytes, bytes] | None:
        auth = super().raw_auth
        return None if auth is None else (_Secret(auth[0]), _Secret(auth[1]))


class _Secret(bytes):
    """Bytes with a hidden repr, because httpcore logs the credentials for SOCKS."""

    def __repr__(self) -> str:
        return "(not shown)"


class HostOfUrl(bytes):
    """An IPv6 host for httpcore: with brackets in an address, without them when it is decoded.

    httpcore decodes it to connect and to check the certificate.
    """

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, errors).strip("[]")


def named(proxy: Proxy) -> str:
    """Return the proxy's name for messages."""
    return f"the proxy {proxy.where} ({proxy.name})"


def refused(proxy: Proxy, request: HttpRequest, said: str) -> ConnectError:
    """Return the error for a proxy that refuses. ``said`` begins with an HTTP status, or is httpcore's SOCKS text."""
    status = said[:3]
    no_entry = status == str(AUTHENTICATION_REQUIRED) or any(text in said for text in _NO_ENTRY)
    not_allowed = status == "403" or _NOT_ALLOWED in said
    advice = ""
    if said.startswith("Requested USERNAME"):
        advice = f". It accepts no user and password: {proxy.name}={proxy.scheme}://host:port"
    elif no_entry:
        advice = f". Check the user and the password: {proxy.name}={proxy.scheme}://user:password@host:port"
    elif not_allowed:
        advice = f". To connect without the proxy, add the host to NO_PROXY: {request.endpoint.host}"
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
    """Watches one request through a proxy with TLS or SOCKS, by httpcore's extension "trace"."""

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

    async def watch(self, sending: Awaitable[_Response]) -> _Response:
        """Await ``sending``, whose extension "trace" is `trace`."""
        try:
            async with self._limit:
                return await sending
        except Exception as error:
            cannot = f"cannot connect to {self._request.endpoint.where} through {named(self._proxy)}"
            if self._limit.expired():
                raise ConnectError(
                    f"{cannot}: no response in {self._timeout_seconds:g} s", url=self._request.url
                ) from error
            if self._stage == _TLS_TO_PROXY and not isinstance(error, httpx.TimeoutException):
                raise TlsToProxyError from error
            if self._stage == _SOCKS and not isinstance(error, httpx.ProxyError):
                # A reset, an assertion of httpcore, or a protocol error of socksio.
                raise ConnectError(
                    f"{cannot}: it closed the connection, or its response is not SOCKS5", url=self._request.url
                ) from error
            raise

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Handle an event of httpcore."""
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
