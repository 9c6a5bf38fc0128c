"""The one place that chooses between the transports.

``"native"`` is our own data path; ``"httpx"`` the portable one, which goes through proxies. ``"auto"`` is native, but
httpx where that is not built or the environment names a proxy for the endpoint. A caller's own ``httpx.AsyncClient`` is
used as it is, and left open.
"""

from __future__ import annotations

import importlib.util
import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeGuard, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from cosxfer.arguments import wrong_type
from cosxfer.config import ClientConfig
from cosxfer.errors import UsageError
from cosxfer.transport.base import Transport

TransportChoice: TypeAlias = "Literal['auto', 'native', 'httpx'] | Transport | httpx.AsyncClient"

if TYPE_CHECKING:
    import httpx

_log = logging.getLogger("cosxfer")
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
        return _native(config)
    if choice == "auto":
        why = _why_not_native(config)
        if not why:
            return _native(config)
        _say_once(why)
    elif choice != "httpx":
        raise UsageError(
            f'transport is {choice!r}; it can be "auto", "native" or "httpx", or a transport',
            name="transport",
            value=choice,
        )
    return _around(None, config)


def _is_httpx_client(choice: object) -> TypeGuard[httpx.AsyncClient]:
    # By name, as httpx is not imported where nobody uses it; whoever passes a client has imported it.
    return any(f"{kind.__module__}.{kind.__name__}" in _CLIENT for kind in type(choice).__mro__)


def _around(client: httpx.AsyncClient | None, config: ClientConfig) -> Transport:
    # Imported here: httpx is most of the start-up time of a program that does not need it.
    from cosxfer.transport.httpx import HttpxTransport

    return HttpxTransport(config, client=client)


def is_built() -> bool:
    """Whether the native transport is there."""
    return importlib.util.find_spec("cosxfer._native.wire") is not None


def proxy_for(config: ClientConfig) -> str | None:
    """The name of the environment's proxy for the client's endpoint (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY)."""
    filled = config.endpoint.replace("{bucket}", "bucket").replace("{region}", config.region or "region")
    address = urlsplit(filled if "://" in filled else f"https://{filled}")
    proxies = getproxies()
    if not proxies or not address.hostname or proxy_bypass(address.hostname):
        return None
    return next((f"{name.upper()}_PROXY" for name in (address.scheme, "all") if proxies.get(name)), None)


def _native(config: ClientConfig) -> Transport:
    from cosxfer.transport.native import NativeTransport

    return NativeTransport(config)


def _why_not_native(config: ClientConfig) -> str:
    if not is_built():
        return "the native transport is not built"
    proxy = proxy_for(config)
    return f"{proxy} names a proxy" if proxy else ""


@lru_cache(maxsize=16)
def _say_once(why: str) -> None:
    _log.info("using httpx: %s", why)
