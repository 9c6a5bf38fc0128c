"""What the server's own HTTP/1.1 owes to a client that reads late."""

from __future__ import annotations

import http.client
import ssl

import pytest

from cosxfer.limits import MIB
from cosxfer.server import running


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_late_reader_that_wants_the_connection_closed_gets_everything(tls: bool) -> None:
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
        answer = download.getresponse()
        got = bytearray()
        # In small steps until the server is done with the request: what is left then waits in its buffers.
        while not server.requests():
            got += answer.read(64 * 1024)
        assert len(got) < len(body)
        got += answer.read()
        assert got == body
        upload.close()
        download.close()
