"""cosxfer and the official SDK, cos-python-sdk-v5, read what the other wrote."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer

qcloud_cos = pytest.importorskip("qcloud_cos")

pytestmark = [
    # The SDK's responses keep their connections open until they are garbage-collected.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

KEYS = [
    "a b/c d.txt",
    "a+b",
    "50%25 100%",
    "who?what=1&x",
    "c#major",
    "\U0001f680/名前/ü",
    "/leading",
    "//leading twice",
    "a/../b",
    "../up",
    "a/./b",
    "tilde~'(quote)*!$&,;=:@[]",
    "back\\slash",
    "trailing /",
    "trailing/",
]
METADATA = {"name": "Zoë Ångström", "emoji": "\U0001f600", "cjk": "对象存储", "percent": "100%25", "plain": "a b=c"}
BODY = os.urandom(100_000)


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Silence the SDK, which logs each error that a test provokes."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def ours(server: RunningServer) -> Iterator[cosxfer.Client]:
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
        yield client


@pytest.fixture(scope="module")
def theirs(server: RunningServer) -> Any:
    config = qcloud_cos.CosConfig(
        Region=server.region,
        SecretId=server.credentials.secret_id,
        SecretKey=server.credentials.secret_key,
        Scheme="http",
        Domain=f"{server.host}:{server.port}",
    )
    return qcloud_cos.CosS3Client(config, retry=0)


def read_theirs(theirs: Any, bucket: str, key: str) -> tuple[bytes, dict[str, str]]:
    response = theirs.get_object(bucket, key)
    # requests decodes header values as Latin-1.
    metadata = {
        name.lower().removeprefix("x-cos-meta-"): value.encode("latin-1").decode()
        for name, value in response.items()
        if name.lower().startswith("x-cos-meta-")
    }
    return response["Body"].get_raw_stream().read(), metadata


@pytest.mark.parametrize("key", KEYS)
def test_they_read_what_we_put(ours: cosxfer.Client, theirs: Any, server: RunningServer, key: str) -> None:
    ours.put_object(server.bucket, key, BODY, metadata=METADATA)
    assert read_theirs(theirs, server.bucket, key) == (BODY, METADATA)


@pytest.mark.parametrize("key", KEYS)
def test_we_read_what_they_put(ours: cosxfer.Client, theirs: Any, server: RunningServer, key: str) -> None:
    metadata = {f"x-cos-meta-{name}": value for name, value in METADATA.items()}
    theirs.put_object(server.bucket, BODY, key, Metadata=metadata)
    got = ours.get_object(server.bucket, key)
    assert (got.body, dict(got.metadata), got.verified) == (BODY, METADATA, True)


@pytest.mark.parametrize("key", KEYS)
def test_both_append_to_the_same_object(ours: cosxfer.Client, theirs: Any, server: RunningServer, key: str) -> None:
    key = f"{key}.log"
    position = ours.append_object(server.bucket, key, b"ours ", position=0, metadata=METADATA).next_append_position
    response = theirs.append_object(server.bucket, key, position, b"theirs ")
    position = int(response["x-cos-next-append-position"])
    ours.append_object(server.bucket, key, b"ours again", position=position)
    assert read_theirs(theirs, server.bucket, key) == (b"ours theirs ours again", METADATA)
    assert ours.get_object(server.bucket, key).verified
    assert theirs.head_object(server.bucket, key)["x-cos-object-type"] == "appendable"


@pytest.mark.parametrize("key", KEYS)
def test_an_upload_that_they_began_is_completed_by_us(
    ours: cosxfer.Client, theirs: Any, server: RunningServer, key: str
) -> None:
    parts = [os.urandom(MIB), b"theirs"]
    upload_id = theirs.create_multipart_upload(server.bucket, key)["UploadId"]
    theirs.upload_part(server.bucket, key, parts[1], 2, upload_id)
    ours.multipart_upload(server.bucket, key, parts[0], upload_id=upload_id, part_number=1)
    assert [upload.upload_id for upload in ours.iter_multipart_list(server.bucket)] == [upload_id]
    listed = list(ours.iter_multipart_list_part(server.bucket, key, upload_id=upload_id, max_parts=1))
    assert [part.etag for part in listed] == [f'"{hashlib.md5(part).hexdigest()}"' for part in parts]
    ours.multipart_complete(server.bucket, key, upload_id=upload_id, parts=listed)
    assert read_theirs(theirs, server.bucket, key)[0] == b"".join(parts)


@pytest.mark.parametrize("key", KEYS)
def test_an_upload_that_we_began_is_completed_by_them(
    ours: cosxfer.Client, theirs: Any, server: RunningServer, key: str
) -> None:
    parts = [os.urandom(MIB), b"theirs"]
    upload_id = ours.multipart_init(server.bucket, key, metadata=METADATA).upload_id
    ours.multipart_upload(server.bucket, key, parts[0], upload_id=upload_id, part_number=1)
    theirs.upload_part(server.bucket, key, parts[1], 2, upload_id)
    uploads = theirs.list_multipart_uploads(server.bucket)["Upload"]
    assert [upload["UploadId"] for upload in uploads] == [upload_id]
    listed = theirs.list_parts(server.bucket, key, upload_id)["Part"]
    chosen = [{"PartNumber": int(part["PartNumber"]), "ETag": part["ETag"]} for part in listed]
    theirs.complete_multipart_upload(server.bucket, key, upload_id, {"Part": chosen})
    got = ours.get_object(server.bucket, key)
    assert (got.body, dict(got.metadata), got.verified) == (b"".join(parts), METADATA, True)


def test_they_read_what_came_by_a_form(ours: cosxfer.Client, theirs: Any, server: RunningServer) -> None:
    ours.post_object(server.bucket, "form/${filename}", BODY, filename="a b+c#\U0001f680.bin", metadata=METADATA)
    assert read_theirs(theirs, server.bucket, "form/a b+c#\U0001f680.bin") == (BODY, METADATA)


def test_both_find_what_the_other_aborted(ours: cosxfer.Client, theirs: Any, server: RunningServer) -> None:
    first = ours.multipart_init(server.bucket, "x").upload_id
    second = theirs.create_multipart_upload(server.bucket, "x")["UploadId"]
    theirs.abort_multipart_upload(server.bucket, "x", first)
    ours.multipart_abort(server.bucket, "x", upload_id=second)
    with pytest.raises(cosxfer.NotFoundError, match="NoSuchUpload"):
        ours.multipart_abort(server.bucket, "x", upload_id=first)
    with pytest.raises(qcloud_cos.CosServiceError, match="NoSuchUpload"):
        theirs.abort_multipart_upload(server.bucket, "x", second)
