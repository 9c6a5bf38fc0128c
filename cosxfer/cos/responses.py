"""From an HTTP answer to a record or an error. The status is read before the body; an Error in a 200 is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from cosxfer.cos import codes, xml
from cosxfer.cos.header_values import META_PREFIX
from cosxfer.errors import AccessDeniedError, NotFoundError, ProtocolError, ServerError, ThrottledError
from cosxfer.foreign import foreign, shorten
from cosxfer.models import Identity, Result

_ADVICE = {
    "SignatureDoesNotMatch": "check the secret key",
    "InvalidAccessKeyId": "check the secret id",
    "NoSuchBucket": "check the bucket's name, its APPID and the region",
    "RequestTimeTooSkewed": "set this machine's clock",
    "PathStyleDomainForbidden": "use an endpoint with {bucket} in its host",
}

_LONGEST_FOREIGN_BODY = 200
_LONGEST_MESSAGE = 1000


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    """An answer as the transport received it. Header names are lower case; repeated ones are joined with a comma."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    """Empty where it went to the request's ``on_body``."""
    http_version: str = "HTTP/1.1"

    @property
    def request_id(self) -> str:
        return self.headers.get("x-cos-request-id", "")


def common(response: HttpResponse) -> dict[str, Any]:
    """The fields of `cosxfer.models.Result`."""
    return {"status_code": response.status, "headers": response.headers, "request_id": response.request_id}


def error_of(response: HttpResponse, *, operation: str) -> ServerError | None:
    """Return the error that ``response`` stands for, or None. ``operation`` says what was asked, for the message."""
    if 200 <= response.status < 300:
        return _error_in_success(response, operation)
    fields = _error_fields(response.body)
    return _error(response, fields, operation)


def _error_in_success(response: HttpResponse, operation: str) -> ServerError | None:
    # COS may send spaces for minutes before it says how a Complete went.
    if b"<Error" not in response.body.lstrip()[:512]:
        return None
    fields = _error_fields(response.body)
    return _error(response, fields, operation) if fields.get("Code") else None


def _error_fields(body: bytes) -> dict[str, str]:
    try:
        root = xml.parse(body, root="Error", bounds=xml.SMALL)
    except xml.XmlError:
        return {}
    return {child.tag: (child.text or "").strip() for child in root}


def _error(response: HttpResponse, fields: Mapping[str, str], operation: str) -> ServerError:
    code = fields.get("Code", "")
    usual = codes.CODES.get(code)
    # An error inside a 200 is judged by the status that its code usually has.
    status = response.status if response.status >= 300 or usual is None else usual.status
    request_id = fields.get("RequestId") or response.request_id
    message = _message(response, fields, operation, request_id)
    known: dict[str, Any] = {
        "status": response.status,
        "code": code,
        "resource": fields.get("Resource", ""),
        "request_id": request_id,
        "trace_id": fields.get("TraceId") or response.headers.get("x-cos-trace-id", ""),
        "headers": response.headers,
    }
    if (status == 503 and code != "NotImplemented") or status == 429:
        return ThrottledError(message, retry_after_seconds=retry_after(response.headers), **known)
    kind = AccessDeniedError if status == 403 else NotFoundError if status == 404 else ServerError
    return kind(message, retryable=codes.is_retryable(status, code), **known)


def _message(response: HttpResponse, fields: Mapping[str, str], operation: str, request_id: str) -> str:
    code = fields.get("Code", "")
    if code:
        said = f"{foreign(code, 80)}: {foreign(fields.get('Message', ''), _LONGEST_MESSAGE)}".rstrip(": ")
    elif response.body:
        # Not COS's own XML: a proxy, a captive portal, another service.
        text = bytes(response.body[:_LONGEST_FOREIGN_BODY]).decode("utf-8", "replace")
        said = f"the answer is not COS's: {' '.join(text.split())!r}"
    else:
        said = "no further reason was given"
    parts = [f"{operation}: the server answered {response.status}, {said}"]
    # Without the query, which may hold a signature.
    if 300 <= response.status < 400 and (elsewhere := response.headers.get("location", "").partition("?")[0]):
        parts.append(f"(it leads to {shorten(elsewhere, 200)}; check the endpoint and the region)")
    if code in _ADVICE:
        parts.append(f"({_ADVICE[code]})")
    if request_id:
        parts.append(f"[request id {foreign(request_id)}]")
    return " ".join(parts)


def document(response: HttpResponse, root: str, *, operation: str, bounds: xml.Bounds = xml.SMALL) -> Element:
    """The XML document in a successful answer; raises `ProtocolError` if it is none, or exceeds ``bounds``."""
    try:
        return xml.parse(response.body, root=root, bounds=bounds)
    except xml.XmlError as error:
        raise malformed(operation, str(error)) from error


def malformed(operation: str, why: str) -> ProtocolError:
    """The error for an answer that COS would not send."""
    return ProtocolError(f"{operation}: the server's answer cannot be used: {why}")


def etag(response: HttpResponse, *, operation: str) -> str:
    """The ETag header with its quotes."""
    value = response.headers.get("etag", "")
    if not value:
        raise malformed(operation, "it has no ETag")
    return value


def etag_is_md5(response: HttpResponse | Result) -> bool:
    """Whether an answer about a body, not made of parts, leaves its ETag the MD5: not under a key of others than COS.

    A bucket may encrypt without being asked; its answers say so (source: product page 436/7729).
    """
    under_kms = response.headers.get("x-cos-server-side-encryption") == "cos/kms"
    return not under_kms and "x-cos-server-side-encryption-customer-algorithm" not in response.headers


def crc64(response: HttpResponse, *, operation: str) -> int | None:
    """``x-cos-hash-crc64ecma`` as a number, None where it is absent."""
    value = response.headers.get("x-cos-hash-crc64ecma", "").strip()
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 20) or int(value) >= 1 << 64:
        raise malformed(operation, f"x-cos-hash-crc64ecma is {value[:40]!r} and not a 64-bit number")
    return int(value)


def size(response: HttpResponse, *, operation: str) -> int:
    """Content-Length as a number."""
    value = response.headers.get("content-length", "")
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise malformed(operation, f"Content-Length is {value[:40]!r}")
    return int(value)


def metadata(response: HttpResponse) -> dict[str, str]:
    """The ``x-cos-meta-*`` headers without their prefix."""
    return {n.removeprefix(META_PREFIX): v for n, v in response.headers.items() if n.startswith(META_PREFIX)}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """``Retry-After`` in seconds; the form with a date is not used by COS and is ignored."""
    value = headers.get("retry-after", "").strip()
    return float(value) if value.isascii() and value.isdigit() and len(value) < 7 else None


_YEAR_2000, _YEAR_2200 = 946_684_800, 7_258_118_400


def server_time(response: HttpResponse) -> float | None:
    """The Date header as Unix seconds; None also for a time that no clock shows."""
    try:
        seconds = parsedate_to_datetime(response.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError, OSError):
        return None
    return seconds if _YEAR_2000 <= seconds < _YEAR_2200 else None


def identity(parent: Element, name: str) -> Identity | None:
    """``Initiator`` or ``Owner``."""
    element = parent.find(name)
    if element is None:
        return None
    return Identity(id=xml.text_of(element, "ID"), display_name=xml.text_of(element, "DisplayName"))


def decoder(encoding_type: str) -> Any:
    """What turns a name of a listing into text: percent-decoding where ``encoding-type=url`` was asked for."""
    return unquote if encoding_type == "url" else str
