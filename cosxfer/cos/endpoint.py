"""From an endpoint template, a bucket and a region to the address of a request."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urlsplit

from cosxfer.cos.names import check_bucket, check_region, shorten
from cosxfer.errors import UsageError

_USER = re.compile(r"//[^/]*@")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_HOST = re.compile(r"[A-Za-z\d._-]+|\[[\dA-Fa-f:.]+\]", re.ASCII)

_LOOPBACK = re.compile(r"localhost|.+\.localhost|127\.[\d.]+|::1")

PATH_SAFE = "-_.~/"
"""What stays unescaped in the path on the wire, besides letters and digits."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the requests for one bucket go."""

    scheme: str
    """``"https"`` or ``"http"``."""
    host: str
    """Name or address without port; an IPv6 address without brackets."""
    port: int
    authority: str
    """The Host header: the port is left out where it is the scheme's own."""
    base_path: str
    """Path in front of the key, without a slash at its end: empty, or ``/bucket`` for path style."""

    @property
    def where(self) -> str:
        """Host and port, for messages."""
        return host_and_port(self.host, self.port)

    def path(self, key: str) -> str:
        """The decoded path of ``key``, or of the bucket for an empty key: what is signed."""
        return f"{self.base_path}/{key}"

    def location(self, key: str) -> str:
        """Host and path without a scheme, as COS returns it."""
        return f"{self.authority}{quote(self.path(key), safe=PATH_SAFE)}"


def host_and_port(host: str, port: int) -> str:
    """Both as they stand in an address: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(maxsize=256)
def resolve_endpoint(template: str, *, bucket: str, region: str | None) -> Endpoint:
    """Fill ``{bucket}`` and ``{region}`` into ``template`` and take the address apart.

    A template without a scheme means https. Raises `UsageError` for another placeholder, a missing region, or an
    address that is none.
    """
    check_bucket(bucket)
    if region is not None:
        check_region(region)

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        if name == "bucket":
            return bucket
        if name == "region":
            if region is None:
                raise UsageError(
                    "no region is set, and the endpoint needs one; "
                    "pass region= (such as ap-guangzhou) or set COS_REGION",
                    name="region",
                )
            return region
        raise _bad(template, f"{{{name}}} is not a placeholder; there are {{bucket}} and {{region}}")

    address = _PLACEHOLDER.sub(fill, template.strip())
    if "://" not in address:
        address = f"https://{address}"
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise _bad(template, str(error)) from error
    if parts.scheme not in ("http", "https"):
        raise _bad(template, "the scheme must be http or https")
    if parts.username is not None or parts.query or parts.fragment:
        raise _bad(template, "it may hold a scheme, a host, a port and a path, and nothing else")
    host = parts.hostname or ""
    bracketed = f"[{host}]" if ":" in host else host
    if not _HOST.fullmatch(bracketed):
        raise _bad(template, f"{host!r} is not a host name")
    default_port = 443 if parts.scheme == "https" else 80
    authority = bracketed if port in (None, default_port) else f"{bracketed}:{port}"
    if port == 0:
        raise _bad(template, "port 0 is not an address")
    base_path = parts.path.rstrip("/")
    if quote(base_path, safe=PATH_SAFE) != base_path:
        raise _bad(template, "the path may hold only letters, digits and -_.~/")
    return Endpoint(scheme=parts.scheme, host=host, port=port or default_port, authority=authority, base_path=base_path)


def check_confidential(endpoint: Endpoint) -> None:
    """Refuse to send a secret in the clear. What does not leave the machine may be: a proxy there may add TLS."""
    if endpoint.scheme == "https" or _LOOPBACK.fullmatch(endpoint.host):
        return
    raise UsageError(
        f"the customer's key would go over the network in the clear, to http://{endpoint.where}; use an endpoint with "
        "https, as COS demands",
        name="sse_customer_key",
    )


def check_endpoint(template: str) -> None:
    """Refuse an endpoint that no bucket and region can make an address of."""
    resolve_endpoint(template, bucket="bucket-1250000000", region="region")


def _bad(template: str, why: str) -> UsageError:
    template = _USER.sub("//(not shown)@", template)
    return UsageError(
        f"the endpoint {shorten(template, 160)} is not usable: {why}. "
        "An example is https://{bucket}.cos.{region}.myqcloud.com",
        name="endpoint",
        value=template,
    )
