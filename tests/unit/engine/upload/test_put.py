"""One body as an object: which bodies are sent in one request, which in parts, and what their tasks report."""

from __future__ import annotations

import asyncio
import hashlib
import io
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cosxfer.address import ObjectAddress
from cosxfer.engine.limiter import Limiter
from cosxfer.engine.upload import put
from cosxfer.engine.upload.digests import SMALL_BYTES, Digests
from cosxfer.engine.upload.opening import Opener
from cosxfer.engine.upload.put import PutJob
from cosxfer.engine.upload.sent import SinglePut
from cosxfer.engine.upload.single_put import put_file
from cosxfer.errors import AccessDeniedError, IntegrityError, ServerError, SourceError, UsageError
from cosxfer.limits import GIB, KIB, MIB
from cosxfer.models import Progress, PutObjectResult
from cosxfer.ops.session import Session
from cosxfer.planning import StreamPlan
from cosxfer.sources import FileSource
from cosxfer.threads import Workers
from tests.unit.fake_cos import BUCKET, FakeCos, Hang, change, lose_request, refuse
from tests.unit.files import content_of, write

ADDRESS = ObjectAddress(BUCKET, "k")
SIZE = 2 * MIB
Make = Callable[[Path, bytes], Any]
MakeJob = Callable[..., PutJob]


def pieces(content: bytes) -> Iterator[bytes]:
    yield from (content[first : first + 100_000] for first in range(0, len(content), 100_000))


async def async_pieces(content: bytes) -> AsyncIterator[bytes]:
    for piece in pieces(content):
        yield piece


def path_of(folder: Path, content: bytes) -> Path:
    path = folder / "body"
    path.write_bytes(content)
    return path


AGAIN: dict[str, Make] = {
    "bytes": lambda folder, content: content,
    "bytearray": lambda folder, content: bytearray(content),
    "view": lambda folder, content: memoryview(content),
    "path": path_of,
}
"""Bodies that a second run can send again."""

STREAMS: dict[str, Make] = {
    "list": lambda folder, content: [*pieces(content)],
    "generator": lambda folder, content: pieces(content),
    "asynchronous generator": lambda folder, content: async_pieces(content),
}

KINDS = AGAIN | STREAMS | {"file object": lambda folder, content: io.BytesIO(content)}


def of(*groups: dict[str, Make]) -> pytest.MarkDecorator:
    every = {name: make for group in groups for name, make in group.items()}
    return pytest.mark.parametrize("make", every.values(), ids=every.keys())


@pytest.fixture
def opener() -> Iterator[Opener]:
    opener = Opener()
    yield opener
    opener.close()


@pytest.fixture
def job(session: Session, workers: Workers, opener: Opener) -> MakeJob:
    def make(body: Any, **options: Any) -> PutJob:
        settings: dict[str, Any] = {"content_length": None, "content_md5": None, "headers": {}, **options}
        return PutJob(session, workers, opener, Digests(workers), Limiter(tasks=1, slots=2), ADDRESS, body, **settings)

    return make


def run(job: PutJob, on_progress: Callable[[Progress], None] | None = None) -> PutObjectResult:
    return asyncio.run(job.run(on_hash_progress=None, on_progress=on_progress))


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit one request to 2 MiB, and make parts of a stream 1 MiB."""
    monkeypatch.setattr(put, "MAX_PUT_BYTES", SIZE)
    plan = StreamPlan(first_part_bytes=MIB)
    monkeypatch.setattr("cosxfer.engine.upload.stream_upload.plan_stream", lambda *_, **__: plan)


# -- one request, or parts --------------------------------------------------------------------------------------------


@of(AGAIN, {"file object": KINDS["file object"]})
def test_a_body_that_fits_is_sent_in_one_request(
    cos: FakeCos, job: MakeJob, tmp_path: Path, small_limits: None, make: Make
) -> None:
    content = content_of(SIZE)
    result = run(job(make(tmp_path, content)))
    assert cos.operations() == ["put_object"]
    assert cos.objects["k"].content == content
    assert (result.verified_by, result.etag) == ("crc64", cos.objects["k"].etag)


@of(AGAIN)
def test_bytes_and_paths_beyond_that_are_refused_before_anything_is_sent(
    cos: FakeCos, job: MakeJob, tmp_path: Path, small_limits: None, make: Make
) -> None:
    with pytest.raises(UsageError, match=f"the body is {SIZE + 1} bytes; one request carries at most {SIZE}"):
        run(job(make(tmp_path, content_of(SIZE + 1))))
    assert cos.calls == []


@of(STREAMS, {"file object": KINDS["file object"]})
@pytest.mark.parametrize("announced", [False, True])
def test_a_longer_stream_or_file_object_is_sent_in_parts(
    cos: FakeCos, job: MakeJob, tmp_path: Path, small_limits: None, make: Make, announced: bool
) -> None:
    content = content_of(SIZE + 1)
    result = run(job(make(tmp_path, content), content_length=len(content) if announced else None))
    assert cos.count("multipart_upload") == 3
    assert cos.count("put_object") == 0
    assert cos.objects["k"].content == content
    assert (result.verified_by, result.etag) == ("crc64", cos.objects["k"].etag)


@of(STREAMS)
def test_a_stream_with_a_length_that_fits_is_not_buffered(
    cos: FakeCos, job: MakeJob, tmp_path: Path, small_limits: None, make: Make
) -> None:
    result = run(job(make(tmp_path, content_of(SIZE)), content_length=SIZE))
    assert cos.operations() == ["put_object"]
    assert "content-md5" not in cos.calls[0].request.headers
    assert cos.objects["k"].content == content_of(SIZE)
    assert (result.verified, result.verified_by) == (True, "crc64")


@of(STREAMS)
def test_a_stream_that_ends_in_its_first_part_is_sent_in_one_request(
    cos: FakeCos, job: MakeJob, tmp_path: Path, small_limits: None, make: Make
) -> None:
    content = content_of(MIB - 1)
    assert run(job(make(tmp_path, content))).verified_by == "crc64"
    assert cos.operations() == ["put_object"]
    assert cos.calls[0].request.headers["content-md5"] == b64encode(hashlib.md5(content).digest()).decode()


@of(KINDS)
def test_a_body_with_a_content_md5_is_sent_in_one_request(
    cos: FakeCos, job: MakeJob, tmp_path: Path, small_limits: None, make: Make
) -> None:
    content = content_of(SIZE)
    md5 = b64encode(hashlib.md5(content).digest()).decode()
    run(job(make(tmp_path, content), content_md5=md5))
    assert cos.operations() == ["put_object"]
    assert cos.calls[0].request.headers["content-md5"] == md5


@of(KINDS)
def test_a_body_with_a_content_md5_is_refused_if_it_needs_parts(
    cos: FakeCos, job: MakeJob, tmp_path: Path, small_limits: None, make: Make
) -> None:
    with pytest.raises(UsageError):
        run(job(make(tmp_path, content_of(SIZE + 1)), content_md5=b64encode(bytes(16)).decode()))
    assert cos.calls == []


@of(KINDS)
def test_a_wrong_content_md5_is_sent_and_the_server_refuses_it(
    cos: FakeCos, job: MakeJob, tmp_path: Path, make: Make
) -> None:
    with pytest.raises(ServerError) as caught:
        run(job(make(tmp_path, b"content"), content_md5=b64encode(bytes(16)).decode()))
    assert caught.value.code == "BadDigest"
    assert "k" not in cos.objects


# -- what a task reports ----------------------------------------------------------------------------------------------


@of(KINDS)
def test_a_repeatable_body_says_so_and_is_sent_again(cos: FakeCos, job: MakeJob, tmp_path: Path, make: Make) -> None:
    content = content_of(400 * KIB)
    body = make(tmp_path, content)
    work = job(body)
    assert work.repeatable == (make in AGAIN.values())
    assert work.path == (str(body) if isinstance(body, Path) else "")
    assert work.size == (len(content) if work.repeatable and not work.path else 0)

    async def main() -> None:
        for runs in range(1, 3 if work.repeatable else 2):
            cos.objects.clear()
            await work.run(on_hash_progress=None, on_progress=None)
            assert cos.objects["k"].content == content
            assert cos.count("put_object") == runs

    asyncio.run(main())
    assert (work.loaded, work.upload_id) == (0, "")
    assert asyncio.run(work.abort()) == (True, "nothing was left on the server")


@of(KINDS)
@pytest.mark.parametrize("size", [0, 1, 700 * KIB])
def test_the_progress_ends_with_all_bytes_also_after_a_retry(
    cos: FakeCos, job: MakeJob, tmp_path: Path, make: Make, size: int
) -> None:
    reports: list[Progress] = []
    cos.fault("put_object", lose_request)
    run(job(make(tmp_path, content_of(size))), reports.append)
    assert cos.count("put_object") == 2
    assert reports[0].loaded == 0
    assert (reports[-1].loaded, reports[-1].total) == (size, size)
    assert all(report.loaded <= size for report in reports)


@pytest.mark.parametrize(
    "options",
    [
        {"content_md5": "no MD5"},
        {"content_md5": b64encode(bytes(15)).decode()},
        {"content_length": -1},
        {"content_length": True},
    ],
)
def test_invalid_options_are_refused_when_the_job_is_created(job: MakeJob, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        job(b"content", **options)
    assert caught.value.name in options


# -- a stream's parts -------------------------------------------------------------------------------------------------


def test_a_stream_that_fails_deletes_its_parts(cos: FakeCos, job: MakeJob, small_limits: None) -> None:
    cos.fault("multipart_upload", refuse(403, "AccessDenied"), part=2)
    work = job(pieces(content_of(3 * MIB)))
    with pytest.raises(AccessDeniedError):
        run(work)
    assert (cos.count("multipart_abort"), cos.uploads, work.upload_id) == (1, {}, "")


def test_a_cancelled_stream_leaves_its_parts_for_abort(cos: FakeCos, job: MakeJob, small_limits: None) -> None:
    async def main() -> None:
        hang = Hang()
        cos.fault("multipart_upload", hang, part=2)
        work = job(pieces(content_of(3 * MIB)))
        task = asyncio.ensure_future(work.run(on_hash_progress=None, on_progress=None))
        await hang.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.upload_id == "upload-1"
        assert "upload-1" in cos.uploads
        gone, said = await work.abort()
        assert gone
        assert "upload-1 was aborted" in said
        assert (cos.uploads, work.upload_id) == ({}, "")

    asyncio.run(main())


def test_a_corrupted_stream_is_an_error_and_not_sent_again(cos: FakeCos, job: MakeJob, waits: list[float]) -> None:
    cos.fault("put_object", change(x_cos_hash_crc64ecma="1"))
    with pytest.raises(IntegrityError, match="server CRC64 1"):
        run(job(pieces(b"content"), content_length=7))
    assert cos.count("put_object") == 1
    assert waits == []


# -- an open file -----------------------------------------------------------------------------------------------------

sizes = pytest.mark.parametrize("size", [0, 1, SMALL_BYTES, SMALL_BYTES + 1, MIB + 7])


@sizes
def test_the_result_of_a_file_in_one_request_is_complete(
    cos: FakeCos, session: Session, workers: Workers, opener: Opener, tmp_path: Path, size: int
) -> None:
    path = write(tmp_path / "f", size)
    md5 = hashlib.md5(content_of(size))
    hashed: list[Progress] = []
    cos.fault("put_object", lose_request, times=2)

    async def main() -> SinglePut:
        source, digest = await opener.open(path, small_bytes=SMALL_BYTES)
        with_meta = put_file(
            session,
            ADDRESS,
            source,
            digest,
            executor=workers,
            opener=opener,
            headers={"x-cos-acl": "private"},
            add_meta_md5=True,
            slot=None,
            on_hash_progress=hashed.append,
        )
        try:
            return await with_meta
        finally:
            source.close()

    done = asyncio.run(main())
    stored = cos.objects["k"]
    assert stored.content == content_of(size)
    assert stored.headers["content-md5"] == b64encode(md5.digest()).decode()
    assert (stored.headers["x-cos-meta-md5"], stored.headers["x-cos-acl"]) == (md5.hexdigest(), "private")
    assert (done.size, done.retries, done.crc64) == (size, 2, done.result.crc64)
    assert (hashed[0].loaded, hashed[-1].loaded, hashed[-1].total) == (0, size, size)
    result = done.as_upload_result(ADDRESS)
    assert (result.bucket, result.key, result.etag) == (BUCKET, "k", stored.etag)
    assert (result.parts, result.part_size_bytes, result.upload_id, result.retries) == (1, size, "", 2)
    assert (result.verified, result.verified_by) == (True, "crc64")
    assert result.seconds >= result.send_seconds >= 0


@pytest.mark.parametrize("fault", [None, refuse(403, "AccessDenied")])
def test_a_path_is_always_closed(
    cos: FakeCos, job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    opened: list[FileSource] = []
    make = FileSource.open

    def watched(path: Any) -> FileSource:
        opened.append(make(path))
        return opened[-1]

    monkeypatch.setattr(FileSource, "open", watched)
    work = job(write(tmp_path / "f", MIB))
    if fault is None:
        run(work)
    else:
        cos.fault("put_object", fault)
        with pytest.raises(AccessDeniedError):
            run(work)
    [source] = opened
    with pytest.raises(ValueError, match="closed"):
        source.check()


def test_a_path_of_another_length_than_announced_is_refused_unsent(cos: FakeCos, job: MakeJob, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="content_length is 8, but the body is 7 bytes"):
        run(job(path_of(tmp_path, b"content"), content_length=8))
    assert cos.calls == []


def test_a_path_without_a_file_is_an_error_of_the_source(cos: FakeCos, job: MakeJob, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot open"):
        run(job(tmp_path / "missing"))
    assert cos.calls == []


def test_the_limit_of_one_request_is_5_gib() -> None:
    assert put.MAX_PUT_BYTES == 5 * GIB
