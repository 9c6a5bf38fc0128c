"""What browsers ask before a page may talk to a server of another origin (the Fetch standard, section 3.3).

COS answers by the bucket's CORS rules; this server lets any page in, since what a page may do is decided by its
signature. Where requests need no signature, no page is let in: any site that the user visits could read and write.
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


def answer_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What an answer to a page of another origin carries; nothing for everyone else."""
    if "origin" not in headers:
        return {}
    return {"access-control-allow-origin": "*", "access-control-expose-headers": _EXPOSED}


def preflight(method: str, headers: Mapping[str, str]) -> Response | None:
    """The answer to a browser's question before the request, None for any other request."""
    if method != "OPTIONS" or "origin" not in headers or "access-control-request-method" not in headers:
        return None
    allowed = {"access-control-allow-methods": _METHODS, "access-control-max-age": "600"}
    if asked := headers.get("access-control-request-headers"):
        allowed["access-control-allow-headers"] = asked
    if "access-control-request-private-network" in headers:
        # Chromium asks before a public page may reach this machine; the signature decides here too.
        allowed["access-control-allow-private-network"] = "true"
    return Response(headers=allowed)


def check_local(headers: Mapping[str, str], *, host: str) -> None:
    """Refuse what a page of any site could send through the user's browser, where nothing has to be signed.

    A simple request, a form or an image needs no question before it; and a site can let its own name stand for
    127.0.0.1. ``host`` is where the server listens. Raises AccessDenied.
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
    # No name leads to an address that is written out; listening everywhere means all of this machine's.
    return address.is_loopback or listening in ("0.0.0.0", "::")  # noqa: S104 (compared, not bound)
