"""The server's side of copies: each form of the source, its refusals, and the conditions of requests that write."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from cosxfer.server import RunningServer, running
from tests.functional.server_client import Response, ServerClient

KEY = "a b/é+%?versionId=x&#"
OTHER = "other-1250000000"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running(buckets=("examplebucket-1250000000", OTHER)) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[ServerClient]:
    client = ServerClient(server)
    assert client("PUT", KEY, body=b"content", headers={"x-cos-meta-a": "b"}).status == 200
    yield client
    client.close()


def copy(client: ServerClient, source: str, **headers: str) -> Response:
    given = {"x-cos-copy-source": source, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return client("PUT", "copy", bucket=OTHER, headers=given)


@pytest.mark.parametrize(
    "form",
    [
        "{bucket}.cos.ap-guangzhou.myqcloud.com/{key}",
        "{bucket}.cos.eu-frankfurt.tencentcos.cn/{key}",
        "{bucket}.cos-internal.ap-guangzhou.myqcloud.com/{key}",
        "{bucket}.cos.ap-guangzhou.localhost:{port}/{key}",  # coscmd, with the address of this server
        "127.0.0.1:{port}/{bucket}/{key}",
        "/{bucket}/{key}",  # the S3 face
        "{bucket}/{key}",
        "{bucket}.cos.ap-guangzhou.myqcloud.com/{whole}",  # the slashes encoded too
    ],
)
def test_each_form_of_a_source_is_understood(client: ServerClient, server: RunningServer, form: str) -> None:
    source = form.format(bucket=server.bucket, port=server.port, key=quote(KEY), whole=quote(KEY, safe=""))
    reply = copy(client, source)
    assert (reply.status, reply.xml.tag) == (200, "CopyObjectResult")
    got = client("GET", "copy", bucket=OTHER)
    assert (got.body, got.headers["x-cos-meta-a"]) == (b"content", "b")
    assert reply.text("CRC64") == got.headers["x-cos-hash-crc64ecma"]
    assert reply.text("LastModified").endswith("Z")
    client("DELETE", "copy", bucket=OTHER)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("", "InvalidArgument"),
        ("{bucket}", "InvalidArgument"),
        ("{bucket}.cos.ap-guangzhou.myqcloud.com/", "InvalidArgument"),
        ("https://{bucket}.cos.ap-guangzhou.myqcloud.com/{key}", "InvalidArgument"),
        ("{bucket}.cos.accelerate.myqcloud.com/{key}", "InvalidArgument"),
        ("{bucket}.cos.ap-guangzhou.myqcloud.com/%ff", "InvalidArgument"),
        ("missing-1250000000.cos.ap-guangzhou.myqcloud.com/{key}", "NoSuchBucket"),
        ("{bucket}.cos.ap-guangzhou.myqcloud.com/missing", "NoSuchKey"),
        ("{bucket}.cos.ap-guangzhou.myqcloud.com/{key}?versionId=MTg0", "NoSuchVersion"),
        ("{bucket}.cos.ap-guangzhou.myqcloud.com/{twice}", "NoSuchKey"),
        ("{bucket}.cos.ap-guangzhou.myqcloud.com/" + "x" * 851, "KeyTooLong"),
    ],
)
def test_a_source_that_cannot_be_copied(client: ServerClient, server: RunningServer, source: str, code: str) -> None:
    text = source.format(bucket=server.bucket, key=quote(KEY), twice=quote(quote(KEY)))
    assert copy(client, text).code == code
    assert client("HEAD", "copy", bucket=OTHER).status == 404


def test_a_copy_onto_itself_needs_replaced(client: ServerClient, server: RunningServer) -> None:
    source = f"{server.bucket}.cos.ap-guangzhou.myqcloud.com/self"
    client("PUT", "self", body=b"x", headers={"x-cos-meta-a": "b"})
    assert client("PUT", "self", headers={"x-cos-copy-source": source}).code == "InvalidRequest"
    wrong = {"x-cos-copy-source": source, "x-cos-metadata-directive": "Keep"}
    assert client("PUT", "self", headers=wrong).code == "InvalidArgument"
    replaced = {"x-cos-copy-source": source, "x-cos-metadata-directive": "REPLACE", "x-cos-meta-new": "1"}
    assert client("PUT", "self", headers=replaced).status == 200
    assert "x-cos-meta-a" not in client("HEAD", "self").headers


@pytest.mark.parametrize(
    ("span", "code"),
    [
        ("bytes=0-6", ""),
        ("bytes=2-2", ""),
        ("bytes=0-7", "InvalidRange"),
        ("bytes=3-2", "InvalidArgument"),
        ("bytes=0-", "InvalidArgument"),
        ("bytes=-3", "InvalidArgument"),
        ("0-3", "InvalidArgument"),
        ("bytes=0-1,3-4", "InvalidArgument"),
        ("bytes=0-" + "9" * 5000, "InvalidArgument"),
    ],
)
def test_the_range_of_a_part(client: ServerClient, server: RunningServer, span: str, code: str) -> None:
    upload_id = client.begin("by parts")
    source = f"{server.bucket}.cos.ap-guangzhou.myqcloud.com/{quote(KEY)}"
    headers = {"x-cos-copy-source": source, "x-cos-copy-source-range": span}
    reply = client("PUT", "by parts", params={"partNumber": "1", "uploadId": upload_id}, headers=headers)
    assert reply.code == code
    if not code:
        assert client.complete("by parts", upload_id, [(1, reply.text("ETag"))]).status == 200
        first, last = map(int, span.removeprefix("bytes=").split("-"))
        assert client("GET", "by parts").body == b"content"[first : last + 1]


def test_an_archived_source_must_be_restored_first(client: ServerClient, server: RunningServer) -> None:
    client("PUT", "cold", body=b"x", headers={"x-cos-storage-class": "DEEP_ARCHIVE"})
    assert copy(client, f"{server.bucket}.cos.ap-guangzhou.myqcloud.com/cold").code == "InvalidObjectState"


def test_the_content_of_a_copy_outlives_its_source(client: ServerClient, server: RunningServer) -> None:
    client("PUT", "short-lived", body=b"kept")
    assert copy(client, f"{server.bucket}.cos.ap-guangzhou.myqcloud.com/short-lived").status == 200
    client("PUT", "short-lived", body=b"other")
    client("DELETE", "short-lived")
    assert client("GET", "copy", bucket=OTHER).body == b"kept"


@pytest.mark.parametrize("name", ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"])
def test_conditions_of_requests_that_write_are_not_ignored(
    client: ServerClient, server: RunningServer, name: str
) -> None:
    given = {name: "*"}
    source = f"{server.bucket}.cos.ap-guangzhou.myqcloud.com/{quote(KEY)}"
    upload_id = client.begin("conditional")
    replies = [
        client("PUT", "conditional", body=b"x", headers=given),
        client("POST", "conditional", params={"uploads": ""}, headers=given),
        client("POST", "conditional", params={"uploadId": upload_id}, body=b"<x/>", headers=given),
        client("DELETE", "conditional", headers=given),
        copy(client, source, **{name: "*"}),
    ]
    assert [(reply.status, reply.code) for reply in replies] == [(501, "NotImplemented")] * len(replies)
