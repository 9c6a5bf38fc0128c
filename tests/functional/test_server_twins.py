"""A signature is valid for the signed parameters, not for repeated ones or ones in another case."""

from __future__ import annotations

import socket
import time

import pytest

import cosxfer
from cosxfer.cos import sign
from cosxfer.server import RunningServer


def response(server: RunningServer, target: str, authorization: str, *more: str) -> bytes:
    lines = [
        f"PUT {target} HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        f"Authorization: {authorization}",
        "Content-Length: 1",
        "Connection: close",
        *more,
    ]
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall("\r\n".join([*lines, "", "x"]).encode())
        received = b""
        while data := client.recv(65536):
            received += data
    return received


@pytest.fixture
def uploads(client: cosxfer.Client, server: RunningServer) -> tuple[str, str]:
    return tuple(client.multipart_init(server.bucket, "k").upload_id for _ in range(2))  # type: ignore[return-value]


def signed(server: RunningServer, upload_id: str) -> str:
    """A signature for part 1 of the upload."""
    return sign.authorization(
        server.credentials,
        method="PUT",
        path=f"/{server.bucket}/k",
        params={"partNumber": "1", "uploadId": upload_id},
        headers={"host": f"127.0.0.1:{server.port}"},
        key_time=sign.key_time(time.time(), life_seconds=600),
    )


@pytest.mark.parametrize(
    "query",
    [
        "partNumber=7&PARTNUMBER=1&uploadId={other}&UPLOADID={own}",
        "PARTNUMBER=1&partNumber=7&UPLOADID={own}&uploadId={other}",
        "partNumber=1&uploadId={own}&partNumber=7&uploadId={other}",
        "partNumber=7&partNumber=1&uploadId={other}&uploadId={own}",
        "%70artNumber=7&partNumber=1&%75ploadId={other}&uploadId={own}",
        "PARTNUMBER=1&UPLOADID={own}",
        "partnumber=1&uploadid={own}",
        "partNumber=7&uploadId={own}",
        "partNumber=1&uploadId={other}",
    ],
)
def test_a_signature_of_a_part_is_valid_for_that_part_only(
    client: cosxfer.Client, server: RunningServer, uploads: tuple[str, str], query: str
) -> None:
    own, other = uploads
    target = f"/{server.bucket}/k?{query.format(own=own, other=other)}"
    assert response(server, target, signed(server, own)).startswith(b"HTTP/1.1 4")
    for upload_id in uploads:
        assert list(client.iter_multipart_list_part(server.bucket, "k", upload_id=upload_id)) == []
    with pytest.raises(cosxfer.NotFoundError):
        client.head_object(server.bucket, "k")


def test_the_signed_part_is_accepted(client: cosxfer.Client, server: RunningServer, uploads: tuple[str, str]) -> None:
    own, _ = uploads
    target = f"/{server.bucket}/k?partNumber=1&uploadId={own}"
    assert response(server, target, signed(server, own)).startswith(b"HTTP/1.1 200")
    assert [part.size for part in client.iter_multipart_list_part(server.bucket, "k", upload_id=own)] == [1]


def test_a_second_authorization_is_refused(server: RunningServer, uploads: tuple[str, str]) -> None:
    own, _ = uploads
    target = f"/{server.bucket}/k?partNumber=1&uploadId={own}"
    again = f"Authorization: {signed(server, own)}"
    assert response(server, target, signed(server, own), again).startswith(b"HTTP/1.1 4")
