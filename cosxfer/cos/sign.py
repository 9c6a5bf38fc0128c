"""Creates and checks COS signatures (source: product page 436/7778), in headers and pre-signed URLs.

The sign key depends only on the secret key and the key time. A key time is reused for some minutes, so the sign key is
computed once for thousands of parts. Each part then costs one SHA-1 and one HMAC.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha1
from typing import Any
from urllib.parse import quote, unquote

from cosxfer.credentials import Credentials
from cosxfer.errors import UsageError
from cosxfer.records import dataclass

SIGNATURE_FIELDS = (
    "q-sign-algorithm",
    "q-ak",
    "q-sign-time",
    "q-key-time",
    "q-header-list",
    "q-url-param-list",
    "q-signature",
)

_SIGNED_HEADERS = frozenset(
    {
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-length",
        "content-md5",
        "content-type",
        "expect",
        "expires",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-unmodified-since",
        "origin",
        "pic-operations",
        "range",
    }
)


def is_signed_header(name: str) -> bool:
    """Whether the header (lower case) is signed."""
    return name in _SIGNED_HEADERS or name.startswith(("x-cos-", "x-ci-"))


_ESCAPED = re.compile(r"[^A-Za-z\d_.~-]", re.ASCII)
_ESCAPES = {chr(code): f"%{code:02X}" for code in range(128)}


def escape(value: str) -> str:
    """Percent-encode for a signature: everything but letters, digits and ``-_.~``, in upper-case hex."""
    # quote() runs Python code for every character, this only for those that change.
    return _ESCAPED.sub(_percent, value)


def _percent(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0]) or quote(match[0])


def folded(name: str) -> str:
    """Return the signed form of a header or parameter name. A signature cannot distinguish names with the same form."""
    # The same few names recur. Long names of others are not worth caching.
    return _folded_once(name) if len(name) <= 128 else escape(name).lower()


@lru_cache(maxsize=512)
def _folded_once(name: str) -> str:
    return escape(name).lower()


@lru_cache(maxsize=64)
def sign_key(secret_key: str, key_time: str) -> str:
    """Return ``SignKey`` in hex for a key time ``start;end``. Computed once for each pair."""
    return hmac.new(secret_key.encode(), key_time.encode(), sha1).hexdigest()


@lru_cache(maxsize=64)
def _keyed(key: str) -> tuple[Any, Any]:
    """Return the two SHA-1 states of an HMAC (RFC 2104) that have taken the key. A SHA-1 block has 64 bytes."""
    block = key.encode().ljust(64, b"\0")
    inner, outer = bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)
    return sha1(inner, usedforsecurity=False), sha1(outer, usedforsecurity=False)


def _hmac(key: str, message: bytes) -> str:
    """Return HMAC-SHA1 in hex; ``key`` is a sign key of 40 characters.

    The key is the same for thousands of requests. A copy of its states costs a third of ``hmac.digest``, which looks up
    the algorithm each time.
    """
    inner, outer = _keyed(key)
    inner, outer = inner.copy(), outer.copy()
    inner.update(message)
    outer.update(inner.digest())
    digest: str = outer.hexdigest()
    return digest


def key_time(now: float, *, life_seconds: int, hold_seconds: int = 300) -> str:
    """Return ``start;end``: the same for ``hold_seconds``, and valid for at least ``life_seconds`` from ``now``."""
    return _key_time(int(now) // hold_seconds * hold_seconds, hold_seconds + life_seconds)


@lru_cache(maxsize=16)
def _key_time(start: int, seconds: int) -> str:
    # It begins one minute early, for servers whose clock is slightly behind.
    return f"{start - 60};{start + seconds}"


def _check_names(names: Iterable[str], *, what: str, reserved: Iterable[str] = ()) -> None:
    """Raise `UsageError` if two names have the same signed form, or one belongs to the signature."""
    seen = {name: name for name in reserved}
    for name in names:
        if (other := seen.setdefault(folded(name), name)) is not name or name in reserved:
            raise UsageError(f"{what} {name!r} and {other!r} are the same name in a signature", name=what, value=name)


def _canonical(items: Iterable[tuple[str, str]]) -> tuple[str, str]:
    """Return ``a;b`` and ``a=1&b=2``, sorted by encoded lower-case key."""
    pairs = sorted([(folded(name), escape(value)) for name, value in items])
    return ";".join([k for k, _ in pairs]), "&".join([f"{k}={v}" for k, v in pairs])


def signature(
    *, method: str, path: str, params: str, headers: str, secret_key: str, sign_time: str, key_time: str
) -> str:
    """Return the hex signature of a decoded ``path`` and canonical ``params`` and ``headers``."""
    http_string = f"{method.lower()}\n{path}\n{params}\n{headers}\n"
    digest = sha1(http_string.encode(), usedforsecurity=False).hexdigest()
    to_sign = f"sha1\n{sign_time}\n{digest}\n"
    return _hmac(sign_key(secret_key, key_time), to_sign.encode())


Pairs = tuple[tuple[str, str], ...]


def _signed_parts(headers: Pairs, params: Pairs) -> tuple[str, str, str, str]:
    """Return the lists and the canonical forms of headers and parameters. Raises `UsageError`."""
    _check_names([name for name, _ in headers], what="header")
    _check_names([name for name, _ in params], what="parameter", reserved=SIGNATURE_FIELDS)
    return *_canonical([(n, v) for n, v in headers if is_signed_header(n)]), *_canonical(params)


# Requests for many short objects differ in their path alone.
_signed_parts_once = lru_cache(maxsize=64)(_signed_parts)


def authorization(
    credentials: Credentials,
    *,
    method: str,
    path: str,
    params: Mapping[str, str],
    headers: Mapping[str, str],
    key_time: str,
) -> str:
    """Return the value of the Authorization header.

    ``path`` is decoded and starts with ``/``. ``headers`` have lower-case names and include ``host``; headers that COS
    does not sign are skipped. The token of a temporary key must already be among the headers.
    """
    canonical = _signed_parts_once if method == "GET" else _signed_parts
    header_list, header_string, param_list, param_string = canonical(tuple(headers.items()), tuple(params.items()))
    signed = signature(
        method=method,
        path=path,
        params=param_string,
        headers=header_string,
        secret_key=credentials.secret_key,
        sign_time=key_time,
        key_time=key_time,
    )
    return (
        f"q-sign-algorithm=sha1&q-ak={credentials.secret_id}&q-sign-time={key_time}&q-key-time={key_time}"
        f"&q-header-list={header_list}&q-url-param-list={param_list}&q-signature={signed}"
    )


def for_many(
    credentials: Credentials, *, method: str, headers: Mapping[str, str], key_time: str, body: bool
) -> dict[str, bytes]:
    """Return what `cosxfer._native.heads.RequestHeads` signs requests with that differ in their path alone.

    ``headers`` are as in `authorization`, which has checked them. With a ``body``, Content-Length and Content-MD5 are
    among them and may differ too. Raises ValueError if they are not side by side in the text that is signed.
    """
    _, headers_text, _, _ = _signed_parts_once(tuple(headers.items()), ())
    before, rest = f"\n\n{headers_text}\n", ""
    if body:
        both = f"content-length={headers['content-length']}&content-md5={escape(headers['content-md5'])}"
        before, found, rest = before.partition(both)
        if not found:
            raise ValueError("other headers are between them")
    texts = {
        "sign_key": sign_key(credentials.secret_key, key_time),
        "signed_method": f"{method.lower()}\n",
        "signed_before": before,
        "signed_rest": rest,
        "to_sign": f"sha1\n{key_time}\n",
    }
    return {name: text.encode() for name, text in texts.items()}


def presigned_params(
    credentials: Credentials,
    *,
    method: str,
    path: str,
    params: Mapping[str, str],
    headers: Mapping[str, str],
    key_time: str,
) -> dict[str, str]:
    """Return the decoded query parameters of a pre-signed URL: ``params``, the token and the signature's fields."""
    if credentials.token is not None:
        _check_names(params, what="parameter", reserved=("x-cos-security-token",))
    fields = dict(
        pair.split("=", 1)
        for pair in authorization(
            credentials, method=method, path=path, params=params, headers=headers, key_time=key_time
        ).split("&")
    )
    token = {} if credentials.token is None else {"x-cos-security-token": credentials.token}
    return {**params, **fields, **token}


@dataclass(frozen=True, kw_only=True)
class ParsedSignature:
    """A parsed signature, for a server. Lists contain encoded lower-case names."""

    secret_id: str
    sign_time: str
    key_time: str
    header_list: tuple[str, ...]
    param_list: tuple[str, ...]
    signature: str

    def window(self) -> tuple[int, int]:
        """Return start and end (Unix seconds) of the signature's validity: the overlap of sign time and key time."""
        times = [tuple(map(int, text.split(";"))) for text in (self.sign_time, self.key_time)]
        return max(t[0] for t in times), min(t[1] for t in times)

    def matches(
        self, *, secret_key: str, method: str, path: str, params: Mapping[str, str], headers: Mapping[str, str]
    ) -> bool:
        """Whether the signature matches this request. Compares in constant time."""
        chosen_params = _chosen(params, self.param_list)
        chosen_headers = _chosen(headers, self.header_list)
        if chosen_params is None or chosen_headers is None:
            return False
        expected = signature(
            method=method,
            path=path,
            params=_canonical(chosen_params)[1],
            headers=_canonical(chosen_headers)[1],
            secret_key=secret_key,
            sign_time=self.sign_time,
            key_time=self.key_time,
        )
        return hmac.compare_digest(expected.encode(), self.signature.encode())


def parse_signature(fields: Mapping[str, str]) -> ParsedSignature | None:
    """Parse the ``q-…`` fields of a header or a query. Returns None if one is missing or malformed."""
    if any(name not in fields for name in SIGNATURE_FIELDS) or fields["q-sign-algorithm"] != "sha1":
        return None
    times = (fields["q-sign-time"], fields["q-key-time"])
    for text in times:
        start, _, end = text.partition(";")
        if not (start.isascii() and start.isdigit() and end.isascii() and end.isdigit() and len(text) < 42):
            return None
    return ParsedSignature(
        secret_id=fields["q-ak"],
        sign_time=times[0],
        key_time=times[1],
        header_list=_names(fields["q-header-list"]),
        param_list=_names(fields["q-url-param-list"]),
        signature=fields["q-signature"],
    )


def parse_authorization(value: str) -> ParsedSignature | None:
    """Parse an Authorization header. Returns None if it is not a COS signature or repeats a field."""
    pairs = [pair.partition("=") for pair in value.split("&")]
    fields = {name.strip(): text for name, _, text in pairs}
    return parse_signature(fields) if len(fields) == len(pairs) else None


def _names(text: str) -> tuple[str, ...]:
    return (
        tuple(name for name in unquote(text).split(";") if name)
        if "%3B" in text
        else tuple(filter(None, text.split(";")))
    )


def _chosen(available: Mapping[str, str], encoded_names: tuple[str, ...]) -> list[tuple[str, str]] | None:
    """Return the named pairs; None if one is missing or repeated, or if two names have one signed form."""
    by_name = {folded(name): (name, value) for name, value in available.items()}
    listed = [name.lower() for name in encoded_names]
    if len(by_name) != len(available) or len(set(listed)) != len(listed):
        return None
    chosen = [by_name.get(name) for name in listed]
    return None if None in chosen else [pair for pair in chosen if pair is not None]
