"""AWS Signature Version 4, by header and in a pre-signed URL. Pure.

Source: "AWS Signature Version 4 for API requests" and "Authenticating Requests (AWS Signature Version 4)" of Amazon S3.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, unquote

from cosxfer.limits import MAX_CLOCK_SKEW_SECONDS
from cosxfer.records import dataclass
from cosxfer.server.http import CosError

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
MAX_EXPIRES_SECONDS = 7 * 24 * 3600
EMPTY_SHA256 = sha256(b"").hexdigest()

_HEADER = re.compile(
    rf"{ALGORITHM} +Credential=(?P<credential>[^,\s]+), *SignedHeaders=(?P<headers>[^,\s]+), *"
    r"Signature=(?P<signature>\w+)",
    re.ASCII,
)
_TIME = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_CREDENTIAL = re.compile(r"(?P<id>.+)/(?P<day>\d{8})/(?P<region>[^/]+)/s3/aws4_request", re.ASCII)

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """A signature and what it covers."""

    secret_id: str
    day: str
    region: str
    time: str
    """``20261128T120000Z``"""
    signed_headers: tuple[str, ...]
    value: str
    payload: str
    """The SHA-256 of the body in hexadecimal, or a word that says how the body is signed."""
    expires_seconds: int | None = None
    """Only of a pre-signed URL."""

    @property
    def scope(self) -> str:
        """What the key is derived for."""
        return f"{self.day}/{self.region}/s3/aws4_request"

    def signing_key(self, secret_key: str) -> bytes:
        """Return the key that is derived from ``secret_key`` for this day and region."""
        key = f"AWS4{secret_key}".encode()
        for part in (self.day, self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return key

    def matches(
        self, *, secret_key: str, method: str, paths: Sequence[str], pairs: Pairs, headers: Mapping[str, str]
    ) -> bool:
        """Whether this is the signature of the request. ``paths`` are the forms of its path that may be signed."""
        if any(name not in headers for name in self.signed_headers):
            return False
        lines = [f"{name}:{' '.join(headers[name].split())}\n" for name in self.signed_headers]
        key = self.signing_key(secret_key)
        for path in paths:
            canonical = "\n".join(
                [method, path, _canonical(pairs), "".join(lines), ";".join(self.signed_headers), self.payload]
            )
            text = "\n".join([ALGORITHM, self.time, self.scope, sha256(canonical.encode()).hexdigest()])
            if hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), self.value):
                return True
        return False

    def check_time(self, now: float) -> None:
        """Raise RequestTimeTooSkewed or AccessDenied."""
        made = datetime.strptime(self.time, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        skew = made - now if self.expires_seconds is not None else abs(made - now)
        if skew > MAX_CLOCK_SKEW_SECONDS:
            raise CosError(
                "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."
            )
        if self.expires_seconds is not None and now > made + self.expires_seconds:
            raise CosError("AccessDenied", "Request has expired")


def is_signed(headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
    """Whether the request has a signature of AWS, of this version or an older one."""
    return headers.get("authorization", "").startswith("AWS") or "X-Amz-Algorithm" in query


def parse(headers: Mapping[str, str], query: Mapping[str, str]) -> Signature | None:
    """Return the signature of a request, None if it has none. Raises `CosError` if it is malformed."""
    if header := headers.get("authorization", ""):
        if not header.startswith(ALGORITHM):
            raise CosError("InvalidRequest", f"The authorization mechanism is not supported; use {ALGORITHM}.")
        found = _HEADER.fullmatch(header.strip())
        if found is None:
            raise _malformed("it needs Credential, SignedHeaders and Signature")
        return _made(
            found["credential"],
            time=headers.get("x-amz-date", ""),
            signed_headers=found["headers"],
            value=found["signature"],
            payload=headers.get("x-amz-content-sha256", ""),
        )
    if "X-Amz-Algorithm" not in query:
        return None
    if query["X-Amz-Algorithm"] != ALGORITHM:
        raise _malformed(f"X-Amz-Algorithm must be {ALGORITHM}")
    expires = query.get("X-Amz-Expires", "")
    if not (expires.isascii() and expires.isdigit() and len(expires) <= 6 and int(expires) <= MAX_EXPIRES_SECONDS):
        raise _malformed(f"X-Amz-Expires must be a number of up to {MAX_EXPIRES_SECONDS} seconds")
    return _made(
        query.get("X-Amz-Credential", ""),
        time=query.get("X-Amz-Date", ""),
        signed_headers=query.get("X-Amz-SignedHeaders", ""),
        value=query.get("X-Amz-Signature", ""),
        payload=headers.get("x-amz-content-sha256", UNSIGNED),
        expires_seconds=int(expires),
    )


def _made(
    credential: str, *, time: str, signed_headers: str, value: str, payload: str, expires_seconds: int | None = None
) -> Signature:
    found = _CREDENTIAL.fullmatch(credential)
    if found is None:
        raise _malformed("Credential must be <access key>/<day>/<region>/s3/aws4_request")
    if not _TIME.fullmatch(time) or not time.startswith(found["day"]):
        raise _malformed("x-amz-date must be like 20261128T120000Z, of the day of the credential")
    try:
        datetime.strptime(time, "%Y%m%dT%H%M%SZ")  # only its form is checked
    except ValueError as error:
        raise _malformed("x-amz-date is no date") from error
    names = tuple(signed_headers.split(";"))
    if "host" not in names or list(names) != sorted(set(names)):
        raise _malformed("SignedHeaders must contain host, in alphabetical order")
    if not payload:
        raise CosError("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
    return Signature(
        secret_id=found["id"],
        day=found["day"],
        region=found["region"],
        time=time,
        signed_headers=names,
        value=value,
        payload=payload,
        expires_seconds=expires_seconds,
    )


def _malformed(why: str) -> CosError:
    return CosError("AuthorizationHeaderMalformed", f"The authorization is malformed: {why}.")


def signed_pairs(raw_query: str) -> Pairs:
    """Return the decoded parameters of a query that a signature covers. ``+`` stays a plus sign."""
    pairs = [one.partition("=") for one in raw_query.split("&") if one]
    decoded = [(unquote(name), unquote(value)) for name, _, value in pairs]
    return [(name, value) for name, value in decoded if name != "X-Amz-Signature"]


def signed_paths(raw_path: str) -> list[str]:
    """Return the forms of a path that clients sign: as it was sent, and encoded by the rules of Amazon."""
    return list(dict.fromkeys([raw_path, quote(unquote(raw_path), safe="/-_.~")]))


def _canonical(pairs: Pairs) -> str:
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)
