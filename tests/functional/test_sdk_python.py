"""The official SDK, cos-python-sdk-v5, works with the server unchanged, with its address as the domain."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from cosxfer._native import hashing
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running

qcloud_cos = pytest.importorskip("qcloud_cos")

pytestmark = [
    # The SDK's responses keep their connections open until they are garbage-collected.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

KEYS = ["a/b c+d%?#&=.txt", "\U0001f600/名.bin", "a//b", "a/./b", "a/../b", "q=1&r=2", "trailing/", "x" * 850]


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Silence the SDK, which logs each error that a test provokes."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module", params=[False, True], ids=["http", "https"])
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    with running(tls=request.param) as server:
        yield server


def config(server: RunningServer, **options: Any) -> Any:
    scheme, address = server.url.split("://")
    return qcloud_cos.CosConfig(
        **{
            "Region": server.region,
            "SecretId": server.credentials.secret_id,
            "SecretKey": server.credentials.secret_key,
            "Token": server.credentials.token,
            "Scheme": scheme,
            "Domain": address,
            "VerifySSL": None if server.ca_file is None else str(server.ca_file),
            **options,
        }
    )


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Any:
    # No retries, so that any failed request fails the test.
    return qcloud_cos.CosS3Client(config(server), retry=0)


def body_of(client: Any, bucket: str, key: str, **options: Any) -> bytes:
    raw: bytes = client.get_object(bucket, key, **options)["Body"].get_raw_stream().read()
    return raw


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("enable_md5", [False, True])
def test_put_and_get(client: Any, server: RunningServer, key: str, enable_md5: bool) -> None:
    body = key.encode() * 10
    put = client.put_object(
        server.bucket, body, key, EnableMD5=enable_md5, ContentType="text/plain", Metadata={"x-cos-meta-a": "名"}
    )
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    got = client.get_object(server.bucket, key)
    assert got["Body"].get_raw_stream().read() == body
    assert got["Content-Type"] == "text/plain"
    assert got["x-cos-meta-a"].encode("latin-1").decode() == "名"
    assert client.object_exists(server.bucket, key)
    client.delete_object(server.bucket, key)
    assert not client.object_exists(server.bucket, key)


def test_a_range(client: Any, server: RunningServer) -> None:
    client.put_object(server.bucket, b"0123456789", "range")
    assert body_of(client, server.bucket, "range", Range="bytes=2-4") == b"234"


@pytest.mark.parametrize("enable_md5", [False, True])
@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 5 * MIB + 7])
def test_upload_file(client: Any, server: RunningServer, tmp_path: Path, enable_md5: bool, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    client.upload_file(server.bucket, "uploaded ü", str(path), PartSize=1, MAXThread=4, EnableMD5=enable_md5)
    head = client.head_object(server.bucket, "uploaded ü")
    assert head["Content-Length"] == str(size)
    assert int(head["x-cos-hash-crc64ecma"]) == hashing.crc64(path.read_bytes())
    copy = tmp_path / "copy"
    client.download_file(server.bucket, "uploaded ü", str(copy), PartSize=1, EnableCRC=True)
    assert copy.read_bytes() == path.read_bytes()


def test_upload_file_continues_where_it_ended(client: Any, server: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3 * MIB))
    upload_id = client.create_multipart_upload(server.bucket, "resumed")["UploadId"]
    client.upload_part(server.bucket, "resumed", path.read_bytes()[:MIB], 1, upload_id)
    server.requests(clear=True)
    client.upload_file(server.bucket, "resumed", str(path), PartSize=1)
    sent = [r["part"] for r in server.requests() if r["operation"] == "multipart_upload"]
    assert sorted(sent) == [2, 3]
    assert body_of(client, server.bucket, "resumed") == path.read_bytes()


@pytest.mark.parametrize("key", ["by hand", "ü/%+?#"])
def test_multipart_by_hand(client: Any, server: RunningServer, key: str) -> None:
    bucket = server.bucket
    upload_id = client.create_multipart_upload(bucket, key, StorageClass="STANDARD_IA")["UploadId"]
    pieces = [os.urandom(MIB), os.urandom(MIB), b"end"]
    parts = [
        {"PartNumber": n, "ETag": client.upload_part(bucket, key, piece, n, upload_id, EnableMD5=True)["ETag"]}
        for n, piece in enumerate(pieces, start=1)
    ]
    listed = client.list_parts(bucket, key, upload_id, MaxParts=2)
    assert (listed["Key"], listed["IsTruncated"], listed["NextPartNumberMarker"]) == (key, "true", "2")
    assert [part["ETag"] for part in listed["Part"]] == [part["ETag"] for part in parts[:2]]
    uploads = client.list_multipart_uploads(bucket, Prefix=key)
    assert [(upload["Key"], upload["UploadId"]) for upload in uploads["Upload"]] == [(key, upload_id)]
    done = client.complete_multipart_upload(bucket, key, upload_id, {"Part": parts})
    assert (done["Bucket"], done["Key"]) == (bucket, key)
    assert body_of(client, bucket, key) == b"".join(pieces)
    assert client.head_object(bucket, key)["x-cos-storage-class"] == "STANDARD_IA"
    assert "Upload" not in client.list_multipart_uploads(bucket, Prefix=key)


def test_abort(client: Any, server: RunningServer) -> None:
    upload_id = client.create_multipart_upload(server.bucket, "aborted")["UploadId"]
    client.abort_multipart_upload(server.bucket, "aborted", upload_id)
    with pytest.raises(qcloud_cos.CosServiceError) as raised:
        client.list_parts(server.bucket, "aborted", upload_id)
    assert (raised.value.get_error_code(), raised.value.get_status_code()) == ("NoSuchUpload", 404)
    assert raised.value.get_request_id()


def test_list_objects(client: Any, server: RunningServer) -> None:
    for name in ("a b", "c+d", "sub/x", "sub/y", "z"):
        client.put_object(server.bucket, name.encode(), f"listed {name}")
    page = client.list_objects(server.bucket, Prefix="listed ", Delimiter="/", MaxKeys=3)
    assert [entry["Key"] for entry in page["Contents"]] == ["listed a b", "listed c+d"]
    assert page["CommonPrefixes"] == [{"Prefix": "listed sub/"}]
    assert page["IsTruncated"] == "true"
    rest = client.list_objects(server.bucket, Prefix="listed ", Delimiter="/", Marker=page["NextMarker"])
    assert [entry["Key"] for entry in rest["Contents"]] == ["listed z"]
    assert rest["Contents"][0]["Size"] == "1"


def test_append(client: Any, server: RunningServer) -> None:
    first = client.append_object(server.bucket, "appended", 0, b"one")
    position = int(first["x-cos-next-append-position"])
    client.append_object(server.bucket, "appended", position, b"two")
    assert body_of(client, server.bucket, "appended") == b"onetwo"
    with pytest.raises(qcloud_cos.CosServiceError) as raised:
        client.append_object(server.bucket, "appended", 1, b"x")
    assert raised.value.get_error_code() == "AppendPositionErr"


def test_many_at_once_are_deleted(client: Any, server: RunningServer) -> None:
    for name in ("d1 ü", "d2"):
        client.put_object(server.bucket, b"x", name)
    response = client.delete_objects(server.bucket, {"Quiet": "false", "Object": [{"Key": "d1 ü"}, {"Key": "d2"}]})
    assert [entry["Key"] for entry in response["Deleted"]] == ["d1 ü", "d2"]


def test_buckets(client: Any, server: RunningServer) -> None:
    assert client.bucket_exists(server.bucket)
    assert client.head_bucket(server.bucket)["Server"] == "tencent-cos"


def test_a_presigned_address(client: Any, server: RunningServer) -> None:
    verify = str(server.ca_file) if server.ca_file else True
    key = "pre signed +ü"
    with requests.Session() as session:
        put = client.get_presigned_url(server.bucket, key, "PUT", Headers={"content-type": "text/x"})
        assert session.put(put, data=b"x", headers={"content-type": "text/x"}, verify=verify).status_code == 200
        get = client.get_presigned_url(server.bucket, key, "GET", Params={"response-content-type": "a/b c"})
        response = session.get(get, verify=verify)
        assert (response.content, response.headers["content-type"]) == (b"x", "a/b c")
        assert session.get(get + "&max-age=1", verify=verify).status_code == 200
        assert session.delete(get, verify=verify).status_code == 403


def test_a_wrong_secret_key_is_reported(server: RunningServer) -> None:
    wrong = qcloud_cos.CosS3Client(config(server, SecretKey="wrong"), retry=0)
    with pytest.raises(qcloud_cos.CosServiceError) as raised:
        wrong.put_object(server.bucket, b"x", "x")
    assert (raised.value.get_error_code(), raised.value.get_status_code()) == ("SignatureDoesNotMatch", 403)


def test_temporary_keys(tmp_path: Path) -> None:
    with running(token="the-token") as server:
        client = qcloud_cos.CosS3Client(config(server), retry=0)
        client.put_object(server.bucket, b"x", "x")
        tokenless = qcloud_cos.CosS3Client(config(server, Token=None), retry=0)
        with pytest.raises(qcloud_cos.CosServiceError):
            tokenless.put_object(server.bucket, b"x", "x")


def test_the_bucket_in_the_host() -> None:
    """Connect to the server like the SDK, whose Host header names bucket and region."""
    with running(buckets=["first-1250000000", "second-1250000000"]) as server:
        cos_config = config(server, Domain=None)
        cos_config.set_ip_port(server.host, server.port)
        client = qcloud_cos.CosS3Client(cos_config, retry=0)
        for bucket in server.buckets:
            client.put_object(bucket, bucket.encode(), "who")
        assert [body_of(client, bucket, "who").decode() for bucket in server.buckets] == list(server.buckets)
        assert not client.bucket_exists("third-1250000000")


def test_the_service_lists_its_buckets() -> None:
    with running(buckets=["first-1250000000", "second-1250000000"]) as server:
        address = server.url.partition("://")[2]
        client = qcloud_cos.CosS3Client(config(server, ServiceDomain=address), retry=0)
        assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]["Bucket"]] == list(server.buckets)
