"""CORS: which web pages may use the server (the Fetch standard, section 3.3).

COS follows the bucket's CORS rules. This server allows every page, because the signature decides what a page may do. If
requests need no signature, it refuses every page, because any site that the user visits could read and write.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from cosxfer.server.address import host_name
from cosxfer.server.http import CosError, Response

_METHODS = "GET, HEAD, PUT, POST, DELETE"
_EXPOSED = (
    "ETag, Location, Content-Length, x-cos-request-id, x-cos-trace-id, x-cos-version-id, x-cos-hash-crc64ecma, "
    "x-cos-next-append-position, x-cos-object-type, x-cos-storage-class, x-cos-server-side-encryption, "
    "x-cos-server-side-encryption-cos-kms-key-id, x-cos-server-side-encryption-customer-algorithm, "
    "x-cos-server-side-encryption-customer-key-MD5"
)


def response_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the CORS headers of a response to a page of another origin; empty for other clients."""
    if "origin" not in headers:
        return {}
    return {"access-control-allow-origin": "*", "access-control-expose-headers": _EXPOSED}


def preflight(method: str, headers: Mapping[str, str]) -> Response | None:
    """Return the response to a browser's preflight request; None for any other request."""
    if method != "OPTIONS" or "origin" not in headers or "access-control-request-method" not in headers:
        return None
    allowed = {"access-control-allow-methods": _METHODS, "access-control-max-age": "600"}
    if asked := headers.get("access-control-request-headers"):
        allowed["access-control-allow-headers"] = asked
    if "access-control-request-private-network" in headers:
        # Chromium sends this before a public page may reach this machine. The signature decides here too.
        allowed["access-control-allow-private-network"] = "true"
    return Response(headers=allowed)


def check_local(headers: Mapping[str, str], *, host: str) -> None:
    """Refuse requests that a web page could send through the user's browser. For servers that need no signatures.

    Simple requests, forms and images need no preflight, and a site can resolve its own name to 127.0.0.1. ``host`` is
    the address that the server listens on. Raises AccessDenied.
    """
    if "origin" in headers or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise CosError("AccessDenied", "Without signatures, requests of web pages are refused.")
    if not _is_local(headers.get("host", ""), listening=host.lower()):
        raise CosError("AccessDenied", "Without signatures, the Host must be local or the one that is listened on.")


def _is_local(host: str, *, listening: str) -> bool:
    name = host_name(host).strip("[]")
    if name == "localhost" or name.endswith(".localhost") or name == listening:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    # A literal address involves no name. A server that listens on all addresses accepts all literal ones.
    return address.is_loopback or listening in ("0.0.0.0", "::")  # noqa: S104 (compared, not bound)
