"""The one place that chooses between the transports.

``"native"`` is our own data path, which knows no proxies; ``"httpx"`` the portable one, which goes through them.
``"auto"`` is native, but httpx where that is not built or the environment names a proxy for the endpoint. Whoever asks
for ``"native"`` gets it, past any proxy. A caller's own ``httpx.AsyncClient`` is used as it is, and left open.
"""

from __future__ import annotations

import importlib.util
import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeGuard, cast

from cosxfer.arguments import wrong_type
from cosxfer.config import ClientConfig
from cosxfer.errors import UsageError
from cosxfer.transport.base import Transport
from cosxfer.transport.proxies import proxy_for_template

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
        proxy = proxy_for_template(config.endpoint, config.region)
        if proxy:
            _say_once(f"the native transport is asked for, and goes past the proxy that {proxy.name} names")
        return _native(config)
    if choice == "auto":
        why = _why_not_native(config)
        if not why:
            return _native(config)
        _say_once(f"using httpx: {why}")
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


def _native(config: ClientConfig) -> Transport:
    from cosxfer.transport.native import NativeTransport

    return NativeTransport(config)


def _why_not_native(config: ClientConfig) -> str:
    if not is_built():
        return "the native transport is not built"
    proxy = proxy_for_template(config.endpoint, config.region)
    return f"{proxy.name} names a proxy" if proxy else ""


@lru_cache(maxsize=16)
def _say_once(what: str) -> None:
    _log.info("%s", what)
