"""Chooses the transport. No other module does.

``"native"`` is the native transport, which ignores proxies. ``"httpx"`` is the portable one, which supports them.
``"auto"`` is native if that is built, but httpx for each host with a proxy in the environment. A caller's own
``httpx.AsyncClient`` is used unchanged and not closed.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeGuard, cast

from cosxfer.arguments import wrong_type
from cosxfer.config import ClientConfig
from cosxfer.cos.endpoint import Endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import TransportError, UsageError
from cosxfer.foreign import clean_logger
from cosxfer.transport.base import Transport, unacknowledged_bytes
from cosxfer.transport.native_pool import ConnectionLimits
from cosxfer.transport.proxies import Proxies


class HttpxClient(Protocol):
    """The part of an ``httpx.AsyncClient`` that is used. As a protocol, the annotation does not import httpx."""

    def build_request(self, method: str, url: Any, /, **options: Any) -> Any: ...

    async def send(self, request: Any, /, *, stream: bool = False) -> Any: ...


TransportChoice: TypeAlias = Literal["auto", "native", "httpx"] | Transport | HttpxClient

if TYPE_CHECKING:
    import httpx

    from cosxfer.transport.native import NativeTransport

_log = clean_logger("cosxfer")
_CLIENT = ("httpx.AsyncClient", "httpx._client.AsyncClient")


def choose_transport(
    choice: TransportChoice, config: ClientConfig, limits: ConnectionLimits | None = None
) -> Transport:
    """Return the transport for ``choice``. A transport of the caller is returned unchanged.

    Raises `UsageError` for ``"native"`` if it is not built, and for an unknown name.
    """
    if not isinstance(choice, str):
        if _is_httpx_client(choice):
            return _around(choice, config)
        if isinstance(choice, type) or not callable(getattr(choice, "send", None)):
            raise wrong_type("transport", choice, '"auto", "native" or "httpx", a transport, or an httpx.AsyncClient')
        return cast(Transport, choice)
    if choice == "native":
        if not is_built():
            raise UsageError(
                "the native transport is not built; install libnghttp2 (libnghttp2-dev), then install cosxfer again",
                name="transport",
                value=choice,
            )
        proxy = Proxies().of_template(config.endpoint, config.region)
        if proxy:
            _say_once(f"the native transport was requested; it ignores the proxy in {proxy.name}")
        return _native(config, limits)
    if choice == "auto":
        return _automatic(config, limits)
    if choice != "httpx":
        raise UsageError(
            f'transport is {choice!r}; it can be "auto", "native" or "httpx", or a transport',
            name="transport",
            value=choice,
        )
    return _around(None, config, limits=limits)


class ByOrigin:
    """Uses the native transport for direct connections and httpx through a proxy. Decides once per origin.

    For clients that have some hosts in ``NO_PROXY`` and others not.
    """

    def __init__(self, config: ClientConfig, proxies: Proxies, limits: ConnectionLimits | None) -> None:
        self._config = config
        self._proxies = proxies
        self._limits = limits
        self._native = _native(config, limits)
        self._httpx: Transport | None = None
        self._ways: dict[tuple[str, str, int], Transport] = {}
        self._closed = False

    async def send(self, request: HttpRequest) -> HttpResponse:
        endpoint = request.endpoint
        way = self._ways.get((endpoint.scheme, endpoint.host, endpoint.port))
        if way is None:
            if self._closed:
                raise TransportError("the client is closed", url=request.url)
            way = self._decide(endpoint)
        return await way.send(request)

    def _decide(self, endpoint: Endpoint) -> Transport:
        origin = (endpoint.scheme, endpoint.host, endpoint.port)
        proxy = self._proxies.of(*origin)
        way: Transport
        if proxy is None:
            named = self._proxies.of_scheme(endpoint.scheme)
            if named is not None:
                _say_once(f"using the native transport, not the proxy in {named.name}, for hosts in NO_PROXY")
            way = self._native
        else:
            _say_once(_over_httpx(f"{proxy.name} names a proxy"))
            if self._httpx is None:
                self._httpx = _around(None, self._config, self._proxies, self._limits)
            way = self._httpx
        self._ways[origin] = way
        return way

    def unacknowledged_bytes(self) -> int:
        return self._native.unacknowledged_bytes() + (0 if self._httpx is None else unacknowledged_bytes(self._httpx))

    def io_thread_seconds(self) -> list[float]:
        return self._native.io_thread_seconds()

    def round_trip_seconds(self) -> float:
        return self._native.round_trip_seconds()

    async def aclose(self) -> None:
        self._closed = True
        try:
            await self._native.aclose()
        finally:
            if self._httpx is not None:
                await self._httpx.aclose()

    def abandon(self) -> None:
        """Drop everything at once. httpx's connections end with it; the native ones must be dropped explicitly."""
        self._closed = True
        self._native.abandon()


def _is_httpx_client(choice: object) -> TypeGuard[httpx.AsyncClient]:
    # By name, so that this does not import httpx. A caller that passes a client has imported it.
    return any(f"{kind.__module__}.{kind.__name__}" in _CLIENT for kind in type(choice).__mro__)


def _around(
    client: httpx.AsyncClient | None,
    config: ClientConfig,
    proxies: Proxies | None = None,
    limits: ConnectionLimits | None = None,
) -> Transport:
    # Imported here, because httpx would dominate the start-up time of a program that does not need it.
    from cosxfer.transport.httpx import HttpxTransport

    return HttpxTransport(config, client=client, proxies=proxies, limits=limits)


def is_built() -> bool:
    """Whether the native transport is built."""
    return importlib.util.find_spec("cosxfer._native.wire") is not None


def _native(config: ClientConfig, limits: ConnectionLimits | None) -> NativeTransport:
    from cosxfer.transport.native import NativeTransport

    return NativeTransport(config, limits)


def _automatic(config: ClientConfig, limits: ConnectionLimits | None) -> Transport:
    proxies = Proxies()
    proxy = proxies.of_template(config.endpoint, config.region)
    if not is_built():
        why = "the native transport is not built"
    elif proxies.same_for_all(config.endpoint):
        if proxy is None:
            return _native(config, limits)
        why = f"{proxy.name} names a proxy"
    elif config.max_bytes_per_second is None:
        return ByOrigin(config, proxies, limits)
    else:
        why = "max_bytes_per_second limits requests through the proxy and to hosts in NO_PROXY together"
    _say_once(_over_httpx(why))
    return _around(None, config, proxies, limits)


def _over_httpx(why: str) -> str:
    return f"using httpx: {why}"


@lru_cache(maxsize=16)
def _say_once(what: str) -> None:
    _log.info("%s", what)
