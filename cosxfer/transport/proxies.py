"""The proxies of the environment: ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``ALL_PROXY``, except for hosts in ``NO_PROXY``.

They are read once when a client is created, as in httpx. The rules are those of `urllib.request`: lower-case names win
over upper-case ones. If ``REQUEST_METHOD`` is set, ``HTTP_PROXY`` is ignored, because in a CGI script it is a header of
the request (CVE-2016-1000110). This module decides for all transports, so that they use the same proxies.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from dataclasses import field
from typing import Literal
from urllib.parse import urlsplit

from cosxfer.cos.endpoint import host_and_port
from cosxfer.records import dataclass

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_PLACEHOLDER = re.compile(r"\{\w+\}")


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A proxy of the environment. The repr is safe to show."""

    name: str
    """The variable: ``"HTTPS_PROXY"``."""
    scheme: str
    """The scheme of its address; empty if the variable has no valid address."""
    where: str
    """``host:port``, without user and password."""
    url: str = field(repr=False)
    """The whole address, which may contain a password."""


class Proxies:
    """The proxies of the environment at the time of creation."""

    def __init__(self) -> None:
        self._environment: dict[str, str] = {}
        self._urls: dict[str, str] = {}
        # Importing urllib.request takes a sixth of the start of a client, and most environments name no proxy.
        if sys.platform in ("darwin", "win32") or any(name.lower().endswith("_proxy") for name in os.environ):
            from urllib.request import getproxies, getproxies_environment

            self._environment = getproxies_environment()
            if "no" in self._environment:
                self._environment["no"] = _listed(self._environment["no"])
            # If the environment has none, use the settings of macOS.
            self._urls = self._environment or getproxies()
        self._known: dict[tuple[str, str, int], Proxy | None] = {}

    def of(self, scheme: str, host: str, port: int) -> Proxy | None:
        """Return the proxy for ``host`` and ``port``; None for a direct connection."""
        origin = (scheme, host, port)
        if origin not in self._known:
            proxy = self.of_scheme(scheme)
            self._known[origin] = None if proxy is None or self._bypassed(host, port) else proxy
        return self._known[origin]

    def of_scheme(self, scheme: str) -> Proxy | None:
        """Return the proxy for hosts that are not in ``NO_PROXY``."""
        kind = next((kind for kind in (scheme, "all") if self._urls.get(kind)), None)
        return None if kind is None else _read(kind, self._urls[kind])

    def of_template(self, endpoint: str, region: str | None) -> Proxy | None:
        """Return the proxy for a client's endpoint before its bucket is known."""
        address = _address(endpoint.replace("{bucket}", "bucket").replace("{region}", region or "region"))
        return None if address is None else self.of(*address)

    def same_for_all(self, endpoint: str) -> bool:
        """Whether `of_template` is right for all buckets and regions, whatever ``NO_PROXY`` says."""
        address = _address(endpoint)
        if address is None or self.of_scheme(address[0]) is None or "{" not in address[1]:
            return True
        if not self._environment:
            return False  # the exceptions of the system are not known here
        exceptions = self._urls.get("no", "")
        _, host, port = address
        host = host.removesuffix(".")
        named = {_named(name, entry) for name in (host, f"{host}:{port}") for entry in exceptions.split(",")}
        return exceptions == "*" or "all" in named or "some" not in named

    def _bypassed(self, host: str, port: int) -> bool:
        from urllib.request import (  # type: ignore[attr-defined] # typeshed lacks the last one
            proxy_bypass,
            proxy_bypass_environment,
        )

        host = host.removesuffix(".")
        # NO_PROXY may have a host with its port, and an IPv6 address in brackets.
        names = [host, f"{host}:{port}"]
        if ":" in host:
            names += [f"[{host}]", f"[{host}]:{port}"]
        if self._environment:
            if any(proxy_bypass_environment(name, self._environment) for name in names):
                return True
            entries = self._environment.get("no", "").split(",")
            return any(_is_below(host, port, entry) or _is_in(host, port, entry) for entry in entries)
        return any(proxy_bypass(name) for name in names)


def _listed(exceptions: str) -> str:
    """Normalize ``NO_PROXY``: only commas, no trailing dots, and only ``*`` if that is an entry.

    Like curl, this accepts spaces between entries.
    """
    entries = [one.removesuffix(".") if one.strip("*.") else one for one in re.split(r"[,\s]+", exceptions) if one]
    return "*" if "*" in entries else ",".join(entries)


def _is_below(host: str, port: int, entry: str) -> bool:
    """Whether an entry ``*.example.com`` of ``NO_PROXY``, also with a port, matches the host."""
    entry = entry.strip().lower()
    return entry.startswith("*.") and any(name.endswith(entry[1:]) for name in (host.lower(), f"{host.lower()}:{port}"))


def _is_in(host: str, port: int, entry: str) -> bool:
    """Whether an entry that is an IP address or a network (``10.0.0.0/8``, ``fd00::/8``) contains the host.

    An address may be in brackets and have a port. A host name is never in a network, because it is not looked up.
    """
    entry = entry.strip()
    with_port = re.fullmatch(r"\[([^\]]*)\]:(\d+)|([\d.]+(?:/\d+)?):(\d+)", entry)
    if with_port:
        if int(with_port[2] or with_port[4]) != port:
            return False
        entry = with_port[1] or with_port[3]
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(re.sub(r"[\[\]]", "", entry), strict=False)
    except ValueError:
        return False


def _address(endpoint: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port. None for an invalid endpoint, which raises an error when it is used."""
    endpoint = endpoint.strip()
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    return (parts.scheme, host, port) if host else None


def _named(template: str, entry: str) -> Literal["none", "some", "all"]:
    """Return which of the hosts of ``template`` an entry of ``NO_PROXY`` matches, by their last labels."""
    entry = entry.strip().lower()
    if "/" in entry:
        # A network contains only addresses, and the value of a placeholder is not known.
        return "some" if re.sub(_PLACEHOLDER, "", template).replace(".", "").isdigit() else "none"
    below = entry.startswith("*.")
    labels = entry.removeprefix("*").lstrip(".").split(".")
    ending = template.split(".")[-len(labels) :]
    if below and template.count(".") < len(labels):
        return "none"
    if len(ending) < len(labels) or not all(map(_may_be, ending, labels)):
        return "none"
    return "some" if "{" in "".join(ending) else "all"


def _may_be(template: str, label: str) -> bool:
    return re.fullmatch("[a-z0-9-]+".join(map(re.escape, _PLACEHOLDER.split(template))), label) is not None


def _read(kind: str, url: str) -> Proxy:
    name, url = f"{kind.upper()}_PROXY", url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        host, port = None, 0
    # A later @ belongs to an unquoted password, part of which would be shown as the host.
    if not host or not port or "@" in f"{parts.path}{parts.query}{parts.fragment}":
        return Proxy(name=name, scheme="", where="", url=url)
    return Proxy(name=name, scheme=parts.scheme, where=host_and_port(host, port), url=url)
