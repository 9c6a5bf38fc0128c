"""Server-side encryption as a client sees it: refusals, response headers and ETags.

Nothing is encrypted on disk. Only the MD5 of a customer's key is stored, to recognise the key. COS returns it too.
Sources: product pages 436/18145, 7728 and 7729, and the examples of 7749, 7750 and 7745.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Mapping
from hashlib import md5

from cosxfer.server.http import CosError

ALGORITHM = "x-cos-server-side-encryption"
KMS_KEY_ID = f"{ALGORITHM}-cos-kms-key-id"
KMS_CONTEXT = f"{ALGORITHM}-context"
CUSTOMER_ALGORITHM = f"{ALGORITHM}-customer-algorithm"
CUSTOMER_KEY = f"{ALGORITHM}-customer-key"
CUSTOMER_KEY_MD5 = f"{ALGORITHM}-customer-key-md5"

SSE_COS = "AES256"
SSE_KMS = "cos/kms"

DEFAULT_KMS_KEY_ID = "00000000-0000-0000-0000-000000000000"
"""Returned if the client names no key. COS then uses a key of its own."""

_CUSTOMER = (CUSTOMER_ALGORITHM, CUSTOMER_KEY, CUSTOMER_KEY_MD5)
_RETURNED = (ALGORITHM, KMS_KEY_ID, CUSTOMER_ALGORITHM, CUSTOMER_KEY_MD5)
_KEY_BYTES = 32


def wanted(headers: Mapping[str, str], *, scheme: str) -> dict[str, str]:
    """Return the encryption headers to store with a new object; empty without encryption.

    ``headers`` may be form fields. Raises InvalidArgument, and InvalidRequest for a customer's key without TLS.
    """
    algorithm = headers.get(ALGORITHM)
    customer = _customer_key(headers, scheme=scheme)
    if algorithm is None:
        if KMS_KEY_ID in headers or KMS_CONTEXT in headers:
            raise _invalid(f"A KMS key and its context need {ALGORITHM}: {SSE_KMS}.")
        return customer
    if customer:
        raise _invalid("A customer's key and another server-side encryption exclude each other.")
    if algorithm == SSE_KMS:
        _check_context(headers.get(KMS_CONTEXT))
        return {ALGORITHM: SSE_KMS, KMS_KEY_ID: headers.get(KMS_KEY_ID) or DEFAULT_KMS_KEY_ID}
    if algorithm != SSE_COS or KMS_KEY_ID in headers or KMS_CONTEXT in headers:
        raise _invalid(f"{ALGORITHM} can be {SSE_COS}, or {SSE_KMS} with a key and a context.")
    return {ALGORITHM: SSE_COS}


def refuse_any(headers: Mapping[str, str]) -> None:
    """Refuse encryption headers, for APPEND: its page lists none. Raises SSEHeaderNotAllowed."""
    if any(name.startswith(ALGORITHM) for name in headers):
        raise CosError("SSEHeaderNotAllowed", "An appended object cannot have a server-side encryption.")


def check_part(headers: Mapping[str, str], kept: Mapping[str, str], *, scheme: str) -> None:
    """Refuse a part without the key of Initiate, whose headers are ``kept``. Raises InvalidRequest, InvalidArgument."""
    if _customer_key(headers, scheme=scheme).get(CUSTOMER_KEY_MD5) != kept.get(CUSTOMER_KEY_MD5):
        raise CosError("InvalidRequest", "The part must be sent with the customer's key of Initiate, if it had one.")


def check_reading(headers: Mapping[str, str], kept: Mapping[str, str], *, scheme: str) -> None:
    """Refuse HEAD and GET without the object's key, or with other encryption headers.

    Raises SsecDecryptHeaderInvalid, SSEHeaderNotAllowed, InvalidRequest, InvalidArgument.
    """
    if ALGORITHM in headers:
        raise CosError("SSEHeaderNotAllowed", f"{ALGORITHM} cannot be given to read an object.")
    if _customer_key(headers, scheme=scheme).get(CUSTOMER_KEY_MD5) != kept.get(CUSTOMER_KEY_MD5):
        why = "needs the customer's key that it was sent with" if CUSTOMER_KEY_MD5 in kept else "has no customer's key"
        raise CosError("SsecDecryptHeaderInvalid", f"The object {why}.")


def response_headers(kept: Mapping[str, str]) -> dict[str, str]:
    """Return the response headers that describe the encryption of an object or upload."""
    return {name: kept[name] for name in _RETURNED if name in kept}


def etag_of(digest: bytes, kept: Mapping[str, str]) -> str:
    """Return the ETag of a body with this MD5. With a key of the KMS or of a customer it is opaque."""
    if kept.get(ALGORITHM) == SSE_KMS or CUSTOMER_ALGORITHM in kept:
        return secrets.token_hex(len(digest))
    return digest.hex()


def copied_etag(etag: str, kept: Mapping[str, str]) -> str:
    """Return the ETag of a copy. That of a source is kept unless the copy has an opaque one."""
    is_opaque = kept.get(ALGORITHM) == SSE_KMS or CUSTOMER_ALGORITHM in kept
    return secrets.token_hex(16) if is_opaque else etag


def _customer_key(headers: Mapping[str, str], *, scheme: str) -> dict[str, str]:
    """Return algorithm and MD5 of the customer's key; empty without one."""
    if not any(name in headers for name in _CUSTOMER):
        return {}
    if scheme != "https":
        raise CosError("InvalidRequest", "A customer's key may only be sent over HTTPS.")
    if missing := [name for name in _CUSTOMER if name not in headers]:
        raise _invalid(f"The header {missing[0]} is missing.")
    if headers[CUSTOMER_ALGORITHM] != SSE_COS:
        raise _invalid(f"{CUSTOMER_ALGORITHM} can only be {SSE_COS}.")
    key = _decoded(headers[CUSTOMER_KEY])
    if key is None or len(key) != _KEY_BYTES:
        raise _invalid(f"{CUSTOMER_KEY} is not the Base64 of {_KEY_BYTES} bytes.")
    if _decoded(headers[CUSTOMER_KEY_MD5]) != md5(key, usedforsecurity=False).digest():
        raise _invalid(f"{CUSTOMER_KEY_MD5} is not the Base64 of the key's MD5.")
    return {CUSTOMER_ALGORITHM: SSE_COS, CUSTOMER_KEY_MD5: headers[CUSTOMER_KEY_MD5]}


def _check_context(value: str | None) -> None:
    if value is None:
        return
    try:
        context = json.loads(_decoded(value) or b"")
    except (ValueError, RecursionError):
        context = None
    if not isinstance(context, dict) or not all(isinstance(entry, str) for entry in context.values()):
        raise _invalid(f"{KMS_CONTEXT} is not the Base64 of a JSON object of strings.")


def _decoded(value: str) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None


def _invalid(why: str) -> CosError:
    return CosError("InvalidArgument", why)
