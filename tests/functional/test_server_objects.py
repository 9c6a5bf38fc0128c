"""Objects over real sockets, in every protocol: a GET returns what was PUT, and errors are those of COS."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from itertools import pairwise

import pytest
from server_client import ServerClient, raw, sign

from cosxfer._native import hashing
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running

PROTOCOLS = [("http", False), ("http", True), ("https", False), ("https", True)]


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, RunningServer]]:
    with running() as plain, running(tls=True) as tls:
        yield {"http": plain, "https": tls}


@pytest.fixture(params=PROTOCOLS, ids=["http1", "h2c", "tls-http1", "tls-http2"])
def client(servers: dict[str, RunningServer], request: pytest.FixtureRequest) -> Iterator[ServerClient]:
    scheme, http2 = request.param
    client = ServerClient(servers[scheme], http2=http2)
    yield client
    client.close()


@pytest.fixture
def plain(servers: dict[str, RunningServer]) -> Iterator[ServerClient]:
    client = ServerClient(servers["http"])
    yield client
    client.close()


def content_md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def test_an_object_comes_back_with_its_digests(client: ServerClient) -> None:
    body = bytes(range(256)) * 4096 * 3
    put = client("PUT", "a/b.bin", body=body, headers={"content-md5": content_md5(body)})
    assert (put.status, put.body) == (200, b"")
    assert put.headers["etag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert int(put.headers["x-cos-hash-crc64ecma"]) == hashing.crc64(body)
    got = client("GET", "a/b.bin")
    assert (got.status, got.body) == (200, body)
    head = client("HEAD", "a/b.bin")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(body)))
    for reply in (got, head):
        assert reply.headers["etag"] == put.headers["etag"]
        assert reply.headers["x-cos-hash-crc64ecma"] == put.headers["x-cos-hash-crc64ecma"]
    assert client.httpx.get(client.server.url).http_version == put.http_version


def test_the_protocol_is_the_requested_one(client: ServerClient, request: pytest.FixtureRequest) -> None:
    expected = "HTTP/2" if request.node.callspec.params["client"][1] else "HTTP/1.1"
    assert client("GET").http_version == expected


def test_a_multipart_upload_makes_an_object(client: ServerClient) -> None:
    pieces = [b"\x01" * MIB, b"\x02" * (2 * MIB), b"\x03" * 7]
    upload_id = client.begin("multi")
    parts = [(n, client.part("multi", upload_id, n, p).headers["etag"]) for n, p in enumerate(pieces, start=1)]
    done = client.complete("multi", upload_id, parts)
    assert done.status == 200
    digests = b"".join(hashlib.md5(piece).digest() for piece in pieces)
    assert done.text("ETag") == f'"{hashlib.md5(digests).hexdigest()}-3"'
    whole = b"".join(pieces)
    assert int(done.headers["x-cos-hash-crc64ecma"]) == hashing.crc64(whole)
    got = client("GET", "multi")
    assert got.body == whole
    assert got.headers["x-cos-hash-crc64ecma"] == done.headers["x-cos-hash-crc64ecma"]
    assert got.headers["etag"] == done.text("ETag")


def test_every_response_has_the_servers_name_and_a_request_id(client: ServerClient) -> None:
    for reply in (client("GET", "nothing"), client("PUT", "x", body=b"x"), client("GET", "nothing", signed=False)):
        assert reply.headers["x-cos-request-id"]
        assert reply.headers["server"] == "tencent-cos"
        assert reply.headers["date"].endswith("GMT")


def test_an_error_has_the_form_of_cos(client: ServerClient) -> None:
    reply = client("GET", "no/such key")
    assert (reply.status, reply.code) == (404, "NoSuchKey")
    assert reply.headers["content-type"] == "application/xml"
    assert [child.tag for child in reply.xml] == ["Code", "Message", "Resource", "RequestId", "TraceId"]
    assert reply.text("RequestId") == reply.headers["x-cos-request-id"]
    assert reply.text("Resource").endswith("/no/such key")


def test_head_of_a_missing_object_has_no_body(client: ServerClient) -> None:
    reply = client("HEAD", "nothing")
    assert (reply.status, reply.body) == (404, b"")


def test_a_refused_body_does_not_hide_the_response(client: ServerClient) -> None:
    """The client sends the whole body before it reads the response, and the connection is reused."""
    chunk = memoryview(bytes(64 * 1024))
    length = 20 * MIB
    for _ in range(2):
        reply = client(
            "PUT",
            "refused",
            body=(chunk for _ in range(length // len(chunk))),
            headers={"content-length": str(length)},
            signed=False,
        )
        assert (reply.status, reply.code) == (403, "AccessDenied")
    assert client("HEAD", "refused").status == 404


@pytest.mark.parametrize(
    "key",
    [
        "..", "../../etc/passwd", "a//b", "a", "a/b", "a/b/", "50% + more?#&=;", "\U0001f600/ü", "é" * 425, "x" * 850,
        "back\\slash", "'\"<>&", "tab\tnew\nline", "%2F", "a/./b", "~", " leading and trailing ",
    ],
)  # fmt: skip
def test_every_key_has_its_own_object(plain: ServerClient, key: str) -> None:
    body = key.encode()
    assert (
        raw(plain.server, sign(plain.server, "PUT", key, headers={"content-length": str(len(body))}), body).status
        == 200
    )
    assert raw(plain.server, sign(plain.server, "GET", key)).body == body


def test_headers_that_describe_the_content_are_returned(plain: ServerClient) -> None:
    described = {
        "content-type": "text/plain; charset=utf-8",
        "cache-control": "max-age=60",
        "content-disposition": 'attachment; filename="a.txt"',
        "content-encoding": "identity",
        "expires": "Thu, 01 Dec 2050 16:00:00 GMT",
        "x-cos-meta-plain": "value",
        "x-cos-meta-utf8": "名",
        "x-cos-storage-class": "STANDARD_IA",
    }
    assert plain("PUT", "described", body=b"x", headers=described).status == 200
    for method in ("GET", "HEAD"):
        headers = plain(method, "described").headers
        for name, value in described.items():
            found = headers[name]
            assert found == value or found.encode("latin-1").decode() == value
        assert headers["x-cos-object-type"] == "normal"
        assert headers["last-modified"].endswith("GMT")


def test_the_standard_storage_class_is_not_returned(plain: ServerClient) -> None:
    plain("PUT", "standard", body=b"x", headers={"x-cos-storage-class": "STANDARD"})
    assert "x-cos-storage-class" not in plain("HEAD", "standard").headers


@pytest.mark.parametrize(
    ("wanted", "content_range", "body"),
    [
        ("bytes=0-0", "bytes 0-0/10", b"0"),
        ("bytes=2-4", "bytes 2-4/10", b"234"),
        ("bytes=7-", "bytes 7-9/10", b"789"),
        ("bytes=-3", "bytes 7-9/10", b"789"),
        ("bytes=-30", "bytes 0-9/10", b"0123456789"),
        ("bytes=5-500", "bytes 5-9/10", b"56789"),
    ],
)
def test_a_range_returns_its_bytes(plain: ServerClient, wanted: str, content_range: str, body: bytes) -> None:
    plain("PUT", "digits", body=b"0123456789")
    reply = plain("GET", "digits", headers={"range": wanted})
    assert (reply.status, reply.body) == (206, body)
    assert reply.headers["content-range"] == content_range


def test_a_range_may_span_parts(plain: ServerClient) -> None:
    upload_id = plain.begin("spanned")
    parts = [(n, plain.part("spanned", upload_id, n, bytes([n]) * MIB).headers["etag"]) for n in (1, 2, 3)]
    assert plain.complete("spanned", upload_id, parts).status == 200
    reply = plain("GET", "spanned", headers={"range": f"bytes={MIB - 1}-{2 * MIB}"})
    assert reply.body == b"\x01" + b"\x02" * MIB + b"\x03"


def test_a_range_beyond_the_end_is_refused(plain: ServerClient) -> None:
    plain("PUT", "digits", body=b"0123456789")
    reply = plain("GET", "digits", headers={"range": "bytes=10-"})
    assert (reply.status, reply.code, reply.headers["content-range"]) == (416, "InvalidRange", "bytes */10")


@pytest.mark.parametrize("wanted", ["bytes=4-2", "lines=1-2", "bytes=a-b", "bytes=0-1,3-4"])
def test_a_header_that_is_not_a_single_range_gets_the_whole_object(plain: ServerClient, wanted: str) -> None:
    plain("PUT", "digits", body=b"0123456789")
    reply = plain("GET", "digits", headers={"range": wanted})
    assert (reply.status, reply.body) == (200, b"0123456789")


def test_conditional_headers_are_respected(plain: ServerClient) -> None:
    etag = plain("PUT", "conditional", body=b"x").headers["etag"]
    ago, ahead = "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 2099 00:00:00 GMT"
    expected = [
        ({"if-match": etag}, 200),
        ({"if-match": '"other"'}, 412),
        ({"if-none-match": etag}, 304),
        ({"if-none-match": '"other"'}, 200),
        ({"if-modified-since": ago}, 200),
        ({"if-modified-since": ahead}, 304),
        ({"if-unmodified-since": ago}, 412),
        ({"if-unmodified-since": ahead}, 200),
    ]
    for headers, status in expected:
        assert plain("GET", "conditional", headers=headers).status == status
        assert plain("HEAD", "conditional", headers=headers).status == status


def test_a_deleted_object_is_gone_and_may_be_deleted_again(plain: ServerClient) -> None:
    plain("PUT", "short-lived", body=b"x")
    for _ in range(2):
        reply = plain("DELETE", "short-lived")
        assert (reply.status, reply.body) == (204, b"")
    assert plain("GET", "short-lived").code == "NoSuchKey"


def test_an_append_continues_at_the_end(plain: ServerClient) -> None:
    first = plain("POST", "log", params={"append": "", "position": "0"}, body=b"one")
    assert (first.status, first.headers["x-cos-next-append-position"]) == (200, "3")
    second = plain("POST", "log", params={"append": "", "position": "3"}, body=b"two!")
    assert second.headers["x-cos-next-append-position"] == "7"
    assert int(second.headers["x-cos-hash-crc64ecma"]) == hashing.crc64(b"onetwo!")
    got = plain("GET", "log")
    assert (got.body, got.headers["x-cos-object-type"]) == (b"onetwo!", "appendable")
    assert got.headers["etag"] == second.headers["etag"]


def test_appending_at_a_wrong_position_is_refused(plain: ServerClient) -> None:
    plain("POST", "short", params={"append": "", "position": "0"}, body=b"12345")
    reply = plain("POST", "short", params={"append": "", "position": "0"}, body=b"12345")
    assert (reply.status, reply.code) == (409, "AppendPositionErr")
    assert plain("GET", "short").body == b"12345"
    assert plain("POST", "new", params={"append": "", "position": "1"}, body=b"x").code == "AppendPositionErr"


def test_a_normal_object_cannot_be_appended_to(plain: ServerClient) -> None:
    plain("PUT", "normal", body=b"x")
    reply = plain("POST", "normal", params={"append": "", "position": "1"}, body=b"y")
    assert (reply.status, reply.code) == (409, "ObjectNotAppendable")


def test_replacing_an_object_does_not_affect_a_running_download(plain: ServerClient) -> None:
    old, new = b"o" * (32 * MIB), b"n" * 10
    plain("PUT", "replaced", body=old)
    request = sign(plain.server, "GET", "replaced")
    with plain.httpx.stream("GET", plain.server.url + request.target, headers=request.headers) as response:
        chunks = response.iter_raw()
        received = len(next(chunks))
        assert plain("PUT", "replaced", body=new).status == 200
        received += sum(len(chunk) for chunk in chunks)
    assert received == len(old)
    assert plain("GET", "replaced").body == new
    bodies = list((plain.server.root / "bodies").glob("replaced~*"))
    assert len(bodies) == 1


def test_listing_goes_page_by_page(plain: ServerClient) -> None:
    keys = [f"list/{name}" for name in ("a", "b/1", "b/2", "b/3", "c", "d/1", "z z", "é")]
    for key in keys:
        plain("PUT", key, body=key.encode())
    whole = plain("GET", params={"prefix": "list/"})
    assert whole.texts("Key") == keys
    assert whole.text("IsTruncated") == "false"
    shown: list[str] = []
    marker = "list/"
    for _ in range(20):
        page = plain("GET", params={"prefix": "list/", "delimiter": "/", "max-keys": "2", "marker": marker})
        names = [element.text for element in page.xml.iterfind("Contents/Key")]
        groups = [element.text for element in page.xml.iterfind("CommonPrefixes/Prefix")]
        assert len(names) + len(groups) <= 2
        shown += [name for name in (*names, *groups) if name]
        if page.text("IsTruncated") == "false":
            break
        marker = page.text("NextMarker")
    assert sorted(shown) == ["list/a", "list/b/", "list/c", "list/d/", "list/z z", "list/é"]


def test_listed_keys_are_encoded_on_request(plain: ServerClient) -> None:
    plain("PUT", "enc/a b+%", body=b"x")
    reply = plain("GET", params={"prefix": "enc/", "encoding-type": "url"})
    assert reply.texts("Key") == ["enc/a%20b%2B%25"]
    assert plain("GET", params={"encoding-type": "base64"}).code == "InvalidArgument"


def test_a_key_that_xml_cannot_hold_is_listed_encoded(plain: ServerClient) -> None:
    request = sign(plain.server, "PUT", "ctl/\x01", headers={"content-length": "1"})
    assert raw(plain.server, request, b"x").status == 200
    assert plain("GET", params={"prefix": "ctl/", "encoding-type": "url"}).texts("Key") == ["ctl/%01"]
    plain("DELETE", "ctl/\x01")


def test_many_objects_are_deleted_in_one_request(plain: ServerClient) -> None:
    for name in "abc":
        plain("PUT", f"bulk/{name}", body=b"x")
    document = b"<Delete><Object><Key>bulk/a</Key></Object><Object><Key>bulk/b</Key></Object></Delete>"
    reply = plain("POST", params={"delete": ""}, body=document, headers={"content-md5": content_md5(document)})
    assert reply.texts("Key") == ["bulk/a", "bulk/b"]
    assert plain("GET", params={"prefix": "bulk/"}).texts("Key") == ["bulk/c"]


def test_buckets_are_created_and_deleted(plain: ServerClient) -> None:
    bucket = "other-1250000000"
    assert plain("HEAD", bucket=bucket).status == 404
    assert plain("PUT", bucket=bucket).status == 200
    assert plain("PUT", bucket=bucket).code == "BucketAlreadyExists"
    assert plain("HEAD", bucket=bucket).status == 200
    plain("PUT", "x", bucket=bucket, body=b"x")
    assert plain("DELETE", bucket=bucket).code == "BucketNotEmpty"
    plain("DELETE", "x", bucket=bucket)
    assert plain("DELETE", bucket=bucket).status == 204
    assert plain("HEAD", bucket=bucket).status == 404
    assert plain("PUT", bucket=bucket, headers={"x-cos-acl": "default"}).code == "InvalidArgument"
    assert plain("PUT", bucket=f"{'x' * 30}-1250000000").code == "InvalidArgument"
    assert plain("HEAD", bucket=bucket).status == 404


def test_request_ids_differ(plain: ServerClient) -> None:
    ids = [plain("HEAD").headers["x-cos-request-id"] for _ in range(3)]
    assert all(a != b for a, b in pairwise(ids))
