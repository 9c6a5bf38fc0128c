"""The HTTP request of the transport, and the header parameters that uploads share."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from typing import Protocol, TypeAlias, TypedDict, cast
from urllib.parse import quote

from cosxfer.address import ObjectAddress
from cosxfer.arguments import (
    as_number,
    check_count,
    check_flag,
    check_mapping,
    check_names,
    check_text,
    warn_unknown_value,
    wrong_type,
)
from cosxfer.cos.content_types import content_type_of
from cosxfer.cos.endpoint import PATH_SAFE, Endpoint
from cosxfer.cos.header_values import (
    META_PREFIX,
    check_header_name,
    check_header_value,
    check_metadata_size,
    metadata_headers,
    number_text,
    same_header,
    showable,
)
from cosxfer.cos.responses import HttpResponse
from cosxfer.cos.sink import BodySink
from cosxfer.errors import UsageError
from cosxfer.foreign import shorten
from cosxfer.limits import MAX_TRAFFIC_LIMIT_BITS, MIN_TRAFFIC_LIMIT_BITS
from cosxfer.records import dataclass

Buffer: TypeAlias = bytes | bytearray | memoryview


class RepeatablePieces(Protocol):
    """Buffers that are sent in order. Each ``iter()`` starts from the beginning, so a retry can send them again.

    A body in a mapped file may also have ``mapped() -> memoryview | None``, which returns all bytes at once, and
    ``place() -> tuple[int, int]``: a descriptor that is open while that view is alive, and the offset in the file. A
    body that is read from a file may have ``async check()``, which raises if the file has changed.
    """

    def __iter__(self) -> Iterator[Buffer]: ...


class AttemptFollower(Protocol):
    """Follows the attempts of a request. It can end one that takes too long."""

    def begins(self, give_up: Callable[[str], None]) -> None:
        """An attempt begins. ``give_up(reason)`` ends it like a timeout, so it is retried as one."""
        ...

    def ends(self) -> None:
        """The attempt has ended, with a response or an error."""
        ...


Body: TypeAlias = Buffer | RepeatablePieces | AsyncIterable[Buffer]
"""All but an async iterable can be sent again."""


def can_be_sent_again(body: Body) -> bool:
    """Whether the body can be sent from its beginning: it can be read repeatedly or has not been ``started``."""
    return not isinstance(body, AsyncIterable) or not getattr(body, "started", True)


async def check_unchanged(body: Body) -> None:
    """Raise if the file of the body has changed, because a retry would fail again or send other content."""
    check: Callable[[], Awaitable[None]] | None = getattr(body, "check", None)
    if check is not None:
        await check()


@dataclass(frozen=True, kw_only=True)
class HttpRequest:
    """A request that a transport sends, already signed and escaped. Header names are lower case."""

    method: str
    endpoint: Endpoint
    target: str
    """Escaped path and query, as in the request line."""
    headers: Mapping[str, str] = field(repr=False)
    body: Body = field(default=b"", repr=False)
    content_length: int | None = 0
    """Bytes of the body; None sends it chunked."""
    stall_timeout_seconds: float = 60.0
    """How long the server may take to accept or send the next byte."""
    expect_continue: bool = False
    """The headers have ``Expect: 100-continue``: send the body after the server agrees or a timeout passes."""
    on_sent: Callable[[int], None] | None = None
    """Called with the number of body bytes that were given to the network since the last call."""
    on_body: Callable[[bytes], Awaitable[None] | None] | None = None
    """Called with each piece of the body of a 2xx response. The body is then not collected. If it returns an awaitable,
    the transport reads on when that is done. It must not raise."""
    sink: BodySink | None = field(default=None, repr=False)
    """Where the body of a 2xx response goes if it is what the sink expects. The body is then not collected, and
    ``on_sent`` gets the number of bytes that were received. A 2xx response that is something else is returned without
    its body. When `Transport.send` returns or raises, nothing is written any more."""
    head: bytes | None = field(default=None, repr=False)
    """The request head in HTTP/1.1 form if it is made already, with a signature that ``headers`` lacks."""

    @property
    def url(self) -> str:
        """The address without the query, for messages."""
        return f"{self.endpoint.scheme}://{self.endpoint.authority}{self.target.partition('?')[0]}"


@dataclass(frozen=True, kw_only=True)
class CosRequest:
    """A request before it has a signature, and what its sender wants to see of it."""

    method: str
    operation: str
    """The operation and its object, for messages: ``PUT Object 'a.txt'``."""
    address: ObjectAddress
    """An empty key addresses the bucket."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Query, decoded; an empty value is sent as the bare name."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Lower-case names."""
    body: Body = field(default=b"", repr=False)
    content_length: int | None = 0
    signed: bool = True
    """False: the body holds the signature, as that of a form does."""
    accepted: frozenset[int] = frozenset()
    """Statuses other than 2xx that are no errors."""
    stall_timeout_seconds: float | None = None
    """None means the client's."""
    max_attempts: int | None = None
    """How often the request may be sent; None means the client's number."""
    on_sent: Callable[[int], None] | None = None
    """Called with the number of bytes sent, negative if an attempt failed and they must be sent again."""
    on_attempt: Callable[[], None] | None = None
    """Called before each attempt."""
    follower: AttemptFollower | None = None
    on_body: Callable[[bytes], Awaitable[None] | None] | None = None
    """As in `HttpRequest`."""
    sink: BodySink | None = field(default=None, repr=False)
    """As in `HttpRequest`."""
    before_retry: Callable[[], Awaitable[None]] | None = None
    """Awaited before the request is sent again; what it raises ends the call."""
    check: Callable[[HttpResponse], None] | None = None
    """Refuses a response by raising."""
    on_conflict: Callable[[], Awaitable[HttpResponse | None]] | None = None
    """Called after a 409. It returns the response to use, or None to send the request again."""


def target(path: str, params: Mapping[str, str]) -> str:
    """Return path and query of the request line, from a decoded path and decoded parameters."""
    escaped = quote(path, safe=PATH_SAFE)
    if not params:
        return escaped
    query = "&".join(
        quote(name, safe="-_.~") + (f"={quote(value, safe='-_.~')}" if value else "") for name, value in params.items()
    )
    return f"{escaped}?{query}"


def content_md5(digest: bytes) -> str:
    """Return the value of Content-MD5 for a 16-byte digest."""
    return base64.b64encode(digest).decode()


def check_content_md5(value: str | None) -> bytes | None:
    """Return the digest in a Content-MD5 value given by the user; None stays None."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise wrong_type("content_md5", value, "a string")
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise UsageError(
            f"content_md5 is {shorten(value)}; it must be the 128-bit MD5 in base64 (24 characters)",
            name="content_md5",
            value=value,
        )
    return digest


class CustomerKey(TypedDict, total=False):
    """The customer's key of an object (SSE-C). Writing and reading need all three parameters, over HTTPS only."""

    sse_customer_algorithm: str | None
    """``AES256``."""
    sse_customer_key: str | None
    """The 32 bytes in base64."""
    sse_customer_key_md5: str | None
    """Their MD5 in base64."""


class HeadParameters(CustomerKey, total=False):
    """Parameters of `head_object`. If a condition does not hold, the error has the status 412 or 304."""

    if_match: str | None
    """An ETag, or several."""
    if_none_match: str | None
    if_modified_since: str | None
    """A date as in HTTP: ``Sat, 01 Jan 2000 00:00:00 GMT``."""
    if_unmodified_since: str | None


class GetParameters(HeadParameters, total=False):
    """Parameters of `get_object`. Each ``response_…`` replaces a header of the response, and needs a signed request."""

    response_cache_control: str | None
    response_content_disposition: str | None
    response_content_encoding: str | None
    response_content_language: str | None
    response_content_type: str | None
    response_expires: str | None


class PartHeaders(CustomerKey, total=False):
    """Parameters of every call that sends bytes. Each becomes a header; None omits it."""

    expect: str | None
    """``100-continue``: the body is not sent to a server that refuses the request."""
    traffic_limit: int | str | None
    """Bit/s per request, 819,200 to 838,860,800."""
    headers: Mapping[str, str | int] | None
    """Any other header. A whole number is sent in decimal digits."""


class AclHeaders(TypedDict, total=False):
    """The rights of an object. Each parameter becomes a header; None omits it."""

    acl: str | None
    """``default``, ``private``, ``public-read``, ``public-read-write`` or ``authenticated-read``."""
    grant_read: str | None
    """``id="[OwnerUin]"``, several separated by commas."""
    grant_read_acp: str | None
    grant_write_acp: str | None
    grant_full_control: str | None


class ObjectHeaders(PartHeaders, AclHeaders, total=False):
    """Parameters of every call that creates an object. Each becomes a header; None omits it."""

    cache_control: str | None
    content_disposition: str | None
    content_encoding: str | None
    content_type: str | None
    """Default: by the key's extension, from a table that is the same on every machine, else
    ``application/octet-stream``. For ``.csv.gz`` it is ``application/gzip``, or with ``content_encoding`` the type of
    ``.csv``."""
    expires: str | None
    forbid_overwrite: bool | None
    """True: 409 FileAlreadyExists if the object exists. COS ignores it in a bucket that ever had versioning."""
    storage_class: str | None
    """``STANDARD`` (the default), ``STANDARD_IA``, ``INTELLIGENT_TIERING``, ``ARCHIVE``, ``DEEP_ARCHIVE`` or ``MAZ_…``.
    An unknown value is sent with a warning in the log, because COS may have new ones."""
    metadata: Mapping[str, str | int] | None
    """Sent as ``x-cos-meta-*``, at most 2 KB. Names may have that prefix or not."""
    server_side_encryption: str | None
    """``AES256`` or ``cos/kms``."""
    sse_kms_key_id: str | None
    sse_context: str | None


SSE_CUSTOMER_KEY = "x-cos-server-side-encryption-customer-key"

_HEADER_OF = {
    "cache_control": "cache-control",
    "content_disposition": "content-disposition",
    "content_encoding": "content-encoding",
    "content_type": "content-type",
    "expires": "expires",
    "expect": "expect",
    "acl": "x-cos-acl",
    "grant_read": "x-cos-grant-read",
    "grant_read_acp": "x-cos-grant-read-acp",
    "grant_write_acp": "x-cos-grant-write-acp",
    "grant_full_control": "x-cos-grant-full-control",
    "storage_class": "x-cos-storage-class",
    "server_side_encryption": "x-cos-server-side-encryption",
    "sse_kms_key_id": "x-cos-server-side-encryption-cos-kms-key-id",
    "sse_context": "x-cos-server-side-encryption-context",
    "sse_customer_algorithm": "x-cos-server-side-encryption-customer-algorithm",
    "sse_customer_key": SSE_CUSTOMER_KEY,
    "sse_customer_key_md5": "x-cos-server-side-encryption-customer-key-md5",
}

KNOWN_VALUES = {
    "x-cos-acl": ("default", "private", "public-read", "public-read-write", "authenticated-read"),
    "x-cos-storage-class": (
        *("STANDARD", "STANDARD_IA", "INTELLIGENT_TIERING", "ARCHIVE", "DEEP_ARCHIVE"),
        *("MAZ_STANDARD", "MAZ_STANDARD_IA", "MAZ_INTELLIGENT_TIERING", "MAZ_ARCHIVE", "MAZ_DEEP_ARCHIVE"),
    ),
    "x-cos-server-side-encryption": ("AES256", "cos/kms", "SM4"),
    "x-cos-server-side-encryption-customer-algorithm": ("AES256", "SM4"),
}
"""Headers with known values. Other values are sent with a warning, because COS may have new ones."""

FORBID_OVERWRITE = "x-cos-forbid-overwrite"

_PLAIN = frozenset({*_HEADER_OF, "forbid_overwrite", "metadata", "traffic_limit", "headers"})

_CUSTOMER_KEY = tuple(_HEADER_OF[name] for name in CustomerKey.__annotations__)

_PART_HEADERS = ("expect", "x-cos-traffic-limit", *_CUSTOMER_KEY)
"""Headers of an object that each of its parts must repeat."""

_OURS = frozenset({"authorization", "content-length", "content-md5", "host"})

_OF_THE_CONNECTION = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers of the connection, not of the request (RFC 9110, 7.6.1). In HTTP/2 they break the connection."""


def object_headers(key: str, parameters: ObjectHeaders, *, guess_type: bool = True) -> dict[str, str]:
    """Return the headers for the parameters of a call that creates ``key``. Raises `UsageError` for a bad value.

    If ``guess_type`` is False, no content type is guessed from the key.
    """
    headers = _plain_headers(parameters)
    if guess_type and "content-type" not in headers:
        headers["content-type"] = content_type_of(key, unpacked="content-encoding" in headers)
    if "metadata" in parameters:
        metadata = metadata_headers(parameters["metadata"])
        if both := metadata.keys() & headers.keys():
            raise _set_twice(min(both), "metadata")
        headers.update(metadata)
    check_metadata_size(headers)
    return headers


def usual_headers(key: str) -> Mapping[str, str]:
    """Return `object_headers` without parameters: the same mapping for all keys of a type, which nobody changes."""
    return _only_type(content_type_of(key))


@lru_cache(maxsize=256)
def _only_type(content_type: str) -> Mapping[str, str]:
    return {"content-type": content_type}


def part_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those of an object's headers that each of its parts carries."""
    return _chosen(headers, _PART_HEADERS)


def customer_key_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those of an object's headers without which it cannot be read."""
    return _chosen(headers, _CUSTOMER_KEY)


def etag_may_be_md5(headers: Mapping[str, str]) -> bool:
    """Whether the ETag of an object with these headers is an MD5: no key of the KMS or of the customer encrypts it."""
    return headers.get("x-cos-server-side-encryption") != "cos/kms" and not customer_key_headers(headers)


def with_md5_metadata(headers: Mapping[str, str], md5_hex: str) -> dict[str, str]:
    """Return ``headers`` with ``x-cos-meta-md5``."""
    added = {**headers, f"{META_PREFIX}md5": md5_hex}
    check_metadata_size(added)
    return added


def reading_headers(parameters: HeadParameters) -> dict[str, str]:
    """Return the headers for the parameters of a call that reads an object. Raises `UsageError` for a bad value."""
    check_names(parameters, GetParameters.__annotations__)
    keys = {name: value for name, value in parameters.items() if name in CustomerKey.__annotations__}
    headers = _plain_headers(cast(PartHeaders, keys))
    for name, value in parameters.items():
        if name.startswith("if_"):
            check_text(value, name)
            if isinstance(value, str):
                header = name.replace("_", "-")
                check_header_value(header, value, argument=name)
                headers[header] = value
    return headers


def response_params(parameters: GetParameters) -> dict[str, str]:
    """Return the query for the ``response_…`` parameters. Raises `UsageError` for a bad value."""
    params = {}
    for name, value in parameters.items():
        if name.startswith("response_"):
            check_text(value, name)
            if isinstance(value, str):
                check_header_value(name, value, argument=name)
                params[name.replace("_", "-")] = value
    return params


def copy_conditions(**conditions: str | None) -> dict[str, str]:
    """Return the headers for conditions on the source of a copy. Raises `UsageError` for a bad value."""
    headers = {}
    for argument, value in conditions.items():
        check_text(value, argument)
        if value is not None:
            header = f"x-cos-copy-source-{argument.replace('_', '-')}"
            check_header_value(header, value, argument=argument)
            headers[header] = value
    return headers


def acl_headers(parameters: AclHeaders) -> dict[str, str]:
    """Return the headers for the rights of an object. Raises `UsageError` for a bad value."""
    check_names(parameters, AclHeaders.__annotations__)
    return _plain_headers(cast(PartHeaders, parameters))


def one_part_headers(parameters: PartHeaders) -> dict[str, str]:
    """Return the headers for the parameters of a call that sends one part. Raises `UsageError` for a bad value."""
    check_names(parameters, PartHeaders.__annotations__)
    return _plain_headers(parameters)


def _chosen(headers: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}


def _plain_headers(parameters: PartHeaders) -> dict[str, str]:
    if not parameters:
        return {}
    check_names(parameters, _PLAIN, hint="; pass other headers in headers={…}")
    headers = _other_headers(parameters.get("headers"))
    for name, header in _HEADER_OF.items():
        text = parameters.get(name)
        if text is None:
            continue
        if not isinstance(text, str):
            raise UsageError(
                f"{name} is {type(text).__name__}; it must be a string", name=name, value=showable(header, text)
            )
        if header in headers:
            raise _set_twice(header, name)
        check_header_value(header, text, argument=name)
        headers[header] = text
    _forbid_overwrite(parameters, headers)
    if headers.get("expect", "100-continue").lower() != "100-continue":
        raise UsageError(
            f"expect is {shorten(headers['expect'])}; it can only be 100-continue",
            name="expect",
            value=headers["expect"],
        )
    for header, known in KNOWN_VALUES.items():
        if header in headers and headers[header] not in known:
            warn_unknown_value(header, headers[header], known)
    limit = as_number(parameters.get("traffic_limit"))
    if limit is not None:
        check_count(
            limit, "traffic_limit", minimum=MIN_TRAFFIC_LIMIT_BITS, maximum=MAX_TRAFFIC_LIMIT_BITS, unit="bit/s"
        )
        if "x-cos-traffic-limit" in headers:
            raise _set_twice("x-cos-traffic-limit", "traffic_limit")
        headers["x-cos-traffic-limit"] = str(limit)
    return headers


def _forbid_overwrite(parameters: PartHeaders, headers: dict[str, str]) -> None:
    forbidden = cast(ObjectHeaders, parameters).get("forbid_overwrite")
    if forbidden is None:
        return
    check_flag(forbidden, "forbid_overwrite")
    if FORBID_OVERWRITE in headers:
        raise _set_twice(FORBID_OVERWRITE, "forbid_overwrite")
    if forbidden:
        headers[FORBID_OVERWRITE] = "true"


def forbids_overwrite(headers: Mapping[str, str]) -> bool:
    """Whether an object with these headers may not replace another one."""
    return headers.get(FORBID_OVERWRITE, "").lower() == "true"


def _other_headers(parameters: Mapping[str, str | int] | None) -> dict[str, str]:
    check_mapping(parameters, "headers", example='{"x-cos-acl": "private"}')
    headers: dict[str, str] = {}
    names: dict[str, str] = {}
    for name, value in (parameters or {}).items():
        lower = check_header_name(name)
        if lower in _OURS or lower in _OF_THE_CONNECTION:
            why = "is set by cosxfer" if lower in _OURS else "belongs to the connection"
            raise UsageError(f"the header {name!r} {why}; remove it", name="headers", value=name)
        if lower in headers:
            raise same_header(lower, names[lower], name, argument="headers")
        text = number_text(value)
        check_header_value(lower, text, argument="headers")
        headers[lower], names[lower] = text, name
    return headers


def _set_twice(header: str, name: str) -> UsageError:
    return UsageError(f"the header {header} is set by {name}= and by headers=; set it once", name=name)
