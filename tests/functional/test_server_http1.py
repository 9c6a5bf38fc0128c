"""The server's HTTP/1.1 with a client that reads late."""

from __future__ import annotations

import http.client
import socket
import ssl

import pytest

from cosxfer.limits import MIB
from cosxfer.server import running


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_slow_reader_with_connection_close_gets_everything(tls: bool) -> None:
    body = bytes(range(256)) * (16 * MIB // 256)
    with running(tls=tls, allow_anonymous=True) as server:
        context = ssl.create_default_context(cafile=str(server.ca_file)) if tls else None

        def connect() -> http.client.HTTPConnection:
            if context is None:
                return http.client.HTTPConnection(server.host, server.port)
            return http.client.HTTPSConnection(server.host, server.port, context=context)

        upload = connect()
        upload.request("PUT", f"/{server.bucket}/k", body)
        assert upload.getresponse().status == 200
        server.requests(clear=True)
        download = connect()
        download.request("GET", f"/{server.bucket}/k", headers={"Connection": "close"})
        response = download.getresponse()
        got = bytearray()
        # Read in small steps until the server has finished the request; the rest is then in the buffers.
        while not server.requests():
            got += response.read(64 * 1024)
        assert len(got) < len(body)
        got += response.read()
        assert got == body
        upload.close()
        download.close()


@pytest.mark.parametrize("body_bytes", [0, 1, 32 * MIB])
def test_plain_http_at_a_tls_port_is_reported(body_bytes: int) -> None:
    with running(tls=True) as server:
        plain = http.client.HTTPConnection(server.host, server.port)
        # The client sends the whole body before it reads the response.
        plain.request("PUT", f"/{server.bucket}/k", bytes(body_bytes))
        response = plain.getresponse()
        assert response.status == 400
        assert b"The plain HTTP request was sent to HTTPS port" in response.read()
        plain.close()
        with socket.create_connection((server.host, server.port)) as other:
            other.sendall(b"HELLO\r\n\r\n")
            assert other.recv(1 << 16).startswith(b"HTTP/1.1 400 ")
