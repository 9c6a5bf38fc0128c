"""Rights, tags, restores, pre-signed URLs, conditions, buckets: client against server."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from tests.functional.server_client import ServerClient

ALL_USERS = "http://cam.qcloud.com/groups/global/AllUsers"
VERSIONING = "<VersioningConfiguration><Status>{}</Status></VersioningConfiguration>"


@pytest.fixture
def key(client: cosxfer.Client, server: RunningServer) -> str:
    client.put_object(server.bucket, "k é+", b"0123456789", content_type="text/x")
    return "k é+"


def set_versioning(server: RunningServer, status: str) -> None:
    with closing(ServerClient(server)) as raw:
        document = VERSIONING.format(status).encode()
        assert raw("PUT", params={"versioning": ""}, body=document).status == 200
        assert raw("GET", params={"versioning": ""}).text("Status") == status


# Rights


def test_an_object_has_the_rights_of_its_bucket_until_it_gets_its_own(
    client: cosxfer.Client, server: RunningServer, key: str
) -> None:
    found = client.get_object_acl(server.bucket, key)
    assert found.is_default
    assert [grant.permission for grant in found.grants] == ["FULL_CONTROL"]
    client.put_object_acl(server.bucket, key, acl="public-read")
    found = client.get_object_acl(server.bucket, key)
    assert not found.is_default
    assert cosxfer.Grant(permission="READ", uri=ALL_USERS) in found.grants
    client.put_object_acl(server.bucket, key, grant_read='id="100000000002", id="100000000003"')
    readers = client.get_object_acl(server.bucket, key).grants
    assert [grant.id.rpartition("/")[2] for grant in readers] == ["100000000002", "100000000003"]
    assert client.get_object(server.bucket, key).body == b"0123456789"


def test_rights_can_be_given_with_the_object(client: cosxfer.Client, server: RunningServer) -> None:
    client.put_object(server.bucket, "with rights", b"x", acl="public-read")
    assert not client.get_object_acl(server.bucket, "with rights").is_default
    client.slice_upload_file(server.bucket, "in parts", __file__, acl="public-read")
    client.post_object(server.bucket, "by form", b"x", acl="public-read")
    client.append_object(server.bucket, "appended", b"x", position=0, acl="public-read")
    for name in ("in parts", "by form", "appended"):
        assert not client.get_object_acl(server.bucket, name).is_default, name


def test_rights_must_be_given(client: cosxfer.Client, server: RunningServer, key: str) -> None:
    with pytest.raises(cosxfer.UsageError, match="needs acl="):
        client.put_object_acl(server.bucket, key)
    with pytest.raises(cosxfer.ServerError, match="InvalidArgument"):
        client.put_object_acl(server.bucket, key, grant_read="100000000002")
    with pytest.raises(cosxfer.NotFoundError, match="NoSuchKey"):
        client.get_object_acl(server.bucket, "missing")


# Tags


def test_tags_are_replaced_read_and_removed(client: cosxfer.Client, server: RunningServer, key: str) -> None:
    assert client.get_object_tagging(server.bucket, key).tags == {}
    client.put_object_tagging(server.bucket, key, tags={"a b": "c+d", "é": ""})
    assert client.get_object_tagging(server.bucket, key).tags == {"a b": "c+d", "é": ""}
    client.put_object_tagging(server.bucket, key, tags={"x": "y"})
    assert client.get_object_tagging(server.bucket, key).tags == {"x": "y"}
    assert client.head_object(server.bucket, key).headers["x-cos-tagging-count"] == "1"
    client.delete_object_tagging(server.bucket, key)
    assert client.get_object_tagging(server.bucket, key).tags == {}


@pytest.mark.parametrize("tags", [{"": "x"}, {"k" * 128: "x"}, {"k": "v" * 256}, {"k?": "x"}])
def test_tags_that_cos_refuses(client: cosxfer.Client, server: RunningServer, key: str, tags: dict[str, str]) -> None:
    with pytest.raises(cosxfer.ServerError, match="InvalidTag"):
        client.put_object_tagging(server.bucket, key, tags=tags)


def test_more_than_ten_tags_are_refused_before_anything_is_sent(
    client: cosxfer.Client, server: RunningServer, key: str
) -> None:
    with pytest.raises(cosxfer.UsageError, match="at most 10"):
        client.put_object_tagging(server.bucket, key, tags={str(n): "" for n in range(11)})


def test_tags_belong_to_a_version() -> None:
    with running() as server, cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
        set_versioning(server, "Enabled")
        first = client.put_object(server.bucket, "k", b"1").version_id
        client.put_object_tagging(server.bucket, "k", tags={"n": "1"})
        client.put_object(server.bucket, "k", b"2")
        assert client.get_object_tagging(server.bucket, "k").tags == {}
        found = client.get_object_tagging(server.bucket, "k", version_id=first)
        assert (found.tags, found.version_id) == ({"n": "1"}, first)


# Restores (the clock is moved in tests/unit/server/test_restoring.py)


def test_an_archived_object_must_be_restored(client: cosxfer.Client, server: RunningServer) -> None:
    client.put_object(server.bucket, "archived", b"x", storage_class="ARCHIVE")
    with pytest.raises(cosxfer.AccessDeniedError, match="InvalidObjectState"):
        client.get_object(server.bucket, "archived")
    assert not client.restore_object(server.bucket, "archived", days=1, tier="Bulk").already_in_progress
    head = client.head_object(server.bucket, "archived")
    assert head.headers["x-cos-restore"] == 'ongoing-request="true"'
    assert head.headers["x-cos-restore-status"].startswith('tier="bulk"; request-date="')
    assert client.restore_object(server.bucket, "archived", days=1).already_in_progress


@pytest.mark.parametrize(
    ("storage_class", "tier", "code"),
    [("STANDARD", "Standard", "MethodNotAllowed"), ("DEEP_ARCHIVE", "Expedited", "InvalidArgument")],
)
def test_restores_that_cos_refuses(
    client: cosxfer.Client, server: RunningServer, storage_class: str, tier: str, code: str
) -> None:
    client.put_object(server.bucket, "refused", b"x", storage_class=storage_class)
    with pytest.raises(cosxfer.ServerError, match=code):
        client.restore_object(server.bucket, "refused", days=1, tier=tier)


# Pre-signed URLs


def open_url(url: cosxfer.PresignedUrl, body: bytes | None = None, **headers: str) -> tuple[int, bytes, Any]:
    request = urllib.request.Request(url.url, data=body, method=url.method, headers={**url.headers, **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read(), response.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


def test_a_url_reads_with_the_parameters_that_it_signs(client: cosxfer.Client, server: RunningServer, key: str) -> None:
    params = {"response-content-type": "text/plain; charset=utf-8", "response-content-disposition": 'a; f="é +"'}
    url = client.presign_url(server.bucket, key, params=params)
    assert "response-content-type%3B" not in url.url
    assert "+" not in url.url
    status, body, headers = open_url(url)
    assert (status, body, headers["content-type"]) == (200, b"0123456789", "text/plain; charset=utf-8")
    changed = cosxfer.PresignedUrl(
        url=url.url.replace("text%2Fplain", "text%2Fhtml"), method="GET", headers={}, expires_at=0
    )
    assert open_url(changed)[0] == 403


def test_urls_for_each_method(client: cosxfer.Client, server: RunningServer, key: str) -> None:
    put = client.presign_url(server.bucket, "by url", method="PUT", headers={"Content-Type": "text/y"})
    assert put.headers == {"content-type": "text/y"}
    assert open_url(put, b"body")[0] == 200
    assert client.head_object(server.bucket, "by url").content_type == "text/y"
    assert open_url(put, b"body", **{"content-type": "text/z"})[0] == 403
    assert open_url(client.presign_url(server.bucket, "by url", method="HEAD"))[0] == 200
    begin = client.presign_url(server.bucket, "by url", method="POST", params={"uploads": ""})
    assert b"<UploadId>" in open_url(begin, b"")[1]
    assert open_url(client.presign_url(server.bucket, "by url", method="DELETE"))[0] == 204
    assert open_url(client.presign_url(server.bucket, "by url"))[0] == 404


def test_a_url_dies_with_the_temporary_key_that_signs_it() -> None:
    keys = cosxfer.Credentials(secret_id="i", secret_key="k", token="t+/=", expires_at=4_000_000_000)
    with cosxfer.Client(region="ap-x", credentials=keys) as client:
        url = client.presign_url("b-1", "k", expires_seconds=3_153_600_000)
    assert url.expires_at == 4_000_000_000
    assert "x-cos-security-token=t%2B%2F%3D" in url.url
    assert url.url not in repr(url)


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "get"},
        {"method": "PATCH"},
        {"expires_seconds": 0},
        {"headers": {"host": "x"}},
        {"headers": {"accept": "x"}},
        {"headers": {"range": "a\nb"}},
        {"params": {"q-ak": "x"}},
        {"params": {5: "x"}},
    ],
)
def test_a_url_that_could_not_work_is_refused(client: cosxfer.Client, wrong: dict[str, Any]) -> None:
    with pytest.raises(cosxfer.UsageError):
        client.presign_url("b-1", "k", **wrong)


# Conditions and response headers


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"if_match": '"0"'}, 412),
        ({"if_none_match": "*"}, 304),
        ({"if_modified_since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 304),
        ({"if_unmodified_since": "Sat, 01 Jan 2000 00:00:00 GMT"}, 412),
    ],
)
def test_reading_has_conditions(
    client: cosxfer.Client, server: RunningServer, key: str, condition: dict[str, Any], status: int
) -> None:
    for call in (client.get_object, client.head_object):
        with pytest.raises(cosxfer.ServerError) as caught:
            call(server.bucket, key, **condition)  # type: ignore[operator]
        assert caught.value.status == status


def test_conditions_that_hold(client: cosxfer.Client, server: RunningServer, key: str) -> None:
    etag = client.head_object(server.bucket, key).etag
    assert client.get_object(server.bucket, key, if_match=etag, if_none_match='"0"').verified
    assert client.head_object(server.bucket, key, if_match=f'"0", {etag}').size == 10


def test_headers_of_the_response_are_replaced(client: cosxfer.Client, server: RunningServer, key: str) -> None:
    got = client.get_object(
        server.bucket, key, response_content_type="text/q", response_cache_control="no-store", byte_range=(0, 3)
    )
    assert (got.content_type, got.headers["cache-control"], got.body) == ("text/q", "no-store", b"0123")


# No overwriting


def test_no_call_overwrites_if_that_is_forbidden(client: cosxfer.Client, server: RunningServer, key: str) -> None:
    source = cosxfer.CopySource(bucket=server.bucket, key=key, region="ap-guangzhou")
    client.put_object(server.bucket, "there", b"old")
    upload = client.multipart_init(server.bucket, "there").upload_id
    part = client.multipart_upload(server.bucket, "there", b"x", upload_id=upload, part_number=1)
    for call in (
        lambda: client.put_object(server.bucket, "there", b"new", forbid_overwrite=True),
        lambda: client.post_object(server.bucket, "there", b"new", forbid_overwrite=True),
        lambda: client.multipart_init(server.bucket, "there", forbid_overwrite=True),
        lambda: client.multipart_complete(
            server.bucket, "there", upload_id=upload, parts=[part], forbid_overwrite=True
        ),
        lambda: client.upload_file(server.bucket, "there", __file__, forbid_overwrite=True),
        lambda: client.copy_object(server.bucket, "there", source, forbid_overwrite=True),
        lambda: client.copy(server.bucket, "there", source, forbid_overwrite=True),
    ):
        with pytest.raises(cosxfer.ServerError, match="FileAlreadyExists") as caught:
            call()
        assert caught.value.status == 409
    assert client.get_object(server.bucket, "there").body == b"old"
    client.multipart_abort(server.bucket, "there", upload_id=upload)
    assert client.put_object(server.bucket, "there", b"new", forbid_overwrite=False).verified


def test_an_object_that_appears_during_an_upload_in_parts_is_not_overwritten(
    client: cosxfer.Client, server: RunningServer
) -> None:
    def pieces() -> Iterator[bytes]:
        yield os.urandom(3 * MIB)
        client.put_object(server.bucket, "appears", b"other")
        yield os.urandom(3 * MIB)

    with pytest.raises(cosxfer.ServerError, match="FileAlreadyExists"):
        client.upload_stream(server.bucket, "appears", pieces(), part_size=MIB, forbid_overwrite=True)
    assert client.get_object(server.bucket, "appears").body == b"other"
    assert list(client.iter_multipart_list(server.bucket, prefix="appears")) == []


@pytest.mark.parametrize("size", [5, 3 * MIB])
def test_a_lost_response_is_not_taken_for_an_object_of_others(
    client: cosxfer.Client, server: RunningServer, size: int, tmp_path: Any
) -> None:
    file = tmp_path / "f"
    file.write_bytes(os.urandom(size))
    key = f"lost {size}"
    server.set_faults([{"operation": ["put_object", "multipart_complete"], "times": 1, "do": "reset", "at": "answer"}])
    assert client.upload_file(server.bucket, key, file, slice_size=MIB, part_size=MIB, forbid_overwrite=True).verified
    assert client.get_object(server.bucket, key).body == file.read_bytes()


def test_a_bucket_that_ever_had_versioning_ignores_it() -> None:
    with running() as server, cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
        set_versioning(server, "Enabled")
        set_versioning(server, "Suspended")
        client.put_object(server.bucket, "k", b"1")
        assert client.put_object(server.bucket, "k", b"2", forbid_overwrite=True).version_id == "null"


# Buckets


def test_buckets_are_listed_and_asked_for() -> None:
    names = tuple(f"{letter}bucket-1250000000" for letter in "abcde")
    with (
        running(buckets=names) as server,
        cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client,
    ):
        assert [bucket.name for bucket in client.list_buckets().buckets] == list(names)
        assert [bucket.name for bucket in client.iter_list_buckets(max_keys=2)] == list(names)
        page = client.list_buckets(max_keys=2, marker=names[0])
        assert ([bucket.name for bucket in page.buckets], page.is_truncated) == (list(names[1:3]), True)
        assert client.list_buckets(region="ap-elsewhere").buckets == ()
        assert page.buckets[0].region == client.head_bucket(names[0]).region == server.region
        with pytest.raises(cosxfer.NotFoundError):
            client.head_bucket("missing-1250000000")


def test_the_only_bucket_of_a_server_is_listed_too(client: cosxfer.Client, server: RunningServer) -> None:
    assert [bucket.name for bucket in client.iter_list_buckets()] == [server.bucket]


def test_a_bucket_with_versions_cannot_be_deleted() -> None:
    with (
        running() as server,
        cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client,
        closing(ServerClient(server)) as raw,
    ):
        set_versioning(server, "Enabled")
        client.put_object(server.bucket, "k", b"1")
        client.delete_object(server.bucket, "k")
        assert list(client.iter_list_objects(server.bucket)) == []
        assert raw("DELETE").code == "BucketNotEmpty"
        assert client.delete_objects(server.bucket, client.iter_list_object_versions(server.bucket)).errors == ()
        assert raw("DELETE").status == 204
