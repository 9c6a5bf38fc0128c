"""A user's code with objects, forms and multipart uploads, for mypy --strict."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import assert_type

import cosxfer

BUCKET = "examplebucket-1250000000"


def pieces() -> Iterator[bytes]:
    yield b"a"


async def async_pieces() -> AsyncIterator[bytes]:
    yield b"a"


def bodies(client: cosxfer.Client, path: Path) -> None:
    client.put_object(BUCKET, "k", "text")
    client.put_object(BUCKET, "k", bytearray(b"a"), expect="100-continue", content_md5="…", traffic_limit=819_200)
    client.put_object(BUCKET, "k", memoryview(b"a"))
    client.put_object(BUCKET, "k", path)
    client.put_object(BUCKET, "k", io.BytesIO(b"a"))
    with path.open("rb") as file:
        client.put_object(BUCKET, "k", file, content_length=3)
    client.put_object(BUCKET, "k", pieces())
    client.put_object(BUCKET, "k", [b"a", bytearray(b"b"), memoryview(b"c")])
    client.put_object(BUCKET, "k", async_pieces())
    client.put_object(BUCKET, "k", 5)  # type: ignore[arg-type]
    client.put_object(BUCKET, "k", [1, 2])  # type: ignore[list-item]
    client.put_object(BUCKET, "k", b"", expires=5)  # type: ignore[arg-type]
    client.put_object(BUCKET, "k", b"", expect=True)  # type: ignore[arg-type]
    with path.open() as text:
        client.put_object(BUCKET, "k", text)  # type: ignore[arg-type]


def left_out(client: cosxfer.Client, path: Path, kind: str | None, limit: int | None) -> None:
    # None means the default, so optional values need no branch.
    client.put_object(BUCKET, "k", path, content_type=kind, metadata=None, traffic_limit=limit, sse_customer_key=None)
    client.upload_file(BUCKET, "k", path, content_type=kind, storage_class=None, async_limit=limit)
    client.upload_files([{"bucket": BUCKET, "key": "k", "path": path, "content_type": kind, "part_size": limit}])
    client.head_object(BUCKET, "k", sse_customer_algorithm=kind)


def appends(client: cosxfer.Client) -> None:
    result = client.append_object(BUCKET, "k", b"a", position=0, metadata={"a": "b"})
    assert_type(result, cosxfer.AppendObjectResult)
    assert_type(result.next_append_position, int)
    client.append_object(BUCKET, "k", b"a")  # type: ignore[call-arg]
    try:
        client.append_object(BUCKET, "k", b"a", position=7)
    except cosxfer.AppendPositionError as error:
        assert_type(error.position, int | None)


def forms(client: cosxfer.Client, path: Path) -> None:
    form = client.presign_post(
        BUCKET,
        "in/${filename}",
        conditions=[{"acl": "private"}, ["starts-with", "$key", "in/"], ["content-length-range", 1, 10]],
        expires_seconds=60,
        success_action_status=201,
        acl="private",
    )
    assert_type(form, cosxfer.PresignedPost)
    assert_type(client.post_object(BUCKET, "k", path, filename="a"), cosxfer.PostObjectResult)
    client.presign_post(BUCKET, "k", conditions=[5])  # type: ignore[list-item]
    client.presign_post(BUCKET, "k", b"body")  # type: ignore[call-arg,arg-type]


def multipart(client: cosxfer.Client) -> None:
    upload_id = client.multipart_init(BUCKET, "k", storage_class="ARCHIVE").upload_id
    part = client.multipart_upload(
        BUCKET, "k", pieces(), upload_id=upload_id, part_number=1, content_length=1, expect="100-continue"
    )
    assert_type(part, cosxfer.MultipartUploadResult)
    client.multipart_upload(BUCKET, "k", b"", upload_id=upload_id, part_number=1, acl="private")  # type: ignore[call-arg]
    for upload in client.iter_multipart_list(BUCKET, prefix="a"):
        assert_type(upload, cosxfer.Upload)
    for entry in client.iter_multipart_list(BUCKET, delimiter="/"):
        assert_type(entry, cosxfer.Upload | cosxfer.CommonPrefix)
    parts = list(client.iter_multipart_list_part(BUCKET, "k", upload_id=upload_id))
    assert_type(parts, list[cosxfer.Part])
    assert_type(
        client.multipart_complete(BUCKET, "k", upload_id=upload_id, parts=parts), cosxfer.MultipartCompleteResult
    )
    client.multipart_complete(BUCKET, "k", upload_id=upload_id, parts=[part])


def fetched(client: cosxfer.Client, path: Path, maybe: str | None) -> None:
    assert_type(client.get_object(BUCKET, "k"), cosxfer.GetObjectBytesResult)
    assert_type(client.get_object(BUCKET, "k", output=None, byte_range=(0, 5)), cosxfer.GetObjectBytesResult)
    assert_type(client.get_object(BUCKET, "k").body.decode(), str)
    saved = client.get_object(BUCKET, "k", output=path, version_id="v", region="ap-guangzhou")
    assert_type(saved, cosxfer.GetObjectFileResult)
    assert_type(saved.path, str)
    assert_type(client.get_object(BUCKET, "k", output="f"), cosxfer.GetObjectFileResult)
    assert_type(client.get_object(BUCKET, "k", into=bytearray(5)), cosxfer.GetObjectIntoResult)
    either = client.get_object(BUCKET, "k", output=maybe)
    assert_type(either, cosxfer.GetObjectBytesResult | cosxfer.GetObjectFileResult)
    assert_type(either.body, bytes | None)
    both: cosxfer.GetObjectResult = either
    assert_type(both.verified, bool)
    key, md5 = "a2V5", "bWQ1"
    head = client.head_object(
        BUCKET, "k", sse_customer_algorithm="AES256", sse_customer_key=key, sse_customer_key_md5=md5
    )
    assert_type(head, cosxfer.HeadObjectResult)
    assert_type(client.get_object(BUCKET, "k", sse_customer_key=key), cosxfer.GetObjectBytesResult)
    assert_type(client.get_object(BUCKET, "k", output=path, sse_customer_key=key), cosxfer.GetObjectFileResult)
    client.head_object(BUCKET, "k", acl="private")  # type: ignore[call-arg]
    saved.body.decode()  # type: ignore[attr-defined]
    client.get_object(BUCKET, "k", output=5)  # type: ignore[call-overload]


def listed(client: cosxfer.Client, maybe: str | None) -> None:
    assert_type(client.multipart_list(BUCKET, delimiter=maybe), cosxfer.MultipartListResult)
    for entry in client.iter_multipart_list(BUCKET, delimiter=maybe):
        assert_type(entry, cosxfer.Upload | cosxfer.CommonPrefix)
    for upload in client.iter_multipart_list(BUCKET, delimiter=None):
        assert_type(upload, cosxfer.Upload)


def put(client: cosxfer.Client, path: Path) -> None:
    # All ways to send a body have the same type of result.
    assert_type(client.put_object(BUCKET, "k", path), cosxfer.PutObjectResult)
    assert_type(client.put_object(BUCKET, "k", pieces(), on_task_ready=print), cosxfer.PutObjectResult)
    assert_type(client.submit_put_object(BUCKET, "k", path), cosxfer.UploadTask[cosxfer.PutObjectResult])


async def asynchronously_fetched(client: cosxfer.AsyncClient, path: Path, maybe: str | None) -> None:
    assert_type(await client.get_object(BUCKET, "k"), cosxfer.GetObjectBytesResult)
    assert_type((await client.get_object(BUCKET, "k")).body, bytes)
    assert_type(await client.get_object(BUCKET, "k", output=path), cosxfer.GetObjectFileResult)
    either = await client.get_object(BUCKET, "k", output=maybe)
    assert_type(either, cosxfer.GetObjectBytesResult | cosxfer.GetObjectFileResult)
    async for entry in client.iter_multipart_list(BUCKET, delimiter=maybe):
        assert_type(entry, cosxfer.Upload | cosxfer.CommonPrefix)


async def asynchronous(client: cosxfer.AsyncClient) -> None:
    assert_type(await client.put_object(BUCKET, "k", async_pieces()), cosxfer.PutObjectResult)
    assert_type(await client.append_object(BUCKET, "k", b"", position=0), cosxfer.AppendObjectResult)
    assert_type(await client.presign_post(BUCKET, "k"), cosxfer.PresignedPost)
    async for upload in client.iter_multipart_list(BUCKET):
        assert_type(upload, cosxfer.Upload)
    async for entry in client.iter_multipart_list(BUCKET, delimiter="/"):
        assert_type(entry, cosxfer.Upload | cosxfer.CommonPrefix)
    assert_type(
        [part async for part in client.iter_multipart_list_part(BUCKET, "k", upload_id="u")], list[cosxfer.Part]
    )
    for part in client.iter_multipart_list_part(BUCKET, "k", upload_id="u"):  # type: ignore[attr-defined]
        print(part)
