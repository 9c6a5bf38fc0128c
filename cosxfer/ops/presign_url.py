"""Pre-signed URLs: one request that anybody may send until the URL expires (source: product page 436/7778)."""

from __future__ import annotations

from collections.abc import Mapping

from cosxfer.address import ObjectAddress
from cosxfer.arguments import as_number, check_count, check_mapping, check_text
from cosxfer.bucket_models import PresignedUrl
from cosxfer.cos import sign
from cosxfer.cos.header_values import check_header_name, check_header_value, number_text
from cosxfer.cos.requests import target
from cosxfer.errors import CredentialsError, UsageError
from cosxfer.foreign import shorten
from cosxfer.ops.post_object import EARLY_SECONDS, LONGEST_SECONDS
from cosxfer.ops.session import Session

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")


async def presign_url(
    session: Session,
    address: ObjectAddress,
    *,
    method: str,
    expires_seconds: int | str,
    params: Mapping[str, str] | None,
    headers: Mapping[str, str | int] | None,
) -> PresignedUrl:
    """Sign a URL and send nothing. Host, ``params`` and ``headers`` are in the signature, so they cannot be changed."""
    seconds = check_count(
        as_number(expires_seconds), "expires_seconds", minimum=1, maximum=LONGEST_SECONDS, unit="seconds"
    )
    if method not in METHODS:
        raise UsageError(f"method is {shorten(method)}; it can be {', '.join(METHODS)}", name="method", value=method)
    query = _params(params)
    sent = _headers(headers)
    endpoint = session.endpoint(address)
    credentials = await session.credentials()
    if credentials is None:
        raise CredentialsError("an anonymous client cannot sign a URL; give the client keys")
    now = int(session.now())
    # A URL cannot outlive the temporary key that signs it.
    ends = min(now + seconds, int(credentials.expires_at or now + seconds))
    path = endpoint.path(address.key)
    signed = sign.presigned_params(
        credentials,
        method=method,
        path=path,
        params=query,
        headers={"host": endpoint.authority, **sent},
        key_time=f"{now - EARLY_SECONDS};{ends}",
    )
    session.endpoint(address, bind=True)
    url = f"{endpoint.scheme}://{endpoint.authority}{target(path, signed)}"
    return PresignedUrl(url=url, method=method, headers=sent, expires_at=ends)


def _params(params: Mapping[str, str] | None) -> dict[str, str]:
    check_mapping(params, "params", example='{"response-content-type": "text/plain"}')
    checked: dict[str, str] = {}
    for name, value in (params or {}).items():
        try:
            check_text(name, "params", optional=False)
            text = number_text(value)
            check_text(text, "params", optional=False)
        except UsageError as error:
            raise UsageError(f"params holds a wrong name or value: {error}", name="params") from None
        checked[name] = text
    return checked


def _headers(headers: Mapping[str, str | int] | None) -> dict[str, str]:
    check_mapping(headers, "headers", example='{"content-type": "text/plain"}')
    checked: dict[str, str] = {}
    for name, value in (headers or {}).items():
        lower = check_header_name(name)
        if lower in ("host", "authorization") or not sign.is_signed_header(lower) or lower in checked:
            raise UsageError(f"the header {name!r} cannot be part of a pre-signed URL", name="headers", value=name)
        text = number_text(value)
        check_header_value(lower, text, argument="headers")
        checked[lower] = text
    return checked
