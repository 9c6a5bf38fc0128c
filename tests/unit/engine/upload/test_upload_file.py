"""Upload of one file to an in-memory server: every size, its reports, and its refusals."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import cosxfer
from cosxfer._native import hashing
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.limits import GIB, KIB, MIB
from cosxfer.transport.memory import MemoryTransport
from tests.unit.fake_cos import BUCKET, FakeCos, Stored, change, document, error, refuse
from tests.unit.files import content_of, rewrite, write


def upload(cos: FakeCos, path: Path, **options: object) -> cosxfer.UploadResult:
    async def main() -> cosxfer.UploadResult:
        async with cos.client() as client:
            return await client.upload_file(BUCKET, "a/b.bin", path, **options)  # type: ignore[arg-type]

    return asyncio.run(main())


def test_the_content_for_these_tests_has_no_two_parts_alike() -> None:
    content = content_of(3 * MIB)
    assert len({content[n * MIB : (n + 1) * MIB] for n in range(3)}) == 3


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB])
def test_a_file_up_to_the_threshold_is_sent_in_one_put(cos: FakeCos, tmp_path: Path, size: int) -> None:
    result = upload(cos, write(tmp_path / "f", size))
    assert cos.operations() == ["put_object"]
    assert cos.objects["a/b.bin"].content == content_of(size)
    assert (result.size, result.parts, result.upload_id) == (size, 1, "")
    assert result.verified
    assert result.verified_by == "crc64"
    assert result.crc64 == hashing.crc64(content_of(size))


@pytest.mark.parametrize(
    ("size", "parts"), [(MIB + 1, 2), (2 * MIB, 2), (3 * MIB, 3), (3 * MIB - 1, 3), (5 * MIB + 7, 6)]
)
def test_a_longer_file_is_sent_in_parts(cos: FakeCos, tmp_path: Path, size: int, parts: int) -> None:
    result = upload(cos, write(tmp_path / "f", size), part_size=MIB)
    assert cos.objects["a/b.bin"].content == content_of(size)
    assert cos.operations()[0] == "multipart_init"
    assert cos.operations()[1:-1] == ["multipart_upload"] * parts
    assert cos.operations()[-1] == "multipart_complete"
    assert (result.size, result.parts, result.part_size_bytes) == (size, parts, MIB)
    assert result.verified_by == "crc64"
    assert result.etag == cos.objects["a/b.bin"].etag
    assert result.retries == 0
    assert not cos.uploads


def test_one_mebibyte_and_a_byte_is_one_part_if_that_fits_into_a_part(cos: FakeCos, tmp_path: Path) -> None:
    result = upload(cos, write(tmp_path / "f", MIB + 1), part_size=8 * MIB)
    assert cos.operations() == ["multipart_init", "multipart_upload", "multipart_complete"]
    assert (result.parts, result.part_size_bytes) == (1, 8 * MIB)


@pytest.mark.parametrize("size", [1, MIB, 2 * MIB])
def test_slice_upload_file_uses_parts_for_any_size(cos: FakeCos, tmp_path: Path, size: int) -> None:
    async def main() -> None:
        async with cos.client() as client:
            await client.slice_upload_file(BUCKET, "k", write(tmp_path / "f", size), slice_size=MIB)

    asyncio.run(main())
    assert cos.objects["k"].content == content_of(size)
    assert cos.operations()[0] == "multipart_init"


def test_slice_upload_file_of_an_empty_file_is_a_put(cos: FakeCos, tmp_path: Path) -> None:
    async def main() -> None:
        async with cos.client() as client:
            await client.slice_upload_file(BUCKET, "k", write(tmp_path / "f", 0))

    asyncio.run(main())
    assert cos.operations() == ["put_object"]
    assert cos.objects["k"].content == b""


def test_parts_have_their_md5_and_only_initiate_has_the_headers_of_the_object(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "f", 2 * MIB)
    upload(
        cos,
        path,
        part_size=MIB,
        storage_class="STANDARD_IA",
        metadata={"owner": "me"},
        acl="private",
        traffic_limit=819_200,
        sse_customer_key="a2V5",
    )
    init, *parts = (call.request.headers for call in cos.calls[:-1])
    assert init["x-cos-storage-class"] == "STANDARD_IA"
    assert init["x-cos-meta-owner"] == "me"
    assert init["x-cos-acl"] == "private"
    for part in parts:
        assert "content-md5" in part
        assert part["x-cos-traffic-limit"] == "819200"
        assert part["x-cos-server-side-encryption-customer-key"] == "a2V5"
        assert not {"x-cos-storage-class", "x-cos-meta-owner", "x-cos-acl", "content-type"} & set(part)


@pytest.mark.parametrize("size", [7, 2 * MIB])
def test_the_md5_of_the_file_becomes_metadata_on_request(cos: FakeCos, tmp_path: Path, size: int) -> None:
    upload(cos, write(tmp_path / "f", size), part_size=MIB, upload_add_meta_md5=True, metadata={"owner": "me"})
    headers = cos.objects["a/b.bin"].headers
    assert headers["x-cos-meta-md5"] == hashlib.md5(content_of(size)).hexdigest()
    assert headers["x-cos-meta-owner"] == "me"


@pytest.mark.parametrize("size", [0, 1, MIB, 4 * MIB + 5])
def test_progress_of_hashing_and_sending_rises_from_zero_to_the_total(cos: FakeCos, tmp_path: Path, size: int) -> None:
    hashed: list[cosxfer.Progress] = []
    sent: list[cosxfer.Progress] = []
    upload(cos, write(tmp_path / "f", size), part_size=MIB, on_hash_progress=hashed.append, on_progress=sent.append)
    for reports in (hashed, sent):
        assert (reports[0].loaded, reports[0].total) == (0, size)
        assert (reports[-1].loaded, reports[-1].percent) == (size, 1.0)
        loaded = [report.loaded for report in reports]
        assert loaded == sorted(loaded)


def test_the_task_is_announced_once_and_before_anything_is_sent(cos: FakeCos, tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    upload(
        cos,
        write(tmp_path / "f", 2 * MIB),
        part_size=MIB,
        on_task_ready=lambda task_id: seen.append((task_id, len(cos.calls))),
    )
    [(task_id, calls)] = seen
    assert task_id
    assert calls == 0


def test_a_callback_that_raises_is_logged_and_the_upload_goes_on(
    cos: FakeCos, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("in the callback")

    result = upload(
        cos,
        write(tmp_path / "f", 2 * MIB),
        part_size=MIB,
        on_task_ready=broken,
        on_hash_progress=broken,
        on_progress=broken,
    )
    assert result.verified
    assert "a callback raised" in caplog.text
    assert "in the callback" in caplog.text


def test_without_crc64_from_the_server_the_etags_verify(cos: FakeCos, tmp_path: Path) -> None:
    cos.with_crc64 = False
    for size in (5, 2 * MIB):
        result = upload(cos, write(tmp_path / "f", size), part_size=MIB)
        assert result.verified
        assert result.verified_by == "etag"


def test_with_the_servers_own_encryption_the_etag_is_no_md5_and_is_not_compared(cos: FakeCos, tmp_path: Path) -> None:
    cos.with_crc64 = False
    cos.fault("multipart_upload", change(etag='"opaque"'), times=2)

    def complete(request: HttpRequest, proceed: object) -> HttpResponse:
        cos.objects["a/b.bin"] = Stored(content_of(2 * MIB), {}, '"opaque-2"')
        return document("CompleteMultipartUploadResult", [("ETag", '"opaque-2"')])

    cos.fault("multipart_complete", complete)
    result = upload(cos, write(tmp_path / "f", 2 * MIB), part_size=MIB, server_side_encryption="cos/kms")
    assert not result.verified
    assert result.verified_by == ""


def test_with_default_encryption_of_the_bucket_the_etag_is_no_md5(cos: FakeCos, tmp_path: Path) -> None:
    cos.with_crc64 = False
    cos.fault("multipart_upload", change(etag='"opaque"', x_cos_server_side_encryption="cos/kms"), times=2)

    def complete(request: HttpRequest, proceed: object) -> HttpResponse:
        cos.objects["a/b.bin"] = Stored(content_of(2 * MIB), {}, '"opaque-2"')
        return document("CompleteMultipartUploadResult", [("ETag", '"opaque-2"')])

    cos.fault("multipart_complete", complete)
    result = upload(cos, write(tmp_path / "f", 2 * MIB), part_size=MIB)
    assert not result.verified
    assert result.verified_by == ""


REFUSED: list[tuple[str, dict[str, object], str]] = [
    ("part_size", {"part_size": 512 * KIB}, "524288"),
    ("part_size", {"part_size": 6 * GIB}, str(6 * GIB)),
    ("part_size", {"part_size": True}, "True"),
    ("part_size", {"part_size": 1.5e6}, "1500000.0"),
    ("slice_size", {"slice_size": -1}, "-1"),
    ("async_limit", {"async_limit": 0}, "0"),
    ("async_limit", {"async_limit": 257}, "257"),
    ("region", {"region": "cos.ap-guangzhou"}, "cos.ap-guangzhou"),
    ("region", {"region": "Guangzhou!"}, "Guangzhou!"),
    ("traffic_limit", {"traffic_limit": 819_199}, "819199"),
    ("traffic_limit", {"traffic_limit": 838_860_801}, "838860801"),
    ("metadata", {"metadata": {"a": "x" * 2048}}, "2048"),
    ("metadata", {"headers": {"x-cos-meta-a": "x" * 2048}}, "2048"),
    ("metadata", {"metadata": {"a b": "x"}}, "a b"),
    ("metadata", {"metadata": {"a\r\nx-cos-acl": "x"}}, r"a\r\nx-cos-acl"),
    ("metadata", {"metadata": {"a": "1\r\nx-cos-acl: public-read"}}, r"1\r\nx-cos-acl"),
    ("cache_control", {"cache_control": "no\r\nx: y"}, r"no\r\nx"),
    ("content_type", {"content_type": "text/plain\n"}, r"text/plain\n"),
    ("headers", {"headers": {"X-A\r\nx-cos-acl": "v"}}, r"x-cos-acl"),
    ("headers", {"headers": {"": "v"}}, "''"),
    ("headers", {"headers": {"x-a:": "v"}}, "x-a:"),
    ("headers", {"headers": {"x-ä": "v"}}, "x-ä"),
    ("headers", {"headers": {"X-A": "v\r\nx-cos-acl: public-read"}}, "x-a"),
    ("headers", {"headers": {"X-A": 5.0}}, "float"),
    ("headers", {"headers": {"Authorization": "mine"}}, "Authorization"),
    ("headers", {"headers": {"Content-MD5": "mine"}}, "Content-MD5"),
    ("storage_clas", {"storage_clas": "ARCHIVE"}, "storage_clas"),
    ("storage_class", {"storage_class": 3}, "int"),
]


@pytest.mark.parametrize(("name", "options", "told"), REFUSED)
@pytest.mark.parametrize("size", [3, 2 * MIB])
def test_an_invalid_argument_is_refused_before_any_request(
    cos: FakeCos, tmp_path: Path, name: str, options: dict[str, object], told: str, size: int
) -> None:
    with pytest.raises(cosxfer.UsageError) as caught:
        upload(cos, write(tmp_path / "f", size), **options)
    assert caught.value.name == name
    assert told in str(caught.value)
    assert not cos.calls


def test_a_part_size_that_needs_10001_parts_is_refused_with_one_that_does_not(cos: FakeCos, tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(10_000 * MIB + 1)
    with pytest.raises(cosxfer.UsageError, match=r"10001 parts; COS allows 10000. Give at least 2 MiB") as caught:
        upload(cos, path, part_size=MIB)
    assert caught.value.name == "part_size"
    assert not cos.calls


@pytest.mark.parametrize(
    ("bucket", "key", "name"),
    [
        ("examplebucket", "k", "bucket"),
        ("Example-1250000000", "k", "bucket"),
        ("a/b-1250000000", "k", "bucket"),
        ("examplebucket-1250000000\n", "k", "bucket"),
        (BUCKET, "", "key"),
        (BUCKET, "/", "key"),
        (BUCKET, "//", "key"),
        (BUCKET, "a/../", "key"),
        (BUCKET, "//..", "key"),
        (BUCKET, "k" * 851, "key"),
        (BUCKET, "é" * 426, "key"),
        (BUCKET, "a\x18", "key"),
        (BUCKET, "\ud800", "key"),
        (BUCKET, b"k", "key"),
        (None, "k", "bucket"),
    ],
)
def test_a_bad_bucket_or_key_is_refused_before_any_request(
    cos: FakeCos, tmp_path: Path, bucket: str, key: str, name: str
) -> None:
    path = write(tmp_path / "f", 3)

    async def main() -> None:
        async with cos.client() as client:
            for call in (
                client.upload_file(bucket, key, path),
                client.slice_upload_file(bucket, key, path),
                client.put_object(bucket, key, b"x"),
                client.head_object(bucket, key),
                client.get_object(bucket, key),
                client.multipart_init(bucket, key),
                client.multipart_upload(bucket, key, b"x", upload_id="u", part_number=1),
                client.multipart_list_part(bucket, key, upload_id="u"),
                client.multipart_complete(bucket, key, upload_id="u", parts=[cosxfer.Part(part_number=1, etag="e")]),
                client.multipart_abort(bucket, key, upload_id="u"),
            ):
                with pytest.raises(cosxfer.UsageError) as caught:
                    await call
                assert caught.value.name == name

    asyncio.run(main())
    assert not cos.calls


def test_metadata_none_means_no_metadata(cos: FakeCos, tmp_path: Path) -> None:
    upload(cos, write(tmp_path / "f", 3), metadata=None, headers=None, content_type=None)
    assert "a/b.bin" in cos.objects


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: None, lambda path: path.touch(mode=0)])
def test_an_unreadable_path_fails_at_once_and_is_named(cos: FakeCos, tmp_path: Path, make: object) -> None:
    path = tmp_path / "not-here"
    make(path)  # type: ignore[operator]
    if path.is_file() and not unreadable(path):
        pytest.skip("this user may read every file")
    with pytest.raises(cosxfer.SourceError, match="not-here") as caught:
        upload(cos, path)
    assert caught.value.path == str(path)
    assert not cos.calls


def unreadable(path: Path) -> bool:
    try:
        path.read_bytes()
    except PermissionError:
        return True
    return False


def test_a_permanently_refused_put_is_not_sent_again(cos: FakeCos, tmp_path: Path, waits: list[float]) -> None:
    cos.fault("put_object", refuse(403, "AccessDenied"), times=9)
    with pytest.raises(cosxfer.AccessDeniedError, match="AccessDenied") as caught:
        upload(cos, write(tmp_path / "f", 3))
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (403, "AccessDenied", "id-1")
    assert (caught.value.resource, caught.value.trace_id) == ("/r", "trace-1")
    assert len(cos.calls) == 1
    assert not waits


def test_a_file_that_changes_during_a_put_is_an_error(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "f", 100)

    def write_anew(request: object, proceed: object) -> object:
        response = proceed()  # type: ignore[operator]
        rewrite(path, b"x" * 100)
        return response

    cos.fault("put_object", write_anew)  # type: ignore[arg-type]
    with pytest.raises(cosxfer.SourceChangedError):
        upload(cos, path)


def other_ways(path: Path) -> dict[str, Callable[[cosxfer.AsyncClient], Awaitable[object]]]:
    return {
        "upload_file": lambda client: client.upload_file(BUCKET, "k", path),
        "put_object": lambda client: client.put_object(BUCKET, "k", path),
        "append_object": lambda client: client.append_object(BUCKET, "k", path, position=0),
        "post_object": lambda client: client.post_object(BUCKET, "k", path),
        "multipart_upload": lambda client: client.multipart_upload(BUCKET, "k", path, upload_id="u", part_number=1),
    }


@pytest.mark.parametrize("way", other_ways(Path()))
@pytest.mark.parametrize("code", ["BadDigest", "InternalError"])
def test_a_rewritten_file_is_sent_once_and_reported(tmp_path: Path, waits: list[float], way: str, code: str) -> None:
    path = write(tmp_path / "f", 100)
    sent: list[str] = []

    def response(request: HttpRequest, body: bytes) -> HttpResponse:
        if request.method == "HEAD":
            return error(404, "NoSuchKey")
        sent.append(request.method)
        path.write_bytes(b"x" * 101)
        return error(400 if code == "BadDigest" else 500, code)

    async def main() -> None:
        async with FakeCos().client(transport=MemoryTransport(response)) as client:
            await other_ways(path)[way](client)

    with pytest.raises(cosxfer.SourceChangedError, match="it had 100 bytes and now has 101"):
        asyncio.run(main())
    assert len(sent) == 1
    assert not waits
