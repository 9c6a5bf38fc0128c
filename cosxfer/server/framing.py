"""Finds where a request on an HTTP/1.1 connection ends, strictly by RFC 9112. No I/O here.

The bytes then go to h11. By itself, h11 accepts folded lines and bare line feeds, has no limit for a head that arrives
at once, and needs quadratic time for a long run of spaces. This module refuses all of these.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus

from h11 import RemoteProtocolError

from cosxfer.limits import KIB

MAX_HEAD_BYTES = 64 * KIB
MAX_HEADER_LINES = 200
MAX_TRAILER_BYTES = 8 * KIB
MAX_CHUNK_LINE_BYTES = 1 * KIB
MAX_EXTENSION_BYTES = 16 * KIB
"""All chunk extensions of one body together."""

_END = b"\r\n\r\n"
_STRAY = re.compile(rb"(?<!\r)\n|\r[^\n]")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_HOST = re.compile(rb"(?:[A-Za-z\d._~-]+|\[[\dA-Fa-f:.]+\])(?::\d{1,5})?")
_LENGTH = re.compile(rb"\d{1,20}")
_CHUNK_SIZE = re.compile(rb"[\dA-Fa-f]{1,16}")


class RequestFraming:
    """Accepts a connection's bytes in pieces of any size. `take` returns those of the current request.

    It removes extensions and trailers from a chunked body. Raises `h11.RemoteProtocolError`, whose hint is the status
    of the response.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._left = 0
        self._extension_bytes = 0
        self._state: Callable[[], bytes | None] = self._head

    @property
    def has_input(self) -> bool:
        """Whether the buffer has bytes."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def take(self) -> bytes:
        """Return the bytes of the current request in the buffer: nothing after its end, and no partial line."""
        passed = []
        while (piece := self._state()) is not None:
            passed.append(piece)
        return b"".join(passed)

    def end_of_input(self) -> None:
        """The client has closed its side. An incomplete head is an error."""
        if self._state == self._head and self._buffer:
            raise _refused("The connection ended inside the head.")

    def next_request(self) -> None:
        self._state = self._head
        self._extension_bytes = 0

    # Each state returns the bytes that it consumed, or None if it needs more.

    def _head(self) -> bytes | None:
        if not self._searched and self._buffer.startswith(b"\r\n"):
            # RFC 9112, section 2.2: one empty line before a request is ignored.
            del self._buffer[:2]
        head = self._section(MAX_HEAD_BYTES)
        if head is None:
            if self._buffer and self._buffer[0] < 0x21 and self._buffer != b"\r":
                raise _refused("The head does not begin with a method.")
            return None
        lines = head[: -len(_END)].split(b"\r\n")
        self._left, chunked = _check_head(lines)
        self._state = self._chunk_line if chunked else self._content
        return head

    def _content(self) -> bytes | None:
        piece = self._content_piece()
        if piece is None and not self._left:
            self._state = self._over
        return piece

    def _content_piece(self) -> bytes | None:
        if not self._left or not self._buffer:
            return None
        piece = bytes(memoryview(self._buffer)[: self._left])
        del self._buffer[: len(piece)]
        self._left -= len(piece)
        return piece

    def _chunk_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", 0, MAX_CHUNK_LINE_BYTES)
        if end < 0:
            if len(self._buffer) >= MAX_CHUNK_LINE_BYTES:
                raise _refused("The line before a chunk is too long.")
            return None
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        size, _, extension = line[:-2].partition(b";")
        self._extension_bytes += len(extension)
        if (
            not line.endswith(b"\r\n")
            or _CHUNK_SIZE.fullmatch(size) is None
            or _CONTROL.search(extension)
            or self._extension_bytes > MAX_EXTENSION_BYTES
        ):
            raise _refused("The line before a chunk is malformed.")
        self._left = int(size, 16)
        self._state = self._chunk if self._left else self._trailer
        return b"%x\r\n" % self._left if self._left else b""

    def _chunk(self) -> bytes | None:
        if self._left:
            return self._content_piece()
        if not b"\r\n".startswith(self._buffer[:2]):
            raise _refused("A chunk is longer than its size.")
        if len(self._buffer) < 2:
            return None
        del self._buffer[:2]
        self._state = self._chunk_line
        return b"\r\n"

    def _trailer(self) -> bytes | None:
        if self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]
        else:
            section = self._section(MAX_TRAILER_BYTES)
            if section is None:
                return None
            _fields(section[: -len(_END)].split(b"\r\n"))
        self._state = self._over
        return b"0\r\n\r\n"

    def _over(self) -> bytes | None:
        return None

    def _section(self, limit: int) -> bytes | None:
        """Return the lines up to an empty one. Each byte is examined once, even in small pieces."""
        start = max(0, self._searched - len(_END))
        end = self._buffer.find(_END, start, limit)
        size = end + len(_END) if end >= 0 else min(len(self._buffer), limit)
        if _STRAY.search(self._buffer, start, size):
            raise _refused("A line does not end in CR LF.")
        if end < 0:
            self._searched = size
            if len(self._buffer) >= limit:
                raise _refused("The head is too long.", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return None
        section = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._searched = 0
        return section


def _check_head(lines: list[bytes]) -> tuple[int, bool]:
    """Return the length of the body and whether it is chunked."""
    method, target, version = _request_line(lines[0])
    fields = _fields(lines[1:])
    hosts = fields.get(b"host", [])
    if len(hosts) > 1 or (not hosts and version == b"HTTP/1.1"):
        raise _refused("There must be one Host.")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise _refused("The Host is malformed.")
    _check_target(method, target, hosts)
    lengths, codings = fields.get(b"content-length", []), fields.get(b"transfer-encoding", [])
    if len(lengths) > 1 or any(_LENGTH.fullmatch(value) is None for value in lengths):
        raise _refused("The Content-Length is malformed.")
    if not codings:
        return int(lengths[0]) if lengths else 0, False
    if lengths or version != b"HTTP/1.1" or len(codings) > 1:
        raise _refused("The length of the body is ambiguous.")
    if codings[0].lower() != b"chunked":
        raise _refused("The Transfer-Encoding is not known.", HTTPStatus.NOT_IMPLEMENTED)
    return 0, True


def _request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    words = line.split(b" ")
    if len(words) != 3 or _TOKEN.fullmatch(words[0]) is None or _TARGET.fullmatch(words[1]) is None:
        raise _refused("The request line is malformed.")
    if words[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        known = words[2].startswith(b"HTTP/") and len(words[2]) == len(b"HTTP/1.1")
        raise _refused("The version is not known.", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED if known else 400)
    return words[0], words[1], words[2]


def _check_target(method: bytes, target: bytes, hosts: list[bytes]) -> None:
    """Refuse a target that is neither a path nor a URL of the host in the Host header."""
    if target.startswith(b"/"):
        return
    scheme, separator, rest = target.partition(b"://")
    authority = re.split(rb"[/?]", rest, maxsplit=1)[0]
    if not separator or scheme.lower() not in (b"http", b"https") or method == b"CONNECT":
        raise _refused("The target of the request is malformed.")
    if [authority.lower()] != [host.lower() for host in hosts]:
        raise _refused("The target of the request names another host.")


def _fields(lines: list[bytes]) -> dict[bytes, list[bytes]]:
    """Return all values by lower-case name."""
    if len(lines) > MAX_HEADER_LINES:
        raise _refused("There are too many headers.", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        # A folded line or a space before the colon is not a token.
        if not colon or _TOKEN.fullmatch(name) is None or _CONTROL.search(value):
            raise _refused("A header is malformed.")
        fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
    return fields


def _refused(why: str, status: int = HTTPStatus.BAD_REQUEST) -> RemoteProtocolError:
    return RemoteProtocolError(why, error_status_hint=status)
