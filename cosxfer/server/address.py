"""Finds the bucket and key of a request: virtual-host style, path style, or the only bucket of the server."""

from __future__ import annotations

import re
from collections.abc import Collection

from cosxfer.cos.sign import SIGNATURE_FIELDS
from cosxfer.records import dataclass

_COS_HOST = re.compile(r"([a-z\d-]+-\d+)\.cos(?:-internal)?\.[a-z\d.-]+", re.ASCII)
_LOCAL_HOST = re.compile(r"([a-z\d-]+)\.localhost", re.ASCII)
_SERVICE_HOST = re.compile(r"(?:service\.)?cos(?:-internal)?\.[a-z\d.-]+", re.ASCII)
_LOOKS_LIKE_BUCKET = re.compile(r"[a-z\d-]+-\d{10}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    bucket: str | None
    """None: the service itself."""
    key: str
    """Empty: the bucket itself."""


_OF_SERVICE = frozenset(
    {"region", "marker", "max-keys", "tagkey", "tagvalue", "create-time", "range", "x-cos-security-token"}
) | frozenset(SIGNATURE_FIELDS)
"""Parameters of GET Service. For a listing of a bucket, the official SDKs and cosxfer always send others too."""


def may_list_buckets(method: str, query: Collection[str]) -> bool:
    """Return whether a request for ``/`` may be about the service: it has no parameter of a bucket."""
    return method == "GET" and _OF_SERVICE.issuperset(query)


def locate(*, host: str, path: str, buckets: Collection[str], service: bool = False) -> Address:
    """Find bucket and key of a decoded ``path``, which starts with ``/``.

    A host ``bucket.cos.region.anything`` or ``bucket.localhost`` names the bucket. For any other host, the first
    segment of the path names the bucket if it is one of ``buckets`` or looks like a bucket name with a 10-digit APPID
    (so that a mistyped bucket is an error and not a key). Otherwise the path is a key in the only bucket. ``service``
    says that ``/`` alone is the service even if there is only one bucket.
    """
    name = host_name(host)
    in_host = _COS_HOST.fullmatch(name) or _LOCAL_HOST.fullmatch(name)
    if in_host:
        return Address(in_host.group(1), path[1:])
    first, slash, rest = path[1:].partition("/")
    if first in buckets or (first and (len(buckets) != 1 or _LOOKS_LIKE_BUCKET.fullmatch(first))):
        return Address(first, rest)
    if not first and not slash and (service or len(buckets) != 1 or _SERVICE_HOST.fullmatch(name)):
        return Address(None, "")
    (only,) = buckets if len(buckets) == 1 else ("",)
    return Address(only, path[1:])


def locate_s3(*, host: str, path: str) -> Address:
    """Find bucket and key as S3 does: a bucket that the host does not name is the first segment of the path."""
    name = host_name(host)
    in_host = _COS_HOST.fullmatch(name) or _LOCAL_HOST.fullmatch(name)
    if in_host:
        return Address(in_host.group(1), path[1:])
    first, _, rest = path[1:].partition("/")
    return Address(first, rest) if first else Address(None, "")


def host_name(host: str) -> str:
    """Return the host without its port, in lower case."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()
