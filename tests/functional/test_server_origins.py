"""An anonymous server serves only this machine: no page of another site, and no host name that resolves to it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from cosxfer.server import RunningServer, running

FORM = b'--B\r\nContent-Disposition: form-data; name="key"\r\n\r\nevil\r\n--B\r\n'
FORM += b'Content-Disposition: form-data; name="file"; filename="f"\r\n\r\nx\r\n--B--\r\n'


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running(allow_anonymous=True) as server:
        yield server


def ask(server: RunningServer, method: str, *lines: str, host: str = "127.0.0.1", path: str = "evil") -> bytes:
    body = FORM if method == "POST" else b"x"
    kind = "multipart/form-data; boundary=B" if method == "POST" else "text/plain"
    head = [f"{method} /{server.bucket}/{path} HTTP/1.1", f"Host: {host}:{server.port}", f"Content-Type: {kind}"]
    head += [f"Content-Length: {len(body)}", "Connection: close", *lines, "", ""]
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall("\r\n".join(head).encode() + body)
        received = b""
        while data := client.recv(65536):
            received += data
    return received


@pytest.mark.parametrize("origin", ["http://elsewhere.example", "null", "http://localhost:1", "http://127.0.0.1"])
@pytest.mark.parametrize(("method", "path"), [("PUT", "evil"), ("POST", ""), ("DELETE", "evil"), ("GET", "evil")])
def test_a_request_of_a_page_is_refused(server: RunningServer, origin: str, method: str, path: str) -> None:
    received = ask(server, method, f"Origin: {origin}", path=path)
    assert received.startswith(b"HTTP/1.1 403")
    assert b"access-control-allow-origin" not in received.lower()
    assert ask(server, "GET").startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_that_another_site_began_is_refused(server: RunningServer, site: str) -> None:
    assert ask(server, "POST", f"Sec-Fetch-Site: {site}", path="").startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("host", ["elsewhere.example", "127.0.0.1.elsewhere.example", "10.0.0.1", "localhost.example"])
def test_a_name_of_another_host_is_refused(server: RunningServer, host: str) -> None:
    assert ask(server, "PUT", host=host).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "bucket-1250000000.localhost"])
def test_a_name_of_this_machine_is_served(server: RunningServer, host: str) -> None:
    assert not ask(server, "GET", host=host).startswith(b"HTTP/1.1 403")


def test_a_form_without_a_page_is_taken(server: RunningServer) -> None:
    assert ask(server, "POST", path="").startswith(b"HTTP/1.1 204")


def test_the_same_applies_over_http2(server: RunningServer) -> None:
    with httpx.Client(http1=False, http2=True) as client:
        url = f"{server.url}/{server.bucket}/k"
        assert client.put(url, content=b"x").status_code == 200
        assert client.put(url, content=b"y", headers={"origin": "null"}).status_code == 403
        assert client.put(url, content=b"y", headers={"host": "elsewhere.example"}).status_code == 403
        assert client.get(url).content == b"x"
