"""How a response proves that the server has the bytes that were sent."""

from __future__ import annotations

from typing import TypedDict

from cosxfer.cos.names import bare_etag


class Proof(TypedDict):
    """The fields of `cosxfer.models.VerifiedResult`."""

    verified: bool
    verified_by: str


def proof(*, crc64_agrees: bool, etag: str, md5: bytes | None) -> Proof:
    """``crc64_agrees``: the server sent the CRC64 of these bytes, and it was compared."""
    verified_by = "crc64" if crc64_agrees else "etag" if md5 is not None and bare_etag(etag) == md5.hex() else ""
    return Proof(verified=bool(verified_by), verified_by=verified_by)
