"""Server-side encryption in the embedded server, checked against the examples of the COS docs, over both protocols."""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path

import pytest
from server_client import Response, ServerClient, sign

from cosxfer._native import hashing
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running

SSE = "x-cos-server-side-encryption"
BODY = b"sixteen bytes..."
KMS = {SSE: "cos/kms", f"{SSE}-cos-kms-key-id": "48ba38aa-26c5-11ea-855c-525400850000"}
CONTEXT = {f"{SSE}-context": base64.b64encode(b'{"author": "a"}').decode()}


def customer(key: bytes = b"0123456789ABCDEF0123456789ABCDEF") -> dict[str, str]:
    return {
        f"{SSE}-customer-algorithm": "AES256",
        f"{SSE}-customer-key": base64.b64encode(key).decode(),
        f"{SSE}-customer-key-MD5": base64.b64encode(md5(key).digest()).decode(),
    }


KINDS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "SSE-COS": ({SSE: "AES256"}, {SSE: "AES256"}),
    "SSE-KMS": ({**KMS, **CONTEXT}, KMS),
    "SSE-C": (
        customer(),
        {f"{SSE}-customer-algorithm": "AES256", f"{SSE}-customer-key-md5": "U5L61r7jcwdNvT7frmUG8g=="},
    ),
}
"""Headers of the request, and the headers of each response about the object."""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running(tls=True) as server:
        yield server


@pytest.fixture(params=[False, True], ids=["http1", "http2"])
def client(server: RunningServer, request: pytest.FixtureRequest) -> Iterator[ServerClient]:
    client = ServerClient(server, http2=request.param)
    yield client
    client.close()


def said(response: Response) -> dict[str, str]:
    assert response.status in (200, 206), response
    return {name: value for name, value in response.headers.items() if name.startswith(SSE)}


def to_read(kind: str) -> dict[str, str]:
    return customer() if kind == "SSE-C" else {}


def refused(response: Response, code: str) -> None:
    assert (response.status, response.code) == (400, code)


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_is_encrypted_as_requested(client: ServerClient, kind: str) -> None:
    sent, expected = KINDS[kind]
    put = client("PUT", "object", body=BODY, headers=sent)
    assert said(put) == expected
    assert put.headers["x-cos-hash-crc64ecma"] == str(hashing.crc64(BODY))
    assert (put.headers["etag"] == f'"{md5(BODY).hexdigest()}"') == (kind == "SSE-COS")
    head = client("HEAD", "object", headers=to_read(kind))
    got = client("GET", "object", headers={"range": "bytes=1-3", **to_read(kind)})
    assert said(head) == said(got) == expected
    assert got.body == BODY[1:4]
    assert head.headers["etag"] == got.headers["etag"] == put.headers["etag"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_multipart_upload_is_encrypted_as_initiate_requests(client: ServerClient, kind: str) -> None:
    sent, expected = KINDS[kind]
    begun = client("POST", "parts", params={"uploads": ""}, headers=sent)
    assert said(begun) == expected
    upload_id = begun.text("UploadId")
    bodies = [bytes(MIB), BODY]
    parts = [client.part("parts", upload_id, n, body, headers=to_read(kind)) for n, body in enumerate(bodies, 1)]
    etags = [part.headers["etag"] for part in parts]
    assert [said(part) for part in parts] == [expected, expected]
    assert (etags == [f'"{md5(body).hexdigest()}"' for body in bodies]) == (kind == "SSE-COS")
    assert client("GET", "parts", params={"uploadId": upload_id}).texts("ETag") == etags
    # Complete and List Parts need no key.
    done = client.complete("parts", upload_id, list(enumerate(etags, 1)))
    assert said(done) == expected
    assert done.headers["x-cos-hash-crc64ecma"] == str(hashing.crc64(b"".join(bodies)))
    got = client("GET", "parts", headers=to_read(kind))
    assert said(got) == expected
    assert (got.body, got.headers["etag"]) == (b"".join(bodies), done.text("ETag"))


def test_head_and_get_need_the_customers_key_of_an_object(client: ServerClient) -> None:
    assert client("PUT", "secret", body=BODY, headers=customer()).status == 200
    for headers in ({}, customer(bytes(32))):
        refused(client("GET", "secret", headers=headers), "SsecDecryptHeaderInvalid")
        head = client("HEAD", "secret", headers=headers)
        assert (head.status, "etag" in head.headers) == (400, False)
    assert client("PUT", "open", body=BODY).status == 200
    refused(client("GET", "open", headers=customer()), "SsecDecryptHeaderInvalid")
    # Replacing, listing and deleting need no key.
    assert "secret" in client("GET").texts("Key")
    assert client("DELETE", "secret").status == 204


def test_a_part_needs_the_key_of_initiate(client: ServerClient) -> None:
    secret, plain = client.begin("a", headers=customer()), client.begin("a")
    for headers in ({}, customer(bytes(32))):
        refused(client.part("a", secret, 1, b"x", headers=headers), "InvalidRequest")
    refused(client.part("a", plain, 1, b"x", headers=customer()), "InvalidRequest")
    for upload_id in (secret, plain):
        assert client("GET", "a", params={"uploadId": upload_id}).texts("PartNumber") == []


def test_encryption_headers_that_an_operation_does_not_take_are_refused(client: ServerClient) -> None:
    assert client("PUT", "x", body=BODY, headers=KINDS["SSE-KMS"][0]).status == 200
    refused(client("GET", "x", headers={SSE: "cos/kms"}), "SSEHeaderNotAllowed")
    append = {"append": "", "position": "0"}
    for sent, _ in KINDS.values():
        refused(client("POST", "appended", params=append, body=b"x", headers=sent), "SSEHeaderNotAllowed")
    assert client("HEAD", "appended").status == 404


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_wrong_key_is_refused_before_anything_is_stored(client: ServerClient, method: str) -> None:
    wrong = {**customer(), f"{SSE}-customer-key-MD5": base64.b64encode(bytes(16)).decode()}
    params = {"uploads": ""} if method == "POST" else {}
    refused(client(method, "wrong", params=params, body=BODY, headers=wrong), "InvalidArgument")
    refused(client(method, "wrong", params=params, body=BODY, headers={SSE: "AES789"}), "InvalidArgument")
    assert client("HEAD", "wrong").status == 404


def test_the_digest_of_the_body_is_still_compared(client: ServerClient) -> None:
    digest = base64.b64encode(md5(b"other").digest()).decode()
    refused(client("PUT", "bad", body=BODY, headers={**customer(), "content-md5": digest}), "BadDigest")


def test_the_key_is_stored_nowhere(server: RunningServer, client: ServerClient) -> None:
    key = bytes(range(32))
    assert client("PUT", "k", body=BODY, headers=customer(key)).status == 200
    stored = b"".join(path.read_bytes() for path in Path(server.root).rglob("*") if path.is_file())
    assert base64.b64encode(md5(key).digest()) in stored
    assert base64.b64encode(key) not in stored
    assert key not in stored


def test_without_tls_a_customers_key_is_refused() -> None:
    with running() as server:
        client = ServerClient(server)
        refused(client("PUT", "x", body=BODY, headers=customer()), "InvalidRequest")
        refused(client("POST", "x", params={"uploads": ""}, headers=customer()), "InvalidRequest")
        assert said(client("PUT", "x", body=BODY, headers={**KMS, **CONTEXT})) == KMS
        refused(client("GET", "x", headers=customer()), "InvalidRequest")
        client.close()


def test_the_headers_are_spelt_as_cos_spells_them(server: RunningServer) -> None:
    request = sign(server, "PUT", "spelt", headers={**customer(), "content-length": "1"})
    context = ssl.create_default_context(cafile=str(server.ca_file))
    connection = http.client.HTTPSConnection(server.host, server.port, context=context)
    connection.request(request.method, request.target, b"x", request.headers)
    names = [name for name, _ in connection.getresponse().getheaders()]
    connection.close()
    assert f"{SSE}-customer-key-MD5" in names
