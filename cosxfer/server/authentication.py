"""Checks the signature of a request and finds its access key (source: product page 436/7778)."""

from __future__ import annotations

from collections.abc import Mapping

from cosxfer.cos.sign import SIGNATURE_FIELDS, ParsedSignature, parse_authorization, parse_signature
from cosxfer.credentials import Credentials
from cosxfer.limits import MAX_CLOCK_SKEW_SECONDS
from cosxfer.server.checks import http_date_of
from cosxfer.server.http import CosError, Request
from cosxfer.server.routing import misspelt


def authenticate(request: Request, keys: Mapping[str, Credentials]) -> Credentials | None:
    """Return the credentials that signed the request, or None without a signature. Raises `CosError` if it is refused.

    ``keys`` are the known credentials by their secret id.
    """
    header = request.headers.get("authorization", "")
    in_query = "q-signature" in request.query
    if not header and not in_query:
        return None
    signature = parse_authorization(header) if header else parse_signature(request.query)
    if signature is None:
        raise CosError("AccessDenied", "The authorization is malformed: a q-… field is missing or has a wrong form.")
    if request.query.ambiguous or misspelt(request.query) is not None:
        # Names are signed in lower case, so the operation might read another parameter than the signed one.
        raise CosError("SignatureDoesNotMatch", "A parameter is repeated, or its name has the wrong case.")
    credentials = credentials_of(signature.secret_id, keys)
    _check_time(request, signature, by_header=bool(header))
    token = request.headers.get("x-cos-security-token") or request.query.get("x-cos-security-token")
    check_token(token, credentials, now=request.now, name="x-cos-security-token")
    if not _matches(request, signature, credentials.secret_key):
        raise CosError(
            "SignatureDoesNotMatch",
            "The signature does not match: check the secret key, the signed path, headers and parameters.",
        )
    return credentials


def _check_time(request: Request, signature: ParsedSignature, *, by_header: bool) -> None:
    start, end = signature.window()
    skew = start - request.now
    # A pre-signed URL may be of any age. A header is made for one request.
    if by_header:
        skew = max(skew, request.now - end, abs(_date(request) - request.now))
    if skew > MAX_CLOCK_SKEW_SECONDS:
        raise CosError(
            "RequestTimeTooSkewed",
            f"The difference between the request time and the server's time is more than "
            f"{MAX_CLOCK_SKEW_SECONDS // 60} minutes.",
        )
    if end < request.now:
        raise CosError("AccessDenied", "Request has expired")


def _date(request: Request) -> float:
    date = http_date_of(request.headers, "date")
    return request.now if date is None else date


def credentials_of(secret_id: str, keys: Mapping[str, Credentials]) -> Credentials:
    """Return the known credentials with this id. Raises InvalidAccessKeyId."""
    if secret_id not in keys:
        raise CosError("InvalidAccessKeyId", "The access key id in the request does not exist.")
    return keys[secret_id]


def check_token(token: str | None, credentials: Credentials, *, now: float, name: str) -> None:
    """Raise AccessDenied or ExpiredToken if ``token``, which is called ``name``, is not that of the credentials."""
    if token != credentials.token:
        known = "needs its security token" if token is None else "was sent with a wrong security token"
        raise CosError("AccessDenied", f"The access key {known} ({name}).")
    if credentials.expires_at is not None and credentials.expires_at <= now:
        raise CosError("ExpiredToken", "The temporary key has expired.")


def _matches(request: Request, signature: ParsedSignature, secret_key: str) -> bool:
    params = {name: value for name, value in request.query.items() if name not in SIGNATURE_FIELDS}
    host = request.host
    bare_host = host if host.endswith("]") else host.rpartition(":")[0] or host
    # cos-python-sdk-v5 signs the host without its port, whatever Host header it sends.
    for signed_host in dict.fromkeys((host, bare_host)):
        headers = {**request.headers, "host": signed_host}
        if signature.matches(
            secret_key=secret_key, method=request.method, path=request.path, params=params, headers=headers
        ):
            return True
    return False
