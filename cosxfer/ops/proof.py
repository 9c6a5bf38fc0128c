"""Checking that a response proves that the server has the bytes that were sent."""

from __future__ import annotations

import re
from typing import TypedDict

from cosxfer.cos import responses
from cosxfer.cos.identifiers import bare_etag
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import IntegrityError

_MD5 = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)


class Proof(TypedDict):
    """The fields of `cosxfer.models.VerifiedResult`."""

    verified: bool
    verified_by: str


def check_crc64(operation: str, *, local: int | None, server: int | None, retryable: bool = True) -> None:
    """Raise `IntegrityError` if the CRC64 of the server differs from the local one; None is not compared."""
    if local is not None and server is not None and local != server:
        raise mismatch(operation, "CRC64", local=local, server=server, retryable=retryable)


def check_proof(operation: str, response: HttpResponse, *, md5: bytes | None, crc64: int | None) -> None:
    """Raise `IntegrityError` if ``response`` to a whole object shows other bytes than were sent.

    The CRC64 decides. If the server sends none, the ETag counts if it is an MD5: it has 32 digits, and no key of the
    KMS or of the customer was used.
    """
    theirs = responses.crc64(response, operation=operation)
    check_crc64(operation, local=crc64, server=theirs)
    if theirs is not None or md5 is None or not responses.etag_is_md5(response):
        return
    etag = bare_etag(responses.etag(response, operation=operation))
    if _MD5.fullmatch(etag) and etag.lower() != md5.hex():
        raise mismatch(operation, "ETag", local=md5.hex(), server=etag)


def mismatch(operation: str, name: str, *, local: object, server: object, retryable: bool = True) -> IntegrityError:
    """Return the error for a checksum that differs.

    ``retryable`` means that a second attempt may succeed, because the bytes were damaged in transit.
    """
    return IntegrityError(
        f"{operation}: checksum mismatch: server {name} {server}, local {local}",
        expected=local,
        actual=server,
        retryable=retryable,
    )


def proof(*, crc64_agrees: bool, etag: str, md5: bytes | None) -> Proof:
    """Return the fields of a result. ``crc64_agrees`` means that the server's CRC64 of these bytes was compared."""
    verified_by = "crc64" if crc64_agrees else "etag" if md5 is not None and bare_etag(etag) == md5.hex() else ""
    return Proof(verified=bool(verified_by), verified_by=verified_by)
