"""cos-python-sdk-v5 lists, copies, deletes, tags and versions on the server, and each side reads what the other did."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
import requests

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running

qcloud_cos = pytest.importorskip("qcloud_cos")

pytestmark = [
    # The SDK's responses keep their connections open until they are garbage-collected.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

KEYS = sorted(["a", "b/1", "b/2", "c +%é&<>", "d?versionId=x", "\U0001f680"], key=str.encode)
METADATA = {"colour": "red"}


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Silence the SDK, which logs each error that a test provokes."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running() as server:
        yield server


@pytest.fixture
def ours(server: RunningServer) -> Iterator[cosxfer.Client]:
    with cosxfer.Client(endpoint=server.endpoint, region=server.region, credentials=server.credentials) as client:
        yield client


@pytest.fixture
def theirs(server: RunningServer) -> Any:
    return qcloud_cos.CosS3Client(
        qcloud_cos.CosConfig(
            Region=server.region,
            SecretId=server.credentials.secret_id,
            SecretKey=server.credentials.secret_key,
            Scheme="http",
            Domain=f"127.0.0.1:{server.port}",
            ServiceDomain=f"127.0.0.1:{server.port}",
        ),
        retry=0,
    )


@pytest.fixture
def filled(ours: cosxfer.Client, server: RunningServer) -> None:
    for key in KEYS:
        ours.put_object(server.bucket, key, key, metadata=METADATA, content_type="text/x")


def names(page: dict[str, Any], kind: str = "Contents") -> list[str]:
    return [entry["Key"] for entry in page.get(kind, [])]


def test_they_list_what_we_list(filled: None, ours: cosxfer.Client, theirs: Any, server: RunningServer) -> None:
    pages, marker = [], ""
    while True:
        page = theirs.list_objects(server.bucket, MaxKeys=2, Marker=marker, EncodingType="url")
        pages += names(page)
        if page["IsTruncated"] == "false":
            break
        marker = requests.utils.unquote(page["NextMarker"])
    assert [requests.utils.unquote(name) for name in pages] == KEYS
    assert [entry.key for entry in ours.iter_list_objects(server.bucket, max_keys=2)] == KEYS
    grouped = theirs.list_objects(server.bucket, Delimiter="/")
    assert [group["Prefix"] for group in grouped["CommonPrefixes"]] == ["b/"]


def test_they_delete_what_we_put(filled: None, ours: cosxfer.Client, theirs: Any, server: RunningServer) -> None:
    result = theirs.delete_objects(
        server.bucket, Delete={"Quiet": "false", "Object": [{"Key": key} for key in KEYS[:3]]}
    )
    assert names(result, "Deleted") == KEYS[:3]
    theirs.delete_object(server.bucket, KEYS[3])
    assert [entry.key for entry in ours.iter_list_objects(server.bucket)] == KEYS[4:]


@pytest.mark.parametrize("key", KEYS)
def test_they_copy_what_we_put(
    filled: None, ours: cosxfer.Client, theirs: Any, server: RunningServer, key: str
) -> None:
    source = {"Bucket": server.bucket, "Key": key, "Region": server.region}
    theirs.copy_object(server.bucket, "their copy", source)
    got = ours.get_object(server.bucket, "their copy")
    assert (got.body, dict(got.metadata), got.content_type) == (key.encode(), METADATA, "text/x")
    theirs.copy_object(
        server.bucket,
        "their copy",
        source,
        CopyStatus="Replaced",
        Metadata={"x-cos-meta-new": "1"},
        StorageClass="STANDARD_IA",
    )
    head = ours.head_object(server.bucket, "their copy")
    assert (dict(head.metadata), head.storage_class) == ({"new": "1"}, "STANDARD_IA")


def test_they_copy_in_parts(ours: cosxfer.Client, theirs: Any, server: RunningServer) -> None:
    body = os.urandom(3 * MIB + 7)
    ours.put_object(server.bucket, "large é", body)
    source = {"Bucket": server.bucket, "Key": "large é", "Region": server.region}
    upload_id = theirs.create_multipart_upload(server.bucket, "parts")["UploadId"]
    parts = []
    for number, span in enumerate((f"bytes=0-{MIB - 1}", f"bytes={MIB}-{len(body) - 1}"), 1):
        part = theirs.upload_part_copy(server.bucket, "parts", number, upload_id, source, CopySourceRange=span)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    theirs.complete_multipart_upload(server.bucket, "parts", upload_id, {"Part": parts})
    assert ours.get_object(server.bucket, "parts").body == body


def test_they_read_what_we_copied(ours: cosxfer.Client, theirs: Any, server: RunningServer) -> None:
    body = os.urandom(3 * MIB + 7)
    theirs.put_object(server.bucket, body, "theirs", Metadata={"x-cos-meta-colour": "red"})
    source = cosxfer.CopySource(bucket=server.bucket, key="theirs")
    for name, sizes in (("one", {}), ("parts", {"slice_size": MIB, "part_size": MIB})):
        assert ours.copy(server.bucket, name, source, **sizes).verified  # type: ignore[arg-type]
        got = theirs.get_object(server.bucket, name)
        assert (got["Body"].get_raw_stream().read(), got["x-cos-meta-colour"]) == (body, "red")


def test_tags_and_rights_are_the_same_for_both(ours: cosxfer.Client, theirs: Any, server: RunningServer) -> None:
    theirs.put_object(server.bucket, b"x", "k")
    theirs.put_object_tagging(server.bucket, "k", {"TagSet": {"Tag": [{"Key": "a", "Value": "b c"}]}})
    assert ours.get_object_tagging(server.bucket, "k").tags == {"a": "b c"}
    ours.put_object_tagging(server.bucket, "k", tags={"x": "y"})
    assert theirs.get_object_tagging(server.bucket, "k")["TagSet"]["Tag"] == [{"Key": "x", "Value": "y"}]
    theirs.delete_object_tagging(server.bucket, "k")
    assert ours.get_object_tagging(server.bucket, "k").tags == {}
    theirs.put_object_acl(server.bucket, "k", ACL="public-read")
    assert not ours.get_object_acl(server.bucket, "k").is_default
    ours.put_object_acl(server.bucket, "k", grant_full_control='id="100000000002"')
    [grant] = theirs.get_object_acl(server.bucket, "k")["AccessControlList"]["Grant"]
    assert grant["Permission"] == "FULL_CONTROL"
    assert grant["Grantee"]["ID"].endswith("uin/100000000002")
    policy = theirs.get_object_acl(server.bucket, "k")
    theirs.put_object_acl(
        server.bucket,
        "k",
        AccessControlPolicy={
            "Owner": policy["Owner"],
            "AccessControlList": {
                "Grant": [{"Grantee": {"Type": "CanonicalUser", "ID": policy["Owner"]["ID"]}, "Permission": "READ"}]
            },
        },
    )
    assert [one.permission for one in ours.get_object_acl(server.bucket, "k").grants] == ["READ"]


def test_versions_are_the_same_for_both(ours: cosxfer.Client, theirs: Any, server: RunningServer) -> None:
    assert theirs.get_bucket_versioning(server.bucket).get("Status") is None
    theirs.put_bucket_versioning(server.bucket, "Enabled")
    assert theirs.get_bucket_versioning(server.bucket)["Status"] == "Enabled"
    first = theirs.put_object(server.bucket, b"1", "k")["x-cos-version-id"]
    second = ours.put_object(server.bucket, "k", b"2").version_id
    marker = theirs.delete_object(server.bucket, "k")["x-cos-version-id"]
    listed = theirs.list_objects_versions(server.bucket)
    assert [entry["VersionId"] for entry in listed["Version"]] == [second, first]
    assert [entry["VersionId"] for entry in listed["DeleteMarker"]] == [marker]
    entries = list(ours.iter_list_object_versions(server.bucket))
    assert [entry.version_id for entry in entries if not isinstance(entry, cosxfer.CommonPrefix)] == [
        marker,
        second,
        first,
    ]
    assert theirs.get_object(server.bucket, "k", VersionId=first)["Body"].get_raw_stream().read() == b"1"
    theirs.delete_object(server.bucket, "k", VersionId=marker)
    assert ours.get_object(server.bucket, "k").body == b"2"


def test_they_restore_and_ask_for_buckets(ours: cosxfer.Client, theirs: Any, server: RunningServer) -> None:
    ours.put_object(server.bucket, "archived", b"x", storage_class="ARCHIVE")
    theirs.restore_object(server.bucket, "archived", {"Days": 2, "CASJobParameters": {"Tier": "Bulk"}})
    assert ours.restore_object(server.bucket, "archived", days=1).already_in_progress
    assert theirs.bucket_exists(server.bucket)
    assert {bucket["Name"] for bucket in theirs.list_buckets()["Buckets"]["Bucket"]} == {server.bucket}


def test_urls_that_they_sign_are_accepted(ours: cosxfer.Client, theirs: Any, server: RunningServer) -> None:
    ours.put_object(server.bucket, "k é", b"content")
    url = theirs.get_presigned_url(
        server.bucket, "k é", "GET", Params={"response-content-type": "text/plain"}, Expired=300
    )
    response = requests.get(url, timeout=30)
    assert (response.status_code, response.content) == (200, b"content")
    assert response.headers["content-type"] == "text/plain"
