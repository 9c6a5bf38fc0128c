"""A file of which only the ctime changes during an upload: its content is compared, outside the event loop."""

from __future__ import annotations

import asyncio
import os
import threading
import types
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import cosxfer
from cosxfer._native import hashing
from cosxfer.cos.requests import HttpRequest
from cosxfer.limits import KIB, MIB
from cosxfer.models import MultipartInitResult, UploadResult
from cosxfer.sources import FileSource
from cosxfer.transport.base import HttpResponse
from tests.unit.fake_cos import BUCKET, Do, FakeCos, Hang, error
from tests.unit.files import content_of, write

SIZE = 5 * MIB + 123
Change = Callable[[Path], object]


# Held while a test changes a file, so that no thread looks at it between the write and the restored mtime.
CHANGING = threading.RLock()


def chmod(path: Path) -> None:
    path.chmod(0o600 if path.stat().st_mode & 0o077 else 0o640)


def link(path: Path) -> None:
    path.with_name(f"link-{path.stat().st_nlink}").hardlink_to(path)


def rename_back(path: Path) -> None:
    path.rename(path.with_name("elsewhere")).rename(path)


def set_xattr(path: Path) -> None:
    try:
        os.setxattr(path, "user.cosxfer", os.urandom(4))
    except OSError:
        pytest.skip("this file system has no extended attributes")


def touch_with_its_own_time(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rewrite_the_same(path: Path) -> None:
    put_back(path, path.read_bytes())


def put_back(path: Path, content: bytes) -> None:
    """Write to the file and restore its mtime."""
    with CHANGING:
        status = path.stat()
        with path.open("r+b") as file:
            file.write(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        await_tick(path, status)


def await_tick(path: Path, before: os.stat_result) -> None:
    """Touch the file until its ctime has changed. The kernel's clock moves in steps of some milliseconds."""
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def write_secretly(path: Path) -> None:
    put_back(path, bytes(byte ^ 255 for byte in path.read_bytes()[:10]))


HARMLESS = [chmod, link, rename_back, set_xattr, touch_with_its_own_time, rewrite_the_same]


@pytest.fixture(autouse=True)
def looks_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def under_lock(look: Callable[[FileSource], bool]) -> Callable[[FileSource], bool]:
        def locked(file: FileSource) -> bool:
            with CHANGING:
                return look(file)

        return locked

    monkeypatch.setattr(FileSource, "_look", under_lock(FileSource._look))


def then(how: Change, path: Path) -> Do:
    def do(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        response = proceed()
        with CHANGING:
            before = path.stat()
            how(path)
            await_tick(path, before)
            after = path.stat()
        assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
        assert before.st_ctime_ns != after.st_ctime_ns
        return response

    return do


def before(how: Change, path: Path) -> Do:
    def do(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        how(path)
        return proceed()

    return do


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "f", SIZE)


def upload(cos: FakeCos, path: Path, **options: object) -> UploadResult:
    async def main() -> UploadResult:
        async with cos.client() as client:
            return await client.slice_upload_file(BUCKET, "k", path, slice_size=MIB, **options)  # type: ignore[arg-type]

    return asyncio.run(main())


# -- in parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HARMLESS)
@pytest.mark.parametrize("part", [1, 3, 6])
def test_an_upload_in_parts_continues_if_the_content_is_unchanged(
    cos: FakeCos, path: Path, how: Change, part: int
) -> None:
    cos.fault("multipart_upload", then(how, path), part=part)
    assert upload(cos, path, async_limit=1).verified_by == "crc64"
    assert cos.objects["k"].content == content_of(SIZE)
    assert cos.count("multipart_upload") == 6


def test_a_ctime_that_changes_at_every_part_costs_one_comparison(
    cos: FakeCos, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []

    async def noted(source: object, executor: object, parts: object) -> None:
        compared.append(len(list(parts)))  # type: ignore[call-overload]

    monkeypatch.setattr("cosxfer.engine.upload.file_parts.compare", noted)
    cos.fault("multipart_upload", then(chmod, path), times=6)
    upload(cos, path)
    assert compared == [6]


def test_an_untouched_file_is_not_read_twice(cos: FakeCos, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosxfer.engine.upload.unchanged.compare", None)
    assert upload(cos, path).verified


@pytest.mark.parametrize("part", [1, 3, 6])
def test_a_write_with_a_restored_mtime_is_found_before_complete(cos: FakeCos, path: Path, part: int) -> None:
    cos.fault("multipart_upload", then(write_secretly, path), part=part)
    with pytest.raises(cosxfer.SourceChangedError, match="its mtime restored") as caught:
        upload(cos, path, async_limit=1)
    assert caught.value.changed == "content"
    assert cos.count("multipart_complete") == 0
    assert not cos.uploads
    assert "upload-1 was aborted" in " ".join(caught.value.__notes__)


def test_a_part_rewritten_with_a_restored_mtime_is_sent_once_and_reported(
    cos: FakeCos, path: Path, waits: list[float]
) -> None:
    def do(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        write_secretly(path)
        return error(400, "BadDigest")

    cos.fault("multipart_upload", do, part=1, times=99)
    with pytest.raises(cosxfer.SourceChangedError) as caught:
        upload(cos, path, async_limit=1)
    assert caught.value.changed == "content"
    assert cos.count("multipart_upload", 1) == 1
    assert not waits


def test_a_part_that_fails_while_the_mode_changes_is_sent_again(cos: FakeCos, path: Path) -> None:
    def do(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        chmod(path)
        return error(500, "InternalError")

    cos.fault("multipart_upload", do, part=2)
    assert upload(cos, path).verified
    assert cos.count("multipart_upload", 2) == 2


# -- after a pause ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [*HARMLESS, write_secretly])
def test_a_paused_upload_resumes_if_the_finished_parts_are_unchanged_in_the_file(
    cos: FakeCos, path: Path, how: Change
) -> None:
    async def main() -> None:
        hang = Hang()
        cos.fault("multipart_upload", hang, part=4)
        async with cos.client() as client:
            task = client.submit_slice_upload_file(BUCKET, "k", path, slice_size=MIB, async_limit=1)
            await asyncio.wait_for(hang.arrived.wait(), 30)
            await task.pause()
            how(path)
            await task.restart()
            if how is write_secretly:
                with pytest.raises(cosxfer.SourceChangedError) as caught:
                    await task
                assert caught.value.changed == "content"
                assert not cos.uploads
                return
            assert (await task).verified
            assert [cos.count("multipart_upload", part) for part in range(1, 7)] == [1, 1, 1, 2, 1, 1]
            assert cos.objects["k"].content == content_of(SIZE)

    asyncio.run(main())


# -- in one request ---------------------------------------------------------------------------------------------------


def ways(path: Path) -> dict[str, Callable[[cosxfer.AsyncClient, str], Awaitable[object]]]:
    return {
        "upload_file": lambda client, upload: client.upload_file(BUCKET, "k", path, slice_size=8 * MIB),
        "put_object": lambda client, upload: client.put_object(BUCKET, "k", path),
        "append_object": lambda client, upload: client.append_object(BUCKET, "k", path, position=0),
        "multipart_upload": lambda client, upload: client.multipart_upload(
            BUCKET, "k", path, upload_id=upload, part_number=1
        ),
    }


OPERATIONS = {"upload_file": "put_object"}


async def send(cos: FakeCos, way: str, path: Path) -> None:
    async with cos.client() as client:
        begun: MultipartInitResult = await client.multipart_init(BUCKET, "k")
        await ways(path)[way](client, begun.upload_id)


@pytest.mark.parametrize("way", ways(Path()))
@pytest.mark.parametrize("size", [100, 100 * KIB, SIZE])
@pytest.mark.parametrize("how", [chmod, link])
@pytest.mark.parametrize("moment", [before, then])
def test_a_file_with_unchanged_content_is_sent_in_one_request(
    cos: FakeCos, tmp_path: Path, way: str, size: int, how: Change, moment: Callable[[Change, Path], Do]
) -> None:
    path = write(tmp_path / "g", size)
    cos.fault(OPERATIONS.get(way, way), moment(how, path))
    asyncio.run(send(cos, way, path))
    assert cos.count(OPERATIONS.get(way, way)) == 1


@pytest.mark.parametrize("way", ways(Path()))
@pytest.mark.parametrize("size", [100, 100 * KIB, SIZE])
def test_a_write_with_a_restored_mtime_is_an_error(cos: FakeCos, tmp_path: Path, way: str, size: int) -> None:
    path = write(tmp_path / "g", size)
    cos.fault(OPERATIONS.get(way, way), then(write_secretly, path))
    with pytest.raises(cosxfer.SourceChangedError) as caught:
        asyncio.run(send(cos, way, path))
    assert caught.value.changed == "content"


@pytest.mark.parametrize("way", ways(Path()))
def test_a_body_rewritten_with_a_restored_mtime_is_not_sent_again(
    cos: FakeCos, path: Path, waits: list[float], way: str
) -> None:
    def do(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        write_secretly(path)
        return error(400, "BadDigest")

    operation = OPERATIONS.get(way, way)
    cos.fault(operation, do, times=99)
    with pytest.raises(cosxfer.SourceChangedError):
        asyncio.run(send(cos, way, path))
    assert cos.count(operation) == 1
    assert not waits


def test_content_is_compared_outside_the_event_loop(
    cos: FakeCos, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()
    hash_batch = "cosxfer.engine.upload.hash_ahead.HashAhead._hash_batch"
    from cosxfer.engine.upload.hash_ahead import HashAhead
    from cosxfer.sources import SmallFile

    hashed, compared = HashAhead._hash_batch, SmallFile.compare

    def noted(self: HashAhead, *arguments: object) -> list[hashing.PartDigest]:
        threads.add(threading.current_thread().name)
        return hashed(self, *arguments)  # type: ignore[arg-type]

    def noted_small(self: SmallFile) -> None:
        threads.add(threading.current_thread().name)
        compared(self)

    monkeypatch.setattr(hash_batch, noted)
    monkeypatch.setattr(SmallFile, "compare", noted_small)
    small = write(tmp_path / "small", 100)
    cos.fault("multipart_upload", then(chmod, path), part=6)
    cos.fault("put_object", then(chmod, small))
    upload(cos, path)
    asyncio.run(send(cos, "upload_file", small))
    assert threads
    assert all(name.startswith("cosxfer-") for name in threads)


@pytest.mark.parametrize("seconds", [9_300_000_000, -1, 0.25])
@pytest.mark.parametrize("size", [10, SIZE])
def test_a_file_may_have_any_timestamp(cos: FakeCos, tmp_path: Path, seconds: float, size: int) -> None:
    path = write(tmp_path / "g", size)
    os.utime(path, (seconds, seconds))
    if path.stat().st_mtime != seconds:
        pytest.skip("this file system does not keep that time")

    async def main() -> None:
        async with cos.client() as client:
            assert (await client.upload_file(BUCKET, "k", path)).verified

    asyncio.run(main())
    assert cos.objects["k"].content == content_of(size)


def test_a_small_file_that_is_written_to_in_the_same_tick_is_an_error(
    cos: FakeCos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "g", 100)
    status = path.stat()
    # The kernel's clock stands still, and ours is slightly behind it.
    monkeypatch.setattr("cosxfer.sources.time", types.SimpleNamespace(time_ns=lambda: status.st_ctime_ns + 1))
    monkeypatch.setattr("cosxfer.sources.stat_path", lambda _: status)
    cos.fault("put_object", then(write_secretly, path))
    with pytest.raises(cosxfer.SourceChangedError):
        asyncio.run(send(cos, "upload_file", path))
