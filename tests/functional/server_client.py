"""A small client for the tests of the server: signs a request, sends it and returns the response."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

import httpx

from cosxfer.cos.sign import authorization, presigned_params
from cosxfer.credentials import Credentials
from cosxfer.server import RunningServer


@dataclass(frozen=True, kw_only=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    http_version: str = "HTTP/1.1"

    @property
    def xml(self) -> ET.Element:
        return ET.fromstring(self.body)

    @property
    def code(self) -> str:
        """The COS error code; empty if the body is not an error."""
        if not self.body.lstrip().startswith(b"<?xml") or b"<Error>" not in self.body:
            return ""
        return self.xml.findtext("Code", "")

    def text(self, name: str) -> str:
        return self.xml.findtext(f".//{name}", "")

    def texts(self, name: str) -> list[str]:
        return [element.text or "" for element in self.xml.iterfind(f".//{name}")]


@dataclass(frozen=True, kw_only=True)
class Signed:
    """A signed request, for any HTTP client."""

    method: str
    target: str
    headers: dict[str, str]


def sign(
    server: RunningServer,
    method: str,
    key: str = "",
    *,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    bucket: str | None = None,
    credentials: Credentials | None = None,
    times: tuple[int, int] | None = None,
    signed: bool = True,
    presigned: bool = False,
) -> Signed:
    """Path style; ``times`` are start and end of the signature, in seconds from now."""
    credentials = credentials or server.credentials
    path = f"/{bucket or server.bucket}/{key}"
    sent = {"host": f"{server.host}:{server.port}", **{n.lower(): v for n, v in (headers or {}).items()}}
    query = dict(params or {})
    now = int(time.time())
    start, end = times or (-60, 600)
    if credentials.token is not None and not presigned:
        sent["x-cos-security-token"] = credentials.token
    arguments: dict[str, Any] = {
        "method": method,
        "path": path,
        "params": query,
        "headers": sent,
        "key_time": f"{now + start};{now + end}",
    }
    if presigned:
        query = presigned_params(credentials, **arguments)
    elif signed:
        sent["authorization"] = authorization(credentials, **arguments)
    target = quote(path, safe="/-_.~") + (f"?{urlencode(query, quote_via=quote)}" if query else "")
    return Signed(method=method, target=target, headers=sent)


class ServerClient:
    """Sends with httpx, over HTTP/2 if ``http2`` is set."""

    def __init__(self, server: RunningServer, *, http2: bool = False) -> None:
        self.server = server
        verify: bool | ssl.SSLContext = False
        if server.ca_file is not None:
            verify = ssl.create_default_context(cafile=str(server.ca_file))
        self.httpx = httpx.Client(http1=not http2, http2=http2, verify=verify, timeout=30, trust_env=False)

    def close(self) -> None:
        self.httpx.close()

    def __call__(self, method: str, key: str = "", *, body: Any = b"", **options: Any) -> Response:
        request = sign(self.server, method, key, **options)
        response = self.httpx.request(
            method,
            self.server.url + request.target,
            headers={name: value.encode() for name, value in request.headers.items()},
            content=body if body or method not in ("PUT", "POST") else b"",
        )
        return Response(
            status=response.status_code,
            headers=dict(response.headers),
            body=response.content,
            http_version=response.http_version,
        )

    def begin(self, key: str, **options: Any) -> str:
        """Initiate an upload, and return its id."""
        return self("POST", key, params={"uploads": ""}, **options).text("UploadId")

    def part(self, key: str, upload_id: str, number: int, body: Any, **options: Any) -> Response:
        return self("PUT", key, params={"partNumber": str(number), "uploadId": upload_id}, body=body, **options)

    def complete(self, key: str, upload_id: str, parts: list[tuple[int, str]], **options: Any) -> Response:
        listed = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{e}</ETag></Part>" for n, e in parts)
        document = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        return self("POST", key, params={"uploadId": upload_id}, body=document, **options)


def raw(server: RunningServer, request: Signed, body: bytes = b"") -> Response:
    """Send with http.client, and no headers but the given ones."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    try:
        connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, value.encode())
        connection.endheaders(body or None)
        response = connection.getresponse()
        return Response(
            status=response.status,
            headers={name.lower(): value for name, value in response.getheaders()},
            body=response.read(),
        )
    finally:
        connection.close()
