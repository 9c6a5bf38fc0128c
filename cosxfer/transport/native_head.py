"""Request heads for the native transport."""

from __future__ import annotations

from cosxfer.cos.requests import HttpRequest
from cosxfer.errors import UsageError

USER_AGENT = "cosxfer/0.1.0"


def head_of(request: HttpRequest) -> bytes:
    """The request head in HTTP/1.1 form. The I/O thread turns it into an HTTP/2 HEADERS frame if needed."""
    headers = request.headers
    lines = [f"{request.method} {request.target} HTTP/1.1\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
    if "user-agent" not in headers:
        lines.append(f"user-agent: {USER_AGENT}\r\n")
    if "accept-encoding" not in headers:
        lines.append("accept-encoding: identity\r\n")
    if request.content_length is None:
        lines.append("transfer-encoding: chunked\r\n")
    elif request.content_length and "content-length" not in headers:
        lines.append(f"content-length: {request.content_length}\r\n")
    lines.append("\r\n")
    text = "".join(lines)
    # A line break in a value would be another header or another request.
    if text.count("\n") != len(lines) or text.count("\r") != len(lines):
        raise UsageError("there is a line break in a header", name="headers")
    return text.encode()
