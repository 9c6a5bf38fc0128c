"""The one place that chooses between the transports.

``"native"`` is our own data path, which knows no proxies; ``"httpx"`` the portable one, which goes through them.
``"auto"`` is native, but httpx where that is not built, and for each host that the environment names a proxy for.
Whoever asks for ``"native"`` gets it, past any proxy. A caller's own ``httpx.AsyncClient`` is used as it is, and left
open.
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
from cosxfer.transport.base import Transport
from cosxfer.transport.proxies import Proxies


class HttpxClient(Protocol):
    """What we call of an ``httpx.AsyncClient``. A protocol, so that the annotation does not import httpx."""

    def build_request(self, method: str, url: Any, /, **options: Any) -> Any: ...

    async def send(self, request: Any, /, *, stream: bool = False) -> Any: ...


TransportChoice: TypeAlias = Literal["auto", "native", "httpx"] | Transport | HttpxClient

if TYPE_CHECKING:
    import httpx

    from cosxfer.transport.native import NativeTransport

_log = clean_logger("cosxfer")
_CLIENT = ("httpx.AsyncClient", "httpx._client.AsyncClient")


def choose_transport(choice: TransportChoice, config: ClientConfig) -> Transport:
    """The transport that ``choice`` stands for; one that was made by the caller is returned as it is.

    Raises `UsageError` for ``"native"`` where it is not built, or another word.
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
                "the native transport is not built: it needs libnghttp2 (libnghttp2-dev) when cosxfer is installed",
                name="transport",
                value=choice,
            )
        proxy = Proxies().of_template(config.endpoint, config.region)
        if proxy:
            _say_once(f"the native transport is asked for, and goes past the proxy that {proxy.name} names")
        return _native(config)
    if choice == "auto":
        return _automatic(config)
    if choice != "httpx":
        raise UsageError(
            f'transport is {choice!r}; it can be "auto", "native" or "httpx", or a transport',
            name="transport",
            value=choice,
        )
    return _around(None, config)


class ByOrigin:
    """Natively where the way is direct, over httpx where it is through a proxy: decided for each origin, once.

    For clients whose hosts ``NO_PROXY`` may divide.
    """

    def __init__(self, config: ClientConfig, proxies: Proxies) -> None:
        self._config = config
        self._proxies = proxies
        self._native = _native(config)
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
                _say_once(f"going past the proxy that {named.name} names, natively, for hosts that NO_PROXY names")
            way = self._native
        else:
            _say_once(_over_httpx(f"{proxy.name} names a proxy"))
            if self._httpx is None:
                self._httpx = _around(None, self._config, self._proxies)
            way = self._httpx
        self._ways[origin] = way
        return way

    async def aclose(self) -> None:
        self._closed = True
        try:
            await self._native.aclose()
        finally:
            if self._httpx is not None:
                await self._httpx.aclose()

    def abandon(self) -> None:
        """Let go of everything at once: httpx's connections go with it, the native ones have to be told."""
        self._closed = True
        self._native.abandon()


def _is_httpx_client(choice: object) -> TypeGuard[httpx.AsyncClient]:
    # By name, as httpx is not imported where nobody uses it; whoever passes a client has imported it.
    return any(f"{kind.__module__}.{kind.__name__}" in _CLIENT for kind in type(choice).__mro__)


def _around(client: httpx.AsyncClient | None, config: ClientConfig, proxies: Proxies | None = None) -> Transport:
    # Imported here: httpx is most of the start-up time of a program that does not need it.
    from cosxfer.transport.httpx import HttpxTransport

    return HttpxTransport(config, client=client, proxies=proxies)


def is_built() -> bool:
    """Whether the native transport is there."""
    return importlib.util.find_spec("cosxfer._native.wire") is not None


def _native(config: ClientConfig) -> NativeTransport:
    from cosxfer.transport.native import NativeTransport

    return NativeTransport(config)


def _automatic(config: ClientConfig) -> Transport:
    proxies = Proxies()
    proxy = proxies.of_template(config.endpoint, config.region)
    if not is_built():
        why = "the native transport is not built"
    elif proxies.same_for_all(config.endpoint):
        if proxy is None:
            return _native(config)
        why = f"{proxy.name} names a proxy"
    elif config.max_bytes_per_second is None:
        return ByOrigin(config, proxies)
    else:
        why = "one limit (max_bytes_per_second) holds for what goes through a proxy and for what NO_PROXY names"
    _say_once(_over_httpx(why))
    return _around(None, config, proxies)


def _over_httpx(why: str) -> str:
    return f"using httpx: {why}"


@lru_cache(maxsize=16)
def _say_once(what: str) -> None:
    _log.info("%s", what)
