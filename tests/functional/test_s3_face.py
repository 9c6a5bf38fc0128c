"""The S3 face of the embedded server: AWS Signature Version 4, headers, bodies in chunks, and lists."""

from __future__ import annotations

import base64
import hashlib
import zlib
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

import cosxfer
from cosxfer.server import RunningServer
from tests.functional.s3_client import EMPTY, S3Client, mac

BODY = b"0123456789" * 10_000


@pytest.fixture
def s3(server: RunningServer) -> S3Client:
    return S3Client(server)


def code(body: bytes) -> str:
    return ElementTree.fromstring(body).findtext("Code") or ""


def crc32(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def stored(client: cosxfer.Client, server: RunningServer, key: str) -> bytes:
    return client.get_object(server.bucket, key).body


def test_an_object_has_the_headers_of_s3_and_those_of_cos(
    s3: S3Client, client: cosxfer.Client, server: RunningServer
) -> None:
    key = "s3/ü %+.txt"
    headers = {"x-amz-meta-color": "blue", "content-type": "text/plain"}
    status, found, _ = s3.send("PUT", key, BODY, headers=headers, payload=hashlib.sha256(BODY).hexdigest())
    assert (status, found["etag"]) == (200, f'"{hashlib.md5(BODY).hexdigest()}"')
    assert found["x-amz-request-id"]
    head = client.head_object(server.bucket, key)
    assert (head.metadata, head.content_type) == ({"color": "blue"}, "text/plain")
    status, found, body = s3.send("GET", key, headers={"range": "bytes=5-9"})
    assert (status, body, found["x-amz-meta-color"]) == (206, b"56789", "blue")
    assert int(found["x-cos-hash-crc64ecma"]) == head.crc64


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("secret", "SignatureDoesNotMatch"),
        ("time", "RequestTimeTooSkewed"),
        ("digest", "XAmzContentSHA256Mismatch"),
        ("payload", "InvalidArgument"),
        ("id", "InvalidAccessKeyId"),
    ],
)
def test_a_wrong_signature_or_body_stores_nothing(
    server: RunningServer, client: cosxfer.Client, wrong: str, expected: str
) -> None:
    s3 = S3Client(
        server,
        secret_key="x" * 32 if wrong == "secret" else "",
        now=datetime.now(UTC) - timedelta(hours=1) if wrong == "time" else None,
    )
    if wrong == "id":
        s3.secret_id = "AKIDnobody"
    payload = {"digest": EMPTY, "payload": "nonsense"}.get(wrong, "UNSIGNED-PAYLOAD")
    _, _, body = s3.send("PUT", "s3/wrong", BODY, payload=payload)
    assert code(body) == expected
    with pytest.raises(cosxfer.NotFoundError):
        client.head_object(server.bucket, "s3/wrong")


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("AWS AKID:signature", "InvalidRequest"),
        ("AWS4-HMAC-SHA256 Credential=a/b", "AuthorizationHeaderMalformed"),
        (
            "AWS4-HMAC-SHA256 Credential=a/20260101/r/s3/aws4_request, SignedHeaders=date, Signature=0",
            "AuthorizationHeaderMalformed",
        ),
    ],
)
def test_a_malformed_signature_is_an_error_with_a_reason(s3: S3Client, authorization: str, expected: str) -> None:
    headers = {"authorization": authorization, "x-amz-date": "20260101T000000Z", "x-amz-content-sha256": EMPTY}
    status, _, body = s3.exchange("GET", s3.path("k"), {}, {"host": s3.host, **headers})
    assert (status, code(body)) == (400, expected)


def test_a_presigned_url_works_until_it_expires(s3: S3Client, server: RunningServer) -> None:
    path, query = s3.presigned("PUT", "s3/signed")
    assert s3.exchange("PUT", path, query, {"host": s3.host}, b"hello")[0] == 200
    path, query = s3.presigned("GET", "s3/signed")
    assert s3.exchange("GET", path, query, {"host": s3.host})[2] == b"hello"
    assert (
        code(s3.exchange("GET", path, {**query, "X-Amz-Expires": "61"}, {"host": s3.host})[2])
        == "SignatureDoesNotMatch"
    )
    old = S3Client(server, now=datetime.now(UTC) - timedelta(minutes=2))
    path, query = old.presigned("GET", "s3/signed")
    status, _, body = s3.exchange("GET", path, query, {"host": s3.host})
    assert (status, code(body)) == (403, "AccessDenied")
    assert b"expired" in body


def unsigned_chunks(body: bytes, trailer: str) -> bytes:
    pieces = [body[at : at + 65_536] for at in range(0, len(body), 65_536)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return chunks + f"0\r\nx-amz-checksum-crc32:{trailer}\r\n\r\n".encode()


@pytest.mark.parametrize("damage", ["", "trailer", "cut", "long", "head"])
def test_chunks_with_a_checksum_in_the_trailer(
    s3: S3Client, client: cosxfer.Client, server: RunningServer, damage: str
) -> None:
    client.delete_object(server.bucket, "s3/chunks")
    wire = unsigned_chunks(BODY, crc32(BODY + b"x" if damage == "trailer" else BODY))
    if damage == "cut":
        wire = wire[: wire.index(b"\r\n0\r\n") + 2]
    elif damage == "head":
        wire = b"zz" + wire[2:]
    headers = {
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(len(BODY) - (damage == "long")),
        "x-amz-trailer": "x-amz-checksum-crc32",
        "x-amz-sdk-checksum-algorithm": "CRC32",
    }
    status, _, body = s3.send("PUT", "s3/chunks", wire, headers=headers, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    if not damage:
        assert status == 200
        assert stored(client, server, "s3/chunks") == BODY
        assert client.head_object(server.bucket, "s3/chunks").headers.get("content-encoding") is None
        return
    expected = {"trailer": "BadDigest", "cut": "IncompleteBody", "long": "IncompleteBody", "head": "InvalidRequest"}
    assert (status, code(body)) == (400, expected[damage])
    with pytest.raises(cosxfer.NotFoundError):
        client.head_object(server.bucket, "s3/chunks")


class SignedChunks:
    """A body whose chunks are signed one after the other. The first signature is known once the head is signed."""

    def __init__(self, s3: S3Client, body: bytes, *, flip: bool) -> None:
        self._s3, self._body, self._flip = s3, body, flip

    def __iter__(self):  # type: ignore[no-untyped-def]
        before = self._s3.signature
        for piece in [*(self._body[at : at + 65_536] for at in range(0, len(self._body), 65_536)), b""]:
            hashed = hashlib.sha256(piece).hexdigest()
            text = f"AWS4-HMAC-SHA256-PAYLOAD\n{self._s3.time}\n{self._s3.scope}\n{before}\n{EMPTY}\n{hashed}"
            before = mac(self._s3.key, text).hex()
            sent = b"X" + piece[1:] if self._flip and piece else piece
            yield f"{len(piece):x};chunk-signature={before}\r\n".encode() + sent + b"\r\n"


@pytest.mark.parametrize("flip", [False, True])
def test_signed_chunks(s3: S3Client, client: cosxfer.Client, server: RunningServer, flip: bool) -> None:
    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    length = sum(map(len, SignedChunks(s3, BODY, flip=flip)))  # type: ignore[no-untyped-call]
    headers = {"x-amz-decoded-content-length": str(len(BODY)), "content-length": str(length)}
    status, _, body = s3.send(
        "PUT", "s3/signed-chunks", SignedChunks(s3, BODY, flip=flip), headers=headers, payload=kind
    )  # type: ignore[arg-type]
    if flip:
        assert (status, code(body)) == (403, "SignatureDoesNotMatch")
    else:
        assert status == 200
        assert stored(client, server, "s3/signed-chunks") == BODY


def test_a_checksum_that_cannot_be_checked_is_refused(s3: S3Client) -> None:
    status, _, body = s3.send("PUT", "s3/crc32c", b"x", headers={"x-amz-checksum-crc32c": "AAAAAA=="})
    assert (status, code(body)) == (501, "NotImplemented")


def test_create_only_is_the_condition_of_s3(s3: S3Client, client: cosxfer.Client, server: RunningServer) -> None:
    client.delete_object(server.bucket, "s3/once")
    assert s3.send("PUT", "s3/once", b"1", headers={"if-none-match": "*"})[0] == 200
    status, _, body = s3.send("PUT", "s3/once", b"2", headers={"if-none-match": "*"})
    assert (status, code(body)) == (412, "PreconditionFailed")
    assert stored(client, server, "s3/once") == b"1"


def test_list_objects_v2_walks_all_pages(s3: S3Client, client: cosxfer.Client, server: RunningServer) -> None:
    keys = [f"s3-list/{number:02}" for number in range(7)]
    for key in keys:
        client.put_object(server.bucket, key, b"x")
    found: list[str | None] = []
    query = {"list-type": "2", "prefix": "s3-list/", "max-keys": "3"}
    while True:
        status, _, body = s3.send("GET", query=query)
        assert status == 200
        page = ElementTree.fromstring(body)
        found += [entry.findtext("Key") for entry in page.findall("Contents")]
        assert page.find("Contents/Owner") is None
        if page.findtext("IsTruncated") == "false":
            break
        query["continuation-token"] = page.findtext("NextContinuationToken") or ""
    assert found == keys
    _, _, body = s3.send("GET", query={"list-type": "2", "delimiter": "/", "start-after": "s3-lisa"})
    assert "s3-list/" in [one.text for one in ElementTree.fromstring(body).findall("CommonPrefixes/Prefix")]
    _, _, body = s3.send("GET", query={"list-type": "2", "continuation-token": "%"})
    assert code(body) == "InvalidArgument"


def test_objects_are_copied_and_deleted(s3: S3Client, client: cosxfer.Client, server: RunningServer) -> None:
    client.put_object(server.bucket, "s3/from", BODY)
    headers = {"x-amz-copy-source": f"/{server.bucket}/s3/from", "x-amz-storage-class": "GLACIER"}
    assert s3.send("PUT", "s3/to", headers=headers)[0] == 200
    assert client.head_object(server.bucket, "s3/to").headers["x-cos-storage-class"] == "ARCHIVE"
    document = b"<Delete><Object><Key>s3/from</Key></Object><Object><Key>s3/to</Key></Object></Delete>"
    status, _, body = s3.send("POST", query={"delete": ""}, body=document)
    assert (status, code(body)) == (400, "InvalidRequest")  # neither Content-MD5 nor a checksum
    status, _, body = s3.send(
        "POST", query={"delete": ""}, body=document, headers={"x-amz-checksum-crc32": crc32(document)}
    )
    assert status == 200
    assert len(ElementTree.fromstring(body).findall("Deleted")) == 2


@pytest.mark.parametrize("source", ["s3/a+b+%2B%25", "s3/a%20b%20%2B%25", "s3%2Fa+b%20%2b%25"])
def test_the_source_of_a_copy_may_be_encoded_as_a_form(
    s3: S3Client, client: cosxfer.Client, server: RunningServer, source: str
) -> None:
    client.put_object(server.bucket, "s3/a b +%", BODY)
    assert s3.send("PUT", "s3/form", headers={"x-amz-copy-source": f"{server.bucket}/{source}"})[0] == 200
    assert stored(client, server, "s3/form") == BODY


def test_a_bucket_is_named_by_the_path_and_the_service_lists_them(s3: S3Client, server: RunningServer) -> None:
    signed = {"host": s3.host, "x-amz-date": s3.time, "x-amz-content-sha256": EMPTY}

    def get(path: str) -> tuple[int, dict[str, str], bytes]:
        signature = s3.sign("GET", path, {}, signed, EMPTY)
        names = ";".join(sorted(signed))
        value = f"AWS4-HMAC-SHA256 Credential={s3.secret_id}/{s3.scope}, SignedHeaders={names}, Signature={signature}"
        return s3.exchange("GET", path, {}, {**signed, "authorization": value})

    status, _, body = get("/")
    assert status == 200
    assert server.bucket in [one.text for one in ElementTree.fromstring(body).findall("Buckets/Bucket/Name")]
    assert code(get("/no-such-bucket/key")[2]) == "NoSuchBucket"
    assert code(s3.exchange("GET", s3.path("k"), {"list-type": "2"}, {"host": s3.host})[2]) == "AccessDenied"
