"""Turns an endpoint template, a bucket and a region into the address of a request."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, urlsplit

from cosxfer.cos.identifiers import check_bucket, check_region
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.records import dataclass

_USER = re.compile(r"//[^/]*@")
_ONE_SLASH = re.compile(r"https?:(?!//)", re.IGNORECASE)
_DROPPED = re.compile(r"[\t\r\n]")
"""Characters that `urlsplit` drops silently."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_HOST = re.compile(r"[A-Za-z\d._-]+|\[[\dA-Fa-f:.]+\]", re.ASCII)

_LOOPBACK = re.compile(r"localhost|.+\.localhost|127\.[\d.]+|::1")

_COS = r"(?:myqcloud\.com|tencentcos\.(?:cn|com))\.?"
_COS_DOMAIN = re.compile(rf".+\.{_COS}", re.ASCII)
_COS_HOST = re.compile(
    rf"(?:(?P<bucket>[a-z\d-]+-\d+)\.)?cos(?:-internal|-website)?\.(?P<region>[a-z\d-]+)\.{_COS}", re.ASCII
)
_COS_WITHOUT_BUCKET = re.compile(
    rf"(\s*(?:https?://)?)(cos(?:-internal)?\.(?:\{{region\}}|[a-z\d-]+)\.{_COS}(?::\d+)?/*\s*)",
    re.ASCII | re.IGNORECASE,
)
_FIRST_NAME = re.compile(r"([a-z\d-]+-\d+\.cos\.(?!accelerate\.)[a-z\d-]+)\.myqcloud\.com", re.ASCII)
_LOOKS_LIKE_BUCKET = re.compile(r"[a-z\d-]+-\d{10}", re.ASCII)
_LOCAL_BUCKET = re.compile(r"([a-z\d-]+-\d+)\.localhost", re.ASCII)

_SOME_BUCKET = "bucket-1250000000"

PATH_SAFE = "-_.~/"
"""Characters that are not escaped in the path on the wire, besides letters and digits."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """The address of one bucket."""

    scheme: str
    """``"https"`` or ``"http"``."""
    host: str
    """Name or address without port; an IPv6 address without brackets."""
    port: int
    authority: str
    """The Host header. It has no port if the port is the scheme's default."""
    base_path: str
    """Path before the key, without a trailing slash: empty, or ``/bucket`` for path style."""

    @property
    def where(self) -> str:
        """Host and port, for messages."""
        return host_and_port(self.host, self.port)

    def path(self, key: str) -> str:
        """Return the decoded path of ``key``, which is signed. An empty key gives the path of the bucket."""
        return f"{self.base_path}/{key}"

    def location(self, key: str) -> str:
        """Return host and path without a scheme, in COS's form."""
        return location_of(self.authority, self.base_path, key)


def location_of(authority: str, base_path: str, key: str) -> str:
    """Return `Endpoint.location`."""
    return f"{authority}{quote(f'{base_path}/{key}', safe=PATH_SAFE)}"


def host_and_port(host: str, port: int) -> str:
    """Return ``host:port``, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(maxsize=256)
def resolve_endpoint(template: str, *, bucket: str, region: str | None) -> Endpoint:
    """Fill ``{bucket}`` and ``{region}`` into ``template`` and parse the address.

    A template without a scheme means https. Raises `UsageError` for an unknown placeholder, a missing region, an
    invalid address, and the address of another bucket or region.
    """
    check_bucket(bucket)
    if region is not None:
        check_region(region)
    template = with_bucket(template)
    endpoint = _fill(template, bucket, region)
    own = _own_bucket(template, endpoint)
    if own is not None and own != bucket:
        raise UsageError(
            f"the endpoint {shorten(template, 160)} is the address of the bucket {own}, not of {bucket}; "
            "use an endpoint with {bucket}, or another client",
            name="bucket",
            value=bucket,
        )
    own_region = region_of(template)
    if region is not None and own_region is not None and own_region != region:
        raise UsageError(
            f"the endpoint {shorten(template, 160)} is in the region {own_region}, but the region is {region}; "
            "use an endpoint with {region}, or omit the region",
            name="region",
            value=region,
        )
    return endpoint


def with_bucket(template: str) -> str:
    """Return the template of a COS region with ``{bucket}.`` in front, as the SDKs do; other templates unchanged."""
    return _COS_WITHOUT_BUCKET.sub(r"\1{bucket}.\2", template) if _COS_WITHOUT_BUCKET.fullmatch(template) else template


def region_of(template: str) -> str | None:
    """Return the region that a COS template names; None if it has a placeholder or is a global address."""
    if "{region}" in template:
        return None
    try:
        host = _fill(with_bucket(template), _SOME_BUCKET, None).host
    except UsageError:
        return None
    match = _COS_HOST.fullmatch(host)
    return None if match is None or match["region"] == "accelerate" else match["region"]


def other_host(endpoint: Endpoint) -> str | None:
    """Return the second name of a bucket's default host; None for others: accelerated, internal, custom, another port.

    It exists over https alone.
    """
    match = _FIRST_NAME.fullmatch(endpoint.host)
    if match is None or endpoint.scheme != "https" or endpoint.port != 443 or endpoint.base_path:
        return None
    return f"{match[1]}.tencentcos.cn"


def _own_bucket(template: str, endpoint: Endpoint) -> str | None:
    """Return the only bucket that the address can reach; None if the template has a placeholder.

    Raises `UsageError` for an address of COS that names no bucket.
    """
    match = _COS_HOST.fullmatch(endpoint.host)
    if match is not None and endpoint.base_path.count("/") > (match["bucket"] is None):
        raise _bad(template, "COS treats the path after the bucket as part of the key; remove it")
    if match is not None and match["bucket"] is not None:
        return match["bucket"]
    if "{bucket}" in template:
        return None
    first = endpoint.host.partition(".")[0]
    if _LOOKS_LIKE_BUCKET.fullmatch(first):
        return first
    if local := _LOCAL_BUCKET.fullmatch(endpoint.host):
        return local.group(1)
    if _COS_DOMAIN.fullmatch(endpoint.host):
        raise _bad(template, "it names no bucket")
    return next(filter(_LOOKS_LIKE_BUCKET.fullmatch, endpoint.base_path.split("/")), None)


class Binding:
    """The bucket and region that an address without ``{bucket}`` or ``{region}`` is bound to: the first that are used.

    Such an address always reaches the same bucket. Without this check, an object for a second bucket would silently go
    to the first.
    """

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def check(self, template: str, endpoint: Endpoint, *, bucket: str, region: str | None) -> dict[str, str]:
        """Raise `UsageError` for another bucket or region than the first. Return the values that a request would bind.

        A server at an IP address has no regions. An address of COS names its region or is global.
        """
        values = _bound_values(template, endpoint.host, bucket, region)
        for name, value in values:
            self._same(with_bucket(template), name, value)
        return dict(values)

    def bind(self, template: str, endpoint: Endpoint, *, bucket: str, region: str | None) -> None:
        """Bind the address because a request or a form uses it. A call that is refused earlier binds nothing."""
        self._first.update(self.check(template, endpoint, bucket=bucket, region=region))

    def _same(self, template: str, name: str, value: str) -> None:
        first = self._first.get(name, value)
        if first != value:
            raise UsageError(
                f"the endpoint {shorten(template, 160)} has no {{{name}}}, so it reaches only one {name}. "
                f"This client has used it for {first}, not {value}; use an endpoint with {{{name}}}, or another client",
                name=name,
                value=value,
            )


@lru_cache(maxsize=256)
def _bound_values(template: str, host: str, bucket: str, region: str | None) -> tuple[tuple[str, str], ...]:
    """Return the bucket and the region that an address without placeholders for them is used for."""
    template = with_bucket(template)
    values = () if "{bucket}" in template else (("bucket", bucket),)
    of_cos = _COS_DOMAIN.fullmatch(host)
    if region is not None and "{region}" not in template and not of_cos and not _is_machine(host):
        return *values, ("region", region)
    return values


def _is_machine(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit() or _LOOPBACK.fullmatch(host) is not None


def _fill(template: str, bucket: str, region: str | None) -> Endpoint:
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
        raise _bad(template, f"{{{name}}} is not a placeholder; use {{bucket}} and {{region}}")

    address = _PLACEHOLDER.sub(fill, template.strip())
    if _ONE_SLASH.match(address):
        raise _bad(template, "the scheme needs two slashes (https://)")
    if _DROPPED.search(address):
        raise _bad(template, "it contains a tab or a line break")
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
        raise _bad(template, "only a scheme, a host, a port and a path are allowed")
    host = parts.hostname or ""
    bracketed = f"[{host}]" if ":" in host else host
    if not _HOST.fullmatch(bracketed):
        raise _bad(template, f"{host!r} is not a host name")
    default_port = 443 if parts.scheme == "https" else 80
    authority = bracketed if port in (None, default_port) else f"{bracketed}:{port}"
    if port == 0:
        raise _bad(template, "port 0 cannot be used")
    base_path = parts.path.rstrip("/")
    if quote(base_path, safe=PATH_SAFE) != base_path:
        raise _bad(template, "the path may contain only letters, digits and -_.~/")
    if any(segment in ("", ".", "..") for segment in base_path.split("/")[1:]):
        raise _bad(template, "the path has a segment that is empty, '.' or '..'")
    return Endpoint(scheme=parts.scheme, host=host, port=port or default_port, authority=authority, base_path=base_path)


def check_confidential(endpoint: Endpoint) -> None:
    """Refuse to send a secret without TLS, except to this machine, where a proxy may add TLS."""
    if endpoint.scheme == "https" or _LOOPBACK.fullmatch(endpoint.host):
        return
    raise UsageError(
        f"the customer's key would be sent unencrypted to http://{endpoint.where}; use an endpoint with https, as COS "
        "requires",
        name="sse_customer_key",
    )


def check_endpoint(template: str, *, region: str | None) -> None:
    """Refuse an endpoint that is invalid for every bucket and region, or that is in another region."""
    template = with_bucket(template)
    endpoint = _fill(template, _SOME_BUCKET, "region")
    own = _own_bucket(template, endpoint)
    if region is not None:
        resolve_endpoint(template, bucket=own or _SOME_BUCKET, region=region)


def _bad(template: str, why: str) -> UsageError:
    template = _USER.sub("//(not shown)@", template)
    return UsageError(
        f"the endpoint {shorten(template, 160)} is not usable: {why}. "
        "Example: https://{bucket}.cos.{region}.myqcloud.com",
        name="endpoint",
        value=template,
    )
