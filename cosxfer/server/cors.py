"""What browsers ask before a page may talk to a server of another origin (the Fetch standard, section 3.3).

COS answers by the bucket's CORS rules; this server lets any page in, since what a page may do is decided by its
signature. Where requests need no signature, no page is let in: any site that the user visits could read and write.
"""

from __future__ import annotations

from collections.abc import Mapping

from cosxfer.server.http import Response

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
