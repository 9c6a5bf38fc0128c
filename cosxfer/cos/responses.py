"""Turns an HTTP response into a record or an error. The status is read first. An Error in a 200 is an error too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from itertools import chain
from typing import TYPE_CHECKING, Any

from cosxfer.cos import codes, xml
from cosxfer.cos.header_values import META_PREFIX
from cosxfer.cos.xml_page import percent_decoded
from cosxfer.errors import AccessDeniedError, NotFoundError, ProtocolError, ServerError, ThrottledError
from cosxfer.foreign import foreign, shorten
from cosxfer.models import Identity, Result
from cosxfer.records import dataclass
from cosxfer.threads import import_lock

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_ADVICE = {
    "SignatureDoesNotMatch": "check the secret key",
    "InvalidAccessKeyId": "check the secret id",
    "NoSuchBucket": "check the bucket's name, its APPID and the region",
    "RequestTimeTooSkewed": "set this machine's clock",
    "PathStyleDomainForbidden": "use an endpoint with {bucket} in its host",
}

CRC64_HEADER = "x-cos-hash-crc64ecma"

_LONGEST_FOREIGN_BODY = 200
_LONGEST_MESSAGE = 1000


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    """A response of the transport. Header names are lower case; repeated headers are joined with a comma."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    """Empty if the request has ``on_body``."""
    http_version: str = "HTTP/1.1"
    connection_seconds: float = field(default=0.0, compare=False)
    """How long the request waited for a connection; 0 if the transport does not know it."""

    @property
    def request_id(self) -> str:
        return self.headers.get("x-cos-request-id", "")

    def header(self, name: str) -> str:
        """Return the value of one header; empty if there is none."""
        return self.headers.get(name, "")

    def proves(self, crc64: int, md5: bytes) -> bool:
        """Whether it is 200 without a body, has an ETag, and proves that a body with these checksums is stored.

        The CRC64 does, or if there is none the ETag.
        """
        etag, theirs = self.headers.get("etag"), self.headers.get(CRC64_HEADER)
        if self.status != 200 or self.body or not etag:
            return False
        return theirs == str(crc64) if theirs else etag == f'"{md5.hex()}"'

    def packed_headers(self) -> tuple[str, ...] | bytes:
        """Return the headers in a form for `unpacked`. The garbage collector does not visit it."""
        return tuple(chain.from_iterable(self.headers.items()))


def unpacked(packed: tuple[str, ...] | bytes) -> dict[str, str]:
    """Return the headers of `HttpResponse.packed_headers`."""
    if isinstance(packed, tuple):
        return dict(zip(packed[::2], packed[1::2], strict=True))
    from cosxfer._native.wire import headers_of  # it is loaded: only its responses have this form

    return headers_of(packed)


def common(response: HttpResponse) -> dict[str, Any]:
    """Return the fields of `cosxfer.models.Result`."""
    return {"status_code": response.status, "headers": response.headers, "request_id": response.request_id}


def error_of(response: HttpResponse, *, operation: str) -> ServerError | None:
    """Return the error in ``response``, or None. ``operation`` names the request in the message."""
    if 200 <= response.status < 300:
        return _error_in_success(response, operation)
    fields = _error_fields(response.body)
    return _error(response, fields, operation)


def _error_in_success(response: HttpResponse, operation: str) -> ServerError | None:
    # During Complete, COS may send spaces for minutes before the result.
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
    # An error inside a 200 gets the usual status of its code.
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
    return kind(message, retryable=codes.is_retryable(status, code) or _is_unreadable(response, request_id), **known)


def _is_unreadable(response: HttpResponse, request_id: str) -> bool:
    """Whether the HTTP server refused the request before COS saw it: it was cut or damaged on its way.

    COS gives each response a request id, and each 400 but that of HEAD a body.
    """
    return response.status == 400 and not response.body and not request_id


def _message(response: HttpResponse, fields: Mapping[str, str], operation: str, request_id: str) -> str:
    code = fields.get("Code", "")
    if code:
        said = f"{foreign(code, 80)}: {foreign(fields.get('Message', ''), _LONGEST_MESSAGE)}".rstrip(": ")
    elif response.body:
        # Not COS's XML: a proxy, a captive portal or another service.
        text = bytes(response.body[:_LONGEST_FOREIGN_BODY]).decode("utf-8", "replace")
        said = f"the response is not from COS: {' '.join(text.split())!r}"
    else:
        said = "without a reason"
    parts = [f"{operation}: the server returned {response.status}, {said}"]
    # Without the query, which may hold a signature.
    if 300 <= response.status < 400 and (elsewhere := response.headers.get("location", "").partition("?")[0]):
        parts.append(f"(a redirect to {shorten(elsewhere, 200)}; check the endpoint and the region)")
    if code in _ADVICE:
        parts.append(f"({_ADVICE[code]})")
    if request_id:
        parts.append(f"[request id {foreign(request_id)}]")
    return " ".join(parts)


def document(response: HttpResponse, root: str, *, operation: str, bounds: xml.Bounds = xml.SMALL) -> Element:
    """Return the XML document in a response. Raises `ProtocolError` if it is malformed or exceeds ``bounds``."""
    try:
        return xml.parse(response.body, root=root, bounds=bounds)
    except xml.XmlError as error:
        raise malformed(operation, str(error)) from error


def seconds_of(date: str) -> int:
    """Return the time of a header such as ``Last-Modified`` in seconds since 1970; 0 if it is none."""
    with import_lock:
        from email.utils import parsedate_to_datetime

    try:
        return int(parsedate_to_datetime(date).timestamp())
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0


def malformed(operation: str, why: str) -> ProtocolError:
    """Return the error for a response that COS would not send."""
    return ProtocolError(f"{operation}: malformed response from the server: {why}")


def etag(response: HttpResponse, *, operation: str) -> str:
    """Return the ETag header with its quotes."""
    value = response.headers.get("etag", "")
    if not value:
        raise malformed(operation, "it has no ETag")
    return value


def etag_is_md5(response: HttpResponse | Result) -> bool:
    """Whether the ETag in a response about a body or part is its MD5. It is not with a KMS key or a customer's key.

    A bucket may encrypt by default; its responses say so (source: product page 436/7729).
    """
    under_kms = response.headers.get("x-cos-server-side-encryption") == "cos/kms"
    return not under_kms and "x-cos-server-side-encryption-customer-algorithm" not in response.headers


def crc64(response: HttpResponse, *, operation: str) -> int | None:
    """Return ``x-cos-hash-crc64ecma`` as a number, or None without that header."""
    value = response.headers.get(CRC64_HEADER, "").strip()
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 20) or int(value) >= 1 << 64:
        raise malformed(operation, f"x-cos-hash-crc64ecma is {value[:40]!r} and not a 64-bit number")
    return int(value)


def size(response: HttpResponse, *, operation: str) -> int:
    """Return Content-Length as a number."""
    value = response.headers.get("content-length", "")
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise malformed(operation, f"Content-Length is {value[:40]!r}")
    return int(value)


def metadata(response: HttpResponse) -> dict[str, str]:
    """Return the ``x-cos-meta-*`` headers without their prefix."""
    return {n.removeprefix(META_PREFIX): v for n, v in response.headers.items() if n.startswith(META_PREFIX)}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return ``Retry-After`` in seconds. The form with a date is ignored, because COS does not use it."""
    value = headers.get("retry-after", "").strip()
    return float(value) if value.isascii() and value.isdigit() and len(value) < 7 else None


_YEAR_2000, _YEAR_2200 = 946_684_800, 7_258_118_400


def server_time(response: HttpResponse) -> float | None:
    """Return the Date header in Unix seconds, or None if it is missing, malformed or not between 2000 and 2200."""
    with import_lock:
        from email.utils import parsedate_to_datetime

    try:
        seconds = parsedate_to_datetime(response.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError, OSError):
        return None
    return seconds if _YEAR_2000 <= seconds < _YEAR_2200 else None


def identity(parent: Element, name: str) -> Identity | None:
    """Return ``Initiator`` or ``Owner``."""
    element = parent.find(name)
    if element is None:
        return None
    return Identity(id=xml.text_of(element, "ID"), display_name=xml.text_of(element, "DisplayName"))


def decoder(encoding_type: str) -> Any:
    """Return the function that decodes names of a listing: percent-decoding if ``encoding-type=url`` was requested."""
    return percent_decoded if encoding_type == "url" else str
