"""The proxies of the environment: ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, but not for what ``NO_PROXY`` names.

They are read as `urllib.request` reads them, in either case. One place decides for all transports, so that none asks a
proxy that another would leave out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A proxy of the environment, as it may be shown."""

    name: str
    """The variable: ``"HTTPS_PROXY"``."""
    scheme: str
    """How it is spoken to; empty where the variable holds no address."""
    where: str
    """``host:port``, without user and password."""
    url: str = field(repr=False)
    """All of it, which nobody else may see."""


def proxy_for(scheme: str, host: str, port: int | None = None) -> Proxy | None:
    """The proxy for ``scheme`` and ``host``; None where the way is direct."""
    proxies = getproxies()
    for kind in (scheme, "all"):
        if proxies.get(kind):
            # NO_PROXY may name a host with its port.
            bypassed = proxy_bypass(host) or (port is not None and proxy_bypass(f"{host}:{port}"))
            return None if bypassed else _read(kind, proxies[kind])
    return None


def proxy_for_template(endpoint: str, region: str | None) -> Proxy | None:
    """The same for a client's endpoint, while its bucket is not known."""
    filled = endpoint.replace("{bucket}", "bucket").replace("{region}", region or "region")
    try:
        address = urlsplit(filled if "://" in filled else f"https://{filled}")
        host, port = address.hostname, address.port
    except ValueError:
        return None  # told where the endpoint is used
    return proxy_for(address.scheme, host, port) if host else None


def _read(kind: str, url: str) -> Proxy:
    name, url = f"{kind.upper()}_PROXY", url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        host, port = None, 0
    # An @ further on is of a password that should have been quoted: then part of it would be shown as the host.
    if not host or not port or "@" in f"{parts.path}{parts.query}{parts.fragment}":
        return Proxy(name=name, scheme="", where="", url=url)
    return Proxy(name=name, scheme=parts.scheme, where=f"[{host}]:{port}" if ":" in host else f"{host}:{port}", url=url)
