"""Requests, responses and errors of the operations, independent of ASGI and sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import field
from urllib.parse import parse_qsl, unquote_to_bytes

from cosxfer.cos import xml
from cosxfer.cos.codes import CODES
from cosxfer.cos.sign import folded
from cosxfer.records import dataclass

XML_TYPE = "application/xml"


class CosError(Exception):
    """An error response: a COS code with its usual status, or with ``status``."""

    def __init__(
        self, code: str, message: str, *, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        usual = CODES.get(code)
        self.status = status or (usual.status if usual else 400)
        self.headers = dict(headers or {})


class ClientGone(Exception):  # noqa: N818 (an event, not an error)
    """The client closed the connection or the stream before the body was complete."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """The head of a request."""

    method: str
    path: str
    """The decoded path, which is signed. In path style it begins with the bucket."""
    query: Query
    headers: Mapping[str, str] = field(repr=False)
    """Lower-case names; values as text (UTF-8, else Latin-1)."""
    http_version: str
    host: str
    """The Host header or ``:authority``, with its port."""
    scheme: str
    now: float
    """Unix seconds by the server's clock."""

    @property
    def content_length(self) -> int | None:
        value = self.headers.get("content-length", "")
        return int(value) if value.isascii() and value.isdigit() and len(value) <= 20 else None

    @property
    def expects_continue(self) -> bool:
        return self.headers.get("expect", "").lower() == "100-continue"

    @property
    def may_have_body(self) -> bool:
        """Whether bytes may follow the head."""
        if self.http_version == "2":
            return self.content_length != 0 and self.method in ("PUT", "POST")
        return bool(self.content_length) or "transfer-encoding" in self.headers


@dataclass(kw_only=True, slots=True)
class Response:
    """A response. ``body`` is bytes, or an iterator that yields ``content_length`` bytes."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    """Lower-case names."""
    body: bytes | AsyncIterator[bytes] = b""
    content_length: int | None = None
    """Length of an iterator. None sends it chunked."""


def xml_response(root: str, content: xml.Tree, *, status: int = 200) -> Response:
    """Return a response with an XML document. Raises InvalidArgument if XML cannot hold a name."""
    try:
        body = xml.build(root, content)
    except xml.XmlError as error:
        raise CosError("InvalidArgument", f"{error}; ask for encoding-type=url.") from error
    return Response(status=status, headers={"content-type": XML_TYPE}, body=body)


def error_body(error: CosError, *, resource: str, request_id: str, trace_id: str) -> bytes:
    """COS's error document (source: product page 436/7730)."""
    try:
        return xml.build("Error", _error_fields(error, resource, request_id, trace_id))
    except xml.XmlError:
        # The resource or the message quotes a character that XML cannot hold.
        plain = CosError(error.code, error.message.encode("ascii", "backslashreplace").decode(), status=error.status)
        return xml.build("Error", _error_fields(plain, "", request_id, trace_id))


def _error_fields(error: CosError, resource: str, request_id: str, trace_id: str) -> xml.Tree:
    return [
        ("Code", error.code),
        ("Message", error.message),
        ("Resource", resource),
        ("RequestId", request_id),
        ("TraceId", trace_id),
    ]


def decode_path(raw_path: bytes) -> str:
    """Return the path without percent-encoding. Raises InvalidURI if it is not UTF-8."""
    try:
        return unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError as error:
        raise CosError("InvalidURI", "The path is not UTF-8.") from error


def decode_query(raw_query: bytes) -> Query:
    """Parse a query. ``+`` is a space, as in forms, because the official SDKs write it so."""
    pairs = parse_qsl(raw_query.decode("utf-8", "replace"), keep_blank_values=True)
    return Query(pairs, ambiguous=len({folded(name) for name, _ in pairs}) != len(pairs))


class Query(dict[str, str]):
    """Decoded names and values. For a repeated name it has the last value."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = (), *, ambiguous: bool = False) -> None:
        super().__init__(pairs)
        self.ambiguous = ambiguous
        """True if a name is repeated or two names differ only in case. A signature cannot tell them apart."""
