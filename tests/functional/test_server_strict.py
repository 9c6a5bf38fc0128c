"""The server refuses what COS refuses, with the same code and status."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest
from server_client import Response, ServerClient, Signed, raw, sign

import cosxfer
from cosxfer.credentials import Credentials
from cosxfer.limits import GIB, MIB
from cosxfer.server import RunningServer, running

TEMPORARY = Credentials(secret_id="AKIDtemporary", secret_key="temporarykey", token="the-token")
EXPIRED = Credentials(secret_id="AKIDexpired", secret_key="expiredkey", token="old-token", expires_at=1.0)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running(
        buckets=["examplebucket-1250000000", "second-1250000000"], more_credentials=[TEMPORARY, EXPIRED]
    ) as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[ServerClient]:
    client = ServerClient(server)
    yield client
    client.close()


def refused(response: Response, status: int, code: str) -> None:
    assert (response.status, response.code) == (status, code)


# Signatures


def test_no_signature_is_access_denied(client: ServerClient) -> None:
    refused(client("GET", "x", signed=False), 403, "AccessDenied")


def test_an_unknown_key_id_is_named(client: ServerClient) -> None:
    unknown = Credentials(secret_id="AKIDnobody", secret_key="x")
    refused(client("GET", "x", credentials=unknown), 403, "InvalidAccessKeyId")


def test_a_wrong_secret_does_not_match(client: ServerClient) -> None:
    wrong = Credentials(secret_id=client.server.credentials.secret_id, secret_key="wrong")
    refused(client("PUT", "x", body=b"x", credentials=wrong), 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("change", ["method", "target", "header", "param"])
def test_a_signature_is_valid_for_one_request_only(server: RunningServer, change: str) -> None:
    request = sign(server, "GET", "x", params={"response-content-type": "a"}, headers={"x-cos-a": "1"})
    method, target, headers = request.method, request.target, dict(request.headers)
    if change == "method":
        method = "DELETE"
    elif change == "target":
        target = target.replace("/x?", "/y?")
    elif change == "header":
        headers["x-cos-a"] = "2"
    else:
        target = target.replace("=a", "=b")
    refused(raw(server, Signed(method=method, target=target, headers=headers)), 403, "SignatureDoesNotMatch")


def test_a_signed_header_must_be_present(server: RunningServer) -> None:
    request = sign(server, "GET", "x", headers={"x-cos-a": "1"})
    del request.headers["x-cos-a"]
    refused(raw(server, request), 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("value", ["q-sign-algorithm=sha1&q-ak=x", "nonsense"])
def test_a_malformed_authorization_is_access_denied(server: RunningServer, value: str) -> None:
    request = sign(server, "GET", "x", signed=False, headers={"authorization": value})
    refused(raw(server, request), 403, "AccessDenied")


@pytest.mark.parametrize("times", [(2000, 3000), (-5000, -1000)])
def test_a_wrong_clock_is_refused(client: ServerClient, times: tuple[int, int]) -> None:
    response = client("GET", "x", times=times)
    refused(response, 403, "RequestTimeTooSkewed")
    assert "date" in response.headers


def test_a_wrong_date_is_refused(client: ServerClient) -> None:
    date = formatdate(time.time() - 3600, usegmt=True)
    refused(client("GET", "x", headers={"date": date}), 403, "RequestTimeTooSkewed")


def test_an_expired_signature_says_so(client: ServerClient) -> None:
    response = client("GET", "x", times=(-600, -60))
    refused(response, 403, "AccessDenied")
    assert response.text("Message") == "Request has expired"


def test_a_presigned_address_opens_the_object(client: ServerClient) -> None:
    assert client("PUT", "presigned ü", body=b"x", presigned=True).status == 200
    assert client("GET", "presigned ü", presigned=True).body == b"x"


def test_a_presigned_address_expires(client: ServerClient) -> None:
    response = client("GET", "x", presigned=True, times=(-100_000, -50_000))
    refused(response, 403, "AccessDenied")
    assert response.text("Message") == "Request has expired"


def test_a_temporary_key_needs_its_token(client: ServerClient, server: RunningServer) -> None:
    assert client("PUT", "temporary", body=b"x", credentials=TEMPORARY).status == 200
    assert client("GET", "temporary", credentials=TEMPORARY, presigned=True).status == 200
    for token in (None, "another"):
        other = Credentials(secret_id=TEMPORARY.secret_id, secret_key=TEMPORARY.secret_key, token=token)
        refused(client("GET", "temporary", credentials=other), 403, "AccessDenied")
        refused(client("GET", "temporary", credentials=other, presigned=True), 403, "AccessDenied")


def test_an_expired_temporary_key_says_so(client: ServerClient) -> None:
    refused(client("GET", "x", credentials=EXPIRED), 400, "ExpiredToken")


def test_keys_can_be_exchanged(server: RunningServer, client: ServerClient) -> None:
    other = Credentials(secret_id="AKIDother", secret_key="otherkey")
    try:
        server.set_credentials([other])
        assert client("HEAD", credentials=other).status == 200
        refused(client("GET", "x"), 403, "InvalidAccessKeyId")
    finally:
        server.set_credentials([server.credentials, TEMPORARY, EXPIRED])


def test_the_published_algorithm_makes_a_valid_signature(server: RunningServer) -> None:
    """The test computes the signature from the published description, without code of cosxfer."""
    now = int(time.time())
    key_time = f"{now - 60};{now + 600}"
    host = f"{server.host}:{server.port}"
    sign_key = hmac.new(server.credentials.secret_key.encode(), key_time.encode(), "sha1").hexdigest()
    http_string = f"get\n/{server.bucket}/\nmax-keys=1&prefix=a%20b\nhost={host.replace(':', '%3A')}\n"
    to_sign = f"sha1\n{key_time}\n{hashlib.sha1(http_string.encode()).hexdigest()}\n"
    signature = hmac.new(sign_key.encode(), to_sign.encode(), "sha1").hexdigest()
    authorization = (
        f"q-sign-algorithm=sha1&q-ak={server.credentials.secret_id}&q-sign-time={key_time}&q-key-time={key_time}"
        f"&q-header-list=host&q-url-param-list=max-keys;prefix&q-signature={signature}"
    )
    for space in ("%20", "+"):
        target = f"/{server.bucket}/?prefix=a{space}b&max-keys=1"
        request = Signed(method="GET", target=target, headers={"host": host, "authorization": authorization})
        assert raw(server, request).status == 200


# Addresses


def test_an_unknown_bucket_is_named(client: ServerClient) -> None:
    for method, key in (("GET", ""), ("GET", "x"), ("PUT", "x"), ("POST", "x")):
        params = {"uploads": ""} if method == "POST" else None
        refused(client(method, key, bucket="nobucket-1250000000", params=params), 404, "NoSuchBucket")


@pytest.mark.parametrize(
    "host", ["{}.cos.ap-beijing.myqcloud.com", "{}.cos-internal.ap-beijing.tencentcos.cn", "{}.localhost:80"]
)
def test_the_host_may_name_the_bucket(server: RunningServer, client: ServerClient, host: str) -> None:
    client("PUT", "by-host", bucket="second-1250000000", body=b"x")
    host = host.format("second-1250000000")
    request = _virtual(server, "GET", "/by-host", host)
    assert raw(server, request).body == b"x"
    refused(raw(server, _virtual(server, "GET", "/", "nobucket-1.cos.ap-x.myqcloud.com")), 404, "NoSuchBucket")


def test_the_service_lists_its_buckets(server: RunningServer) -> None:
    for host in ("service.cos.myqcloud.com", "127.0.0.1"):
        response = raw(server, _virtual(server, "GET", "/", host))
        assert response.texts("Name") == ["examplebucket-1250000000", "second-1250000000"]


def _virtual(server: RunningServer, method: str, path: str, host: str) -> Signed:
    from cosxfer.cos.sign import authorization, key_time

    value = authorization(
        server.credentials,
        method=method,
        path=path,
        params={},
        headers={"host": host},
        key_time=key_time(time.time(), life_seconds=600),
    )
    return Signed(method=method, target=path, headers={"host": host, "authorization": value})


# Limits and digests


@pytest.mark.parametrize("value", ["x", "d41d8cd98f00b204e9800998ecf8427e", base64.b64encode(b"short").decode(), ""])
def test_a_malformed_content_md5_is_an_invalid_digest(client: ServerClient, value: str) -> None:
    refused(client("PUT", "x", body=b"x", headers={"content-md5": value}), 400, "InvalidDigest")


@pytest.mark.parametrize("size", [1, 3 * MIB])
def test_a_body_that_differs_from_its_content_md5_is_a_bad_digest(client: ServerClient, size: int) -> None:
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    client("DELETE", "bad")
    refused(client("PUT", "bad", body=b"x" * size, headers={"content-md5": wrong}), 400, "BadDigest")
    assert client("HEAD", "bad").status == 404
    upload_id = client.begin("bad")
    refused(client.part("bad", upload_id, 1, b"x" * size, headers={"content-md5": wrong}), 400, "BadDigest")
    assert client("GET", "bad", params={"uploadId": upload_id}).texts("PartNumber") == []


def test_a_body_without_a_length_is_refused(server: RunningServer) -> None:
    refused(raw(server, sign(server, "PUT", "x")), 411, "MissingContentLength")
    refused(raw(server, sign(server, "POST", "x", params={"append": "", "position": "0"})), 411, "MissingContentLength")


def test_a_chunked_body_is_taken(client: ServerClient) -> None:
    assert client("PUT", "chunked", body=(piece for piece in (b"a", b"b" * 100_000, b"c"))).status == 200
    assert client("HEAD", "chunked").headers["content-length"] == "100002"


def test_an_empty_object_is_stored(server: RunningServer, client: ServerClient) -> None:
    assert raw(server, sign(server, "PUT", "empty", headers={"content-length": "0"})).status == 200
    got = client("GET", "empty")
    assert (got.status, got.body, got.headers["x-cos-hash-crc64ecma"]) == (200, b"", "0")


def test_more_than_5_gib_is_refused_before_it_is_sent(server: RunningServer) -> None:
    headers = {"content-length": str(5 * GIB + 1), "expect": "100-continue"}
    refused(raw(server, sign(server, "PUT", "x", headers=headers)), 400, "EntityTooLarge")
    params = {"partNumber": "1", "uploadId": "any"}
    refused(raw(server, sign(server, "PUT", "x", params=params, headers=headers)), 400, "EntityTooLarge")


def test_only_an_authorized_client_gets_100_continue(server: RunningServer) -> None:
    headers = {"content-length": "5", "expect": "100-continue"}
    for signed, first_line in ((True, b"HTTP/1.1 100 Continue"), (False, b"HTTP/1.1 403 Forbidden")):
        request = sign(server, "PUT", "expected", headers=headers, signed=signed)
        with socket.create_connection((server.host, server.port), timeout=30) as connection:
            lines = [f"PUT {request.target} HTTP/1.1", *(f"{n}: {v}" for n, v in request.headers.items()), "", ""]
            connection.sendall("\r\n".join(lines).encode())
            response = connection.makefile("rb")
            assert response.readline().rstrip() == first_line
            if signed:
                connection.sendall(b"hello")
                assert response.readline() == b"\r\n"
                assert response.readline().rstrip() == b"HTTP/1.1 200 OK"
            else:
                # The server closes the connection, because the next bytes could be the body or a request.
                assert response.read().endswith(b"</Error>")


def test_over_http2_a_refusal_comes_before_the_body_too(server: RunningServer) -> None:
    server.requests(clear=True)
    with (
        cosxfer.Client(
            endpoint=server.endpoint, credentials=server.credentials, transport="native", http_version="2"
        ) as client,
        pytest.raises(cosxfer.NotFoundError),
    ):
        client.put_object("nosuch-1250000000", "k", bytes(MIB), expect="100-continue")
    # The server logs the request after the end of the stream.
    while not (seen := server.requests()):
        time.sleep(0.01)
    [request] = seen
    assert (request["http_version"], request["status"], request["received"]) == ("2", 404, 0)


def test_a_key_of_851_bytes_is_too_long(client: ServerClient) -> None:
    refused(client("PUT", "k" * 851, body=b"x"), 400, "KeyTooLong")
    refused(client("GET", "é" * 426), 400, "KeyTooLong")


def test_a_path_that_is_not_utf8_is_an_invalid_uri(server: RunningServer) -> None:
    request = Signed(method="GET", target="/%ff%fe", headers={"host": "127.0.0.1"})
    refused(raw(server, request), 400, "InvalidURI")


def test_metadata_has_2_kib(client: ServerClient) -> None:
    room = 2048 - len("x-cos-meta-a")
    assert client("PUT", "meta", body=b"x", headers={"x-cos-meta-a": "m" * room}).status == 200
    for params, method in ((None, "PUT"), ({"uploads": ""}, "POST")):
        response = client(method, "meta", params=params, headers={"x-cos-meta-a": "m" * (room + 1)})
        refused(response, 400, "MetadataTooLarge")


def test_an_unknown_storage_class_is_refused(client: ServerClient) -> None:
    response = client("PUT", "x", body=b"x", headers={"x-cos-storage-class": "COLD"})
    refused(response, 400, "NotSupportedStorageClass")


@pytest.mark.parametrize("number", ["0", "10001", "-1", "one", ""])
def test_part_numbers_go_from_1_to_10000(client: ServerClient, number: str) -> None:
    upload_id = client.begin("numbered")
    response = client("PUT", "numbered", params={"partNumber": number, "uploadId": upload_id}, body=b"x")
    refused(response, 400, "InvalidArgument")


def test_append_needs_a_position(client: ServerClient) -> None:
    refused(client("POST", "x", params={"append": ""}, body=b"x"), 400, "InvalidArgument")


# What is not there


@pytest.mark.parametrize(
    ("method", "key", "params", "headers"),
    [
        ("GET", "x", {"torrent": ""}, {}),
        ("PUT", "", {"lifecycle": ""}, {}),
        ("GET", "", {"policy": ""}, {}),
        ("PUT", "x", {}, {"if-none-match": "*"}),
        ("PUT", "x", {}, {"if-match": "a"}),
        ("DELETE", "x", {}, {"if-match": "a"}),
        ("POST", "", {}, {}),
        ("POST", "x", {}, {}),
        ("OPTIONS", "x", {}, {}),
    ],
)
def test_operations_that_are_not_implemented_return_an_error(
    client: ServerClient, method: str, key: str, params: dict[str, str], headers: dict[str, str]
) -> None:
    refused(client(method, key, params=params, headers=headers), 501, "NotImplemented")


def test_an_unknown_method_is_not_allowed(client: ServerClient) -> None:
    refused(client("PATCH", "x"), 405, "MethodNotAllowed")


def test_anonymous_requests_can_be_allowed() -> None:
    with running(allow_anonymous=True) as server:
        client = ServerClient(server)
        assert client("PUT", "x", body=b"x", signed=False).status == 200
        wrong = Credentials(secret_id=server.credentials.secret_id, secret_key="wrong")
        refused(client("GET", "x", credentials=wrong), 403, "SignatureDoesNotMatch")
        client.close()


def test_the_servers_clock_can_be_set() -> None:
    with running(clock_offset_seconds=3600.0) as server:
        client = ServerClient(server)
        refused(client("GET", "x"), 403, "RequestTimeTooSkewed")
        assert client("HEAD", times=(3000, 4000)).status == 200
        client.close()
