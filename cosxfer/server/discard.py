"""``--discard``: stores nothing, checks nothing and returns plausible responses. A sink for benchmarks.

It remembers only the sizes of the last uploads and objects, for HEAD and for the response to Complete; with a checksum
their CRC64 too.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs, unquote

from cosxfer._native import hashing
from cosxfer.cos import xml
from cosxfer.cos.headers import decode_headers
from cosxfer.server import checks, cors
from cosxfer.server.body import Receive
from cosxfer.server.call import http_date
from cosxfer.server.http import ClientGone, CosError

Send = Callable[[Mapping[str, Any]], Awaitable[None]]

T = TypeVar("T")

REMEMBERED = 4096
_ETAG = '"00000000000000000000000000000000"'
_PARTS_ETAG = '"discarded-1"'
_DATE = http_date(0)
_COMMON = ((b"server", b"tencent-cos"), (b"x-cos-request-id", base64.b64encode(secrets.token_bytes(24))))


class DiscardApplication:
    def __init__(self, *, host: str, checksum: bool = False) -> None:
        """``host`` is the address that the server listens on. ``checksum`` computes the CRC64 of each body."""
        self._host = host
        self._checksum = checksum
        self._uploads: OrderedDict[str, dict[int, _Content]] = OrderedDict()
        self._objects: OrderedDict[str, _Content] = OrderedDict()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            # Before the body, so that a request from a web page is not even read.
            cors.check_local(decode_headers(scope["headers"]), host=self._host)
            status, headers, body = await self._take(scope, receive)
        except ClientGone:
            return
        except CosError as error:
            status, headers, body = _document(error.status, "Error", [("Code", error.code), ("Message", error.message)])
        await send({"type": "http.response.start", "status": status, "headers": [*headers, *_COMMON]})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _take(self, scope: Mapping[str, Any], receive: Receive) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        size = crc64 = 0
        method = scope["method"]
        if method in ("PUT", "POST"):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientGone
                size += len(message["body"])
                if self._checksum:
                    crc64 = hashing.crc64(message["body"], crc64)
                if not message["more_body"]:
                    break
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        return self._respond(scope, method, query, _Content(size, crc64))

    def _respond(
        self, scope: Mapping[str, Any], method: str, query: Mapping[str, list[str]], received: _Content
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        path = scope["path"]
        if method == "PUT":
            upload_id = query.get("uploadId", [""])[0]
            if upload_id:
                parts = self._uploads.get(upload_id, {})
                if self._checksum:
                    parts[checks.part_number({"partNumber": query.get("partNumber", ["1"])[0]})] = received
                else:
                    parts[0] = _Content(_whole(parts).size + received.size, 0)
                _remember(self._uploads, upload_id, parts)
            else:
                _remember(self._objects, path, received._replace(etag=_etag(scope["headers"])))
            headers = [(b"etag", _etag(scope["headers"]).encode()), (b"content-length", b"0")]
            return 200, headers + self._crc64(received), b""
        if method == "DELETE":
            return 204, [], b""
        if method == "POST":
            return self._post(path, query, received)
        if method == "HEAD" and not path.rstrip("/").count("/") > 1 and path not in self._objects:
            return 200, [(b"content-length", b"0")], b""
        if method == "HEAD" or (method == "GET" and path.strip("/") and not query):
            content = self._objects.get(path)
            if content is None or method == "GET":
                # Discarded content cannot be returned.
                return _document(404, "Error", [("Code", "NoSuchKey"), ("Message", "Everything is discarded.")])
            headers = _encoded({"content-length": content.size, "etag": content.etag, "last-modified": _DATE})
            return 200, headers + self._crc64(content), b""
        return _document(200, *_listing(query))

    def _crc64(self, content: _Content) -> list[tuple[bytes, bytes]]:
        return _encoded({"x-cos-hash-crc64ecma": content.crc64}) if self._checksum else []

    def _post(
        self, path: str, query: Mapping[str, list[str]], received: _Content
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        bucket, _, key = unquote(path).lstrip("/").partition("/")
        if "uploads" in query:
            upload_id = secrets.token_hex(24)
            _remember(self._uploads, upload_id, {})
            return _document(
                200, "InitiateMultipartUploadResult", [("Bucket", bucket), ("Key", key), ("UploadId", upload_id)]
            )
        if "uploadId" in query:
            whole = _whole(self._uploads.pop(query["uploadId"][0], {}))._replace(etag=_PARTS_ETAG)
            _remember(self._objects, path, whole)
            status, headers, body = _document(
                200,
                "CompleteMultipartUploadResult",
                [("Location", path.lstrip("/")), ("Bucket", bucket), ("Key", key), ("ETag", _PARTS_ETAG)],
            )
            return status, headers + self._crc64(whole), body
        position = checks.append_position({"position": query.get("position", ["0"])[0]}) + received.size
        return (
            200,
            _encoded({"etag": _ETAG, "x-cos-next-append-position": position, "content-length": 0}),
            b"",
        )


class _Content(NamedTuple):
    """What is left of discarded content."""

    size: int
    crc64: int
    etag: str = _ETAG
    """What PUT or Complete has returned. Some clients compare it with that of HEAD."""


def _whole(parts: Mapping[int, _Content]) -> _Content:
    size = crc64 = 0
    for _, part in sorted(parts.items()):
        size += part.size
        crc64 = hashing.crc64_combine(crc64, part.crc64, part.size)
    return _Content(size, crc64)


def _remember(contents: OrderedDict[str, T], name: str, content: T) -> None:
    contents[name] = content
    contents.move_to_end(name)  # a name that is used again is not an old one
    if len(contents) > REMEMBERED:
        contents.popitem(last=False)


def _encoded(headers: Mapping[str, object]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), str(value).encode()) for name, value in headers.items()]


def _etag(headers: list[tuple[bytes, bytes]]) -> str:
    """Return the ETag from Content-MD5, without hashing."""
    for name, value in headers:
        if name == b"content-md5":
            try:
                return f'"{base64.b64decode(value, validate=True).hex()}"'
            except binascii.Error:
                return _ETAG
    return _ETAG


def _listing(query: Mapping[str, list[str]]) -> tuple[str, xml.Tree]:
    if "uploadId" in query:
        return "ListPartsResult", [
            ("UploadId", query["uploadId"][0]),
            ("PartNumberMarker", 0),
            ("MaxParts", 1000),
            ("IsTruncated", "false"),
        ]
    if "uploads" in query:
        return "ListMultipartUploadsResult", [("MaxUploads", 1000), ("IsTruncated", "false")]
    return "ListBucketResult", [("MaxKeys", 1000), ("IsTruncated", "false")]


def _document(status: int, root: str, content: xml.Tree) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    try:
        body = xml.build(root, content)
    except xml.XmlError as error:
        # The document repeats a key or an upload id.
        raise CosError("InvalidArgument", "The request holds a character that XML cannot hold.") from error
    return status, [(b"content-type", b"application/xml"), (b"content-length", str(len(body)).encode())], body
