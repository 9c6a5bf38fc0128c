"""With a journal, parts stay on the server after an error or an interrupt that a later call can outlast."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import cosxfer
from cosxfer.limits import MIB
from tests.unit.fake_cos import BUCKET, Do, FakeCos, Hang, change, lose_request, refuse
from tests.unit.tasks.uploads import run, sent

GOES_ON = "parts were kept on the server; the same call goes on with them"

PASSING: dict[str, Do] = {
    "lost": lose_request,
    "500": refuse(500, "InternalError"),
    "503": refuse(503, "SlowDown"),
    "403": refuse(403, "AccessDenied"),
    "unknown key": refuse(403, "InvalidAccessKeyId"),
    "old keys": refuse(400, "ExpiredToken"),
    "damaged": change(etag='"00000000000000000000000000000000"'),
}
FINAL: dict[str, Do] = {
    "400": refuse(400, "InvalidArgument"),
    "405": refuse(405, "MethodNotAllowed"),
    "409": refuse(409, "ObjectLocked"),
    "gone": refuse(404, "NoSuchUpload"),
    "no bucket": refuse(404, "NoSuchBucket"),
}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def settings(journal: Path | None, **more: object) -> dict[str, object]:
    return {"journal": journal, "part_size": MIB, "concurrency": 1, "max_attempts": 2, **more}


def upload(cos: FakeCos, path: Path, options: dict[str, object], **call: object) -> object:
    """The result of one call of a client of its own, or its error."""

    async def main() -> object:
        async with cos.client(**options) as client:
            try:
                return await client.upload_file(BUCKET, "k", path, **call)  # type: ignore[arg-type]
            except cosxfer.CosxferError as error:
                return error

    return asyncio.run(main())


@pytest.mark.parametrize("finished", [0, 100])
@pytest.mark.parametrize("fault", PASSING)
def test_parts_are_kept_after_an_error_that_may_pass_and_the_same_call_goes_on(
    cos: FakeCos, path: Path, journal: Path, fault: str, finished: int
) -> None:
    cos.fault("multipart_upload", PASSING[fault], part=5, times=2)
    options = settings(journal, max_finished_tasks=finished)
    failed = upload(cos, path, options)
    assert isinstance(failed, cosxfer.UploadError)
    assert GOES_ON in str(failed)
    assert (failed.upload_id, failed.aborted) == ("upload-1", False)
    assert cos.count("multipart_abort") == 0
    cos.faults.clear()
    result = upload(cos, path, options)
    assert isinstance(result, cosxfer.UploadResult)
    assert result.resumed_bytes >= 4 * MIB
    assert cos.count("multipart_init") == 1
    assert sent(cos).count(1) == 1
    assert not cos.uploads


@pytest.mark.parametrize("finished", [0, 100])
@pytest.mark.parametrize("fault", FINAL)
def test_parts_are_deleted_after_an_error_that_stays(
    cos: FakeCos, path: Path, journal: Path, fault: str, finished: int
) -> None:
    cos.fault("multipart_upload", FINAL[fault], part=5, times=2)
    failed = upload(cos, path, settings(journal, max_finished_tasks=finished))
    assert isinstance(failed, cosxfer.UploadError)
    assert failed.upload_id == "upload-1"
    assert "upload-1" in str(failed)
    assert not cos.uploads
    assert failed.aborted is (finished == 0 or fault == "gone")


@pytest.mark.parametrize("finished", [0, 100])
@pytest.mark.parametrize("way", ["no journal", "asked", "broken journal"])
def test_parts_are_deleted_if_no_later_call_finds_them_or_if_that_was_asked_for(
    cos: FakeCos, path: Path, journal: Path, tmp_path: Path, way: str, finished: int
) -> None:
    cos.fault("multipart_upload", refuse(403, "AccessDenied"), part=5)
    where = {"no journal": None, "asked": journal, "broken journal": tmp_path}[way]
    call = {"abort_on_failure": True} if way == "asked" else {}
    failed = upload(cos, path, settings(where, max_finished_tasks=finished), **call)
    assert isinstance(failed, cosxfer.UploadError)
    assert "goes on with them" not in str(failed)
    assert not cos.uploads


def test_parts_of_a_file_that_has_changed_are_deleted(cos: FakeCos, path: Path, journal: Path) -> None:
    def alter(request: object, proceed: Callable[[], object]) -> object:
        os.utime(path, (5e8, 5e8))
        return proceed()

    cos.fault("multipart_upload", alter, part=5)  # type: ignore[arg-type]
    failed = upload(cos, path, settings(journal))
    assert isinstance(failed, cosxfer.SourceChangedError)
    assert not cos.uploads


def test_a_failed_task_whose_parts_are_kept_can_be_restarted_and_cancelled(
    cos: FakeCos, path: Path, journal: Path
) -> None:
    cos.fault("multipart_upload", refuse(403, "AccessDenied"), part=5, times=2)

    async def main() -> None:
        async with cos.client(**settings(journal)) as client:
            task = client.submit_upload_file(BUCKET, "k", path)
            with pytest.raises(cosxfer.UploadError):
                await task
            assert await task.restart()
            with pytest.raises(cosxfer.UploadError):
                await task
            assert cos.uploads
            assert await task.cancel()
            assert not cos.uploads

    run(main())


@pytest.mark.parametrize("call", ["upload_file", "upload_directory"])
def test_a_call_that_is_cancelled_keeps_its_parts_and_says_so(
    cos: FakeCos, path: Path, journal: Path, tmp_path: Path, call: str
) -> None:
    hang = Hang()
    cos.fault("multipart_upload", hang, part=5)
    folder = tmp_path / "folder"
    folder.mkdir()
    path = path.rename(folder / "k")

    async def main() -> None:
        async with cos.client(**settings(journal)) as client:
            if call == "upload_file":
                work = asyncio.ensure_future(client.upload_file(BUCKET, "k", path))
            else:
                work = asyncio.ensure_future(client.upload_directory(BUCKET, "", folder))  # type: ignore[arg-type]
            await hang.arrived.wait()
            work.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await work
            [note] = caught.value.__notes__
            assert f"The multipart upload upload-1 and its 4 {GOES_ON}" in note

    run(main())
    assert cos.uploads
    result = upload(cos, path, settings(journal))
    assert isinstance(result, cosxfer.UploadResult)
    assert result.resumed_bytes == 4 * MIB


def test_closing_a_client_keeps_the_parts_of_a_running_upload_and_says_so(
    cos: FakeCos, path: Path, journal: Path
) -> None:
    hang = Hang()
    cos.fault("multipart_upload", hang, part=5)

    async def main() -> None:
        async with cos.client(**settings(journal)) as client:
            task = client.submit_upload_file(BUCKET, "k", path)
            await hang.arrived.wait()
        with pytest.raises(cosxfer.TaskCanceledError, match=GOES_ON) as caught:
            await task
        assert (caught.value.upload_id, caught.value.aborted) == ("upload-1", False)

    run(main())
    assert cos.uploads


def test_cancelling_a_task_deletes_the_parts_as_before(cos: FakeCos, path: Path, journal: Path) -> None:
    hang = Hang()
    cos.fault("multipart_upload", hang, part=5)

    async def main() -> None:
        async with cos.client(**settings(journal)) as client:
            task = client.submit_upload_file(BUCKET, "k", path)
            await hang.arrived.wait()
            assert await client.cancel_task(task.task_id)
            assert not cos.uploads

    run(main())
