"""Clients that send invalid or endless data are refused or disconnected, and the server keeps serving other clients."""

from __future__ import annotations

import resource
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_client import Response, ServerClient, raw, sign

from cosxfer.cos.form import content_type, head, tail
from cosxfer.limits import KIB, MIB
from cosxfer.server import RunningServer, running

HUGE = "9" * 5000


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running(allow_anonymous=True) as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[ServerClient]:
    """A client. After each test, the server must serve, have sent no status 500, and keep no incomplete file."""
    server.requests(clear=True)
    client = ServerClient(server)
    yield client
    assert client("PUT", "still-there", body=b"x").status == 200
    assert client("GET", "still-there").body == b"x"
    while files(server.root / "incoming"):
        pass
    assert [r for r in server.requests() if r["status"] == 500] == []
    client.close()


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def told(server: RunningServer, *pieces: bytes, then_end: bool = False) -> bytes:
    """Send bytes and return all that the server sends until it closes; empty after a reset."""
    said = b""
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
            if then_end:
                connection.shutdown(socket.SHUT_WR)
            while got := connection.recv(64 * KIB):
                said += got
        except (ConnectionResetError, BrokenPipeError):
            pass
    return said


def request(server: RunningServer, method: str, key: str, body: bytes = b"", **headers: str) -> bytes:
    """The bytes of a request with connection: close."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    signed = sign(server, method, key, headers={**names, "connection": "close"})
    lines = [f"{method} {signed.target} HTTP/1.1", *(f"{n}: {v}" for n, v in signed.headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


# Heads


def test_a_client_with_an_endless_head_is_disconnected(server: RunningServer, client: ServerClient) -> None:
    def endless() -> Iterator[bytes]:
        yield b"GET / HTTP/1.1\r\nHost: x\r\n"
        # More than all buffers between client and server can hold, so sending ends only when the server closes.
        for number in range(100_000):
            yield b"x-%d: " % number + b"y" * 1000 + b"\r\n"

    said = told(server, *endless())
    # If more of the head arrives after the response, the system resets the connection and the response is lost.
    assert said == b"" or said.startswith(b"HTTP/1.1 431 ")
    assert server.requests() == []


def test_a_huge_head_is_refused(server: RunningServer, client: ServerClient) -> None:
    assert told(server, request(server, "GET", "k", x_a="y" * 200 * KIB)).startswith(b"HTTP/1.1 431 ")


def test_over_http2_a_client_with_an_endless_head_is_disconnected(server: RunningServer, client: ServerClient) -> None:
    def frame(kind: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + stream.to_bytes(4, "big") + payload

    def endless() -> Iterator[bytes]:
        settings, headers, continuation = 4, 1, 9
        yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(settings, 0, b"")
        # A literal header that is not indexed: a name of one byte, and a value of 100.
        field = b"\x00\x01a\x64" + b"y" * 100
        yield frame(headers, 1, field)
        for _ in range(20_000):
            yield frame(continuation, 1, field * 100)

    told(server, *endless())
    assert server.requests() == []
    other = ServerClient(server, http2=True)
    assert other("PUT", "h2", body=b"x").status == 200
    other.close()


def test_many_slow_heads_do_not_delay_other_clients(server: RunningServer, client: ServerClient) -> None:
    slow = []
    for first in [b"G", b"GET / HTTP/1.1\r\nHost: x\r\nx-a: ", b"PRI * HT", b"\x16\x03\x01"] * 50:
        connection = socket.create_connection((server.host, server.port), timeout=30)
        connection.sendall(first)
        slow.append(connection)
    assert client("PUT", "meanwhile", body=bytes(MIB)).status == 200
    assert client("GET", "meanwhile").body == bytes(MIB)
    for connection in slow:
        connection.close()


@pytest.mark.parametrize(
    "head_bytes",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET /k\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nx y: b\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: " + HUGE.encode() + b"\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ],
)
def test_data_that_is_not_http_is_a_bad_request(server: RunningServer, client: ServerClient, head_bytes: bytes) -> None:
    assert told(server, head_bytes, then_end=True).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_data_that_is_not_http2_or_tls_ends_the_connection(server: RunningServer, client: ServerClient) -> None:
    assert b"HTTP/1.1 200" not in told(server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 1000, then_end=True)
    with running(tls=True) as secure:
        told(secure, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", then_end=True)
        with socket.create_connection((secure.host, secure.port)) as hello_of_65535_bytes:
            hello_of_65535_bytes.sendall(b"\x16\x03\x01\xff\xff" + b"\xff" * 1000)
        context = ssl.create_default_context(cafile=str(secure.ca_file))
        with (
            socket.create_connection((secure.host, secure.port), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 403"


@pytest.mark.parametrize(
    ("wanted", "status"), [(f"bytes={HUGE}-", 416), (f"bytes=1-{HUGE}", 206), (f"bytes=-{HUGE}", 206)]
)
def test_a_range_of_thousands_of_digits_is_a_number(client: ServerClient, wanted: str, status: int) -> None:
    assert client("PUT", "ranged", body=b"abc").status == 200
    assert client("GET", "ranged", headers={"range": wanted}).status == status


@pytest.mark.parametrize("value", ["a\r\nx-injected: b", "a\0", "a\x7f"])
def test_a_parameter_cannot_break_out_of_its_header(client: ServerClient, value: str) -> None:
    assert client("PUT", "k", body=b"x").status == 200
    response = client("GET", "k", params={"response-content-disposition": value})
    assert (response.status, response.code) == (400, "InvalidArgument")


# Bodies


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\nab\r\n0\r\n\r\n",
        b"-1\r\nab\r\n0\r\n\r\n",
        b"0x2\r\nab\r\n0\r\n\r\n",
        b"F" * 40 + b"\r\nab\r\n0\r\n\r\n",
        b"2\r\nabc\r\n0\r\n\r\n",
        b"2\r\nab0\r\n\r\n",
    ],
)
def test_invalid_chunks_are_a_bad_request_and_create_no_object(
    server: RunningServer, client: ServerClient, chunks: bytes
) -> None:
    said = told(server, request(server, "PUT", "chunks", chunks, transfer_encoding="chunked"))
    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert client("HEAD", "chunks").status == 404


def test_the_length_of_a_chunk_size_line_is_limited(server: RunningServer, client: ServerClient) -> None:
    told(server, request(server, "PUT", "chunks", b"2;" + b"x" * 32 * MIB, transfer_encoding="chunked"))
    assert client("HEAD", "chunks").status == 404


def test_endless_chunks_create_no_object(server: RunningServer, client: ServerClient) -> None:
    body = b"5\r\nhello\r\n"
    told(server, request(server, "PUT", "chunks", body, transfer_encoding="chunked"), then_end=True)
    assert client("HEAD", "chunks").status == 404


def form(fields: dict[str, str], body: bytes = b"the file") -> bytes:
    return head(fields, filename="f", boundary="b") + body + tail("b")


def post(server: RunningServer, body: bytes, length: int | None = None, *, then_end: bool = False) -> bytes:
    headers = {"content_length": str(len(body) if length is None else length), "content_type": content_type("b")}
    return told(server, request(server, "POST", "", body, **headers), then_end=then_end)


@pytest.mark.parametrize("missing", [1, 5, 20])
def test_an_endless_form_creates_no_object(server: RunningServer, client: ServerClient, missing: int) -> None:
    whole = form({"key": "unended"})
    cut = whole[: -len(tail("b"))] + tail("b")[:-missing] if missing < 5 else whole[:-missing]
    if missing >= 5:
        assert b"MalformedPOSTRequest" in post(server, cut)
        assert client("HEAD", "unended").status == 404
    # A form whose connection closes before the announced length is not stored either.
    post(server, whole[: len(whole) - 20], len(whole), then_end=True)
    assert client("HEAD", "unended").status == 404


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-cos-meta-a", "b\r\nx-injected: c"),
        ("x-cos-meta-a", "b\0"),
        ("x-cos-meta-a b", "c"),
        ("x-cos-meta-ü", "c"),
        ("Content-Type", "text/plain\r\n\r\n<script>"),
        ("success_action_redirect", "http://[x"),
        ("success_action_redirect", "http://x/\r\nx-injected: c"),
    ],
)
def test_a_form_field_that_is_no_valid_header_is_refused(
    server: RunningServer, client: ServerClient, name: str, value: str
) -> None:
    assert b"<Code>InvalidArgument</Code>" in post(server, form({"key": "fields", name: value}))
    assert client("HEAD", "fields").status == 404


# Keys


def exactly(server: RunningServer, method: str, key: str, body: bytes = b"", **params: str) -> Response:
    """Send the key unchanged; other clients normalize paths."""
    return raw(server, sign(server, method, key, params=params, headers={"content-length": str(len(body))}), body)


@pytest.mark.parametrize("key", ["a\0b", "\0", "../escaped", "../../../../escaped", "/etc/escaped", "a/../../escaped"])
def test_a_key_is_never_a_path(server: RunningServer, client: ServerClient, key: str) -> None:
    before = set(server.root.rglob("*"))
    assert b" 204 " in post(server, form({"key": key})).partition(b"\r\n")[0]
    assert exactly(server, "GET", key).body == b"the file"
    [new] = [path for path in set(server.root.rglob("*")) - before if path.is_file()]
    assert new.parent == server.root / "bodies"
    assert [path for path in server.root.parent.iterdir() if "escaped" in path.name] == []
    assert exactly(server, "DELETE", key).status == 204
    assert exactly(server, "GET", key).status == 404


def test_a_part_of_a_key_is_never_a_path(server: RunningServer, client: ServerClient) -> None:
    before = set(server.root.rglob("*"))
    key = "../../escaped"
    upload_id = exactly(server, "POST", key, uploads="").text("UploadId")
    assert exactly(server, "PUT", key, b"x", uploadId=upload_id, partNumber="1").status == 200
    [new] = [path for path in set(server.root.rglob("*")) - before if path.is_file()]
    assert new.parent == server.root / "bodies"
    assert exactly(server, "DELETE", key, uploadId=upload_id).status == 204


def test_a_key_that_xml_cannot_hold_starts_no_upload(server: RunningServer, client: ServerClient) -> None:
    response = exactly(server, "POST", "never\0begun", uploads="")
    assert (response.status, response.code) == (400, "InvalidArgument")
    assert client("GET", params={"uploads": "", "prefix": "never", "encoding-type": "url"}).texts("UploadId") == []


@pytest.mark.parametrize("character", "\x18\x19\x1a\x1b")
def test_the_control_characters_that_cos_forbids_are_refused(client: ServerClient, character: str) -> None:
    response = client("PUT", f"a{character}b", body=b"x")
    assert (response.status, response.code) == (400, "InvalidObjectName")


@pytest.mark.parametrize("target", ["/%00", "/..%2f..%2fetc%2fpasswd", "//etc/passwd", "/./../x", "/%c0%ae%c0%ae/x"])
def test_a_target_is_never_a_path(server: RunningServer, client: ServerClient, target: str) -> None:
    said = told(server, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert said.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 "))
    assert b"root:" not in said


# Documents


@pytest.mark.parametrize(
    "document",
    [
        b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><CompleteMultipartUpload>&b;</CompleteMultipartUpload>',
        b"<CompleteMultipartUpload>" + b"<a>" * 100_000,
        f"<CompleteMultipartUpload><Part><PartNumber>{HUGE}</PartNumber></Part></CompleteMultipartUpload>".encode(),
    ],
    ids=["entities", "depth", "digits"],
)
def test_a_document_made_to_exhaust_memory_is_malformed(client: ServerClient, document: bytes) -> None:
    upload_id = client.begin("k")
    response = client("POST", "k", params={"uploadId": upload_id}, body=document)
    assert (response.status, response.code) == (400, "MalformedXML")


# Resources


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits another process")
def test_connections_beyond_the_descriptor_limit_wait() -> None:
    with running() as server:
        for http2 in (False, True):
            client = ServerClient(server, http2=http2)
            assert client("HEAD").status == 200
            client.close()
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (64, 64))
        held = [socket.create_connection((server.host, server.port), timeout=30) for _ in range(100)]
        for connection in held:
            connection.close()
        for http2 in (False, True):
            client = ServerClient(server, http2=http2)
            assert client("PUT", "k", body=b"x").status == 200
            client.close()
        assert server.exit_status is None
        assert raw(server, sign(server, "GET", "k")).body == b"x"
