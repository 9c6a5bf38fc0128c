"""Parts that a failed task keeps on the server: how long, and what the error says about them."""

from __future__ import annotations

import asyncio
import gc
import re
import warnings
from pathlib import Path

import pytest

import cosxfer
from cosxfer.limits import MIB
from tests.unit.fake_cos import BUCKET, FakeCos, lose_response, refuse
from tests.unit.files import content_of, write
from tests.unit.tasks.gate import Gate
from tests.unit.tasks.uploads import SIZE, alter, run, sent

KEPT = re.compile(
    r"The multipart upload upload-1 and its \d parts stay on the server for restart_task, until the task is cancelled "
    r"or leaves the task list, or the client is closed$"
)


@pytest.fixture
def failing(cos: FakeCos) -> FakeCos:
    """Submit an upload whose fifth part is refused once."""
    cos.fault("multipart_upload", refuse(403, "AccessDenied"), part=5)
    return cos


async def fail(client: cosxfer.AsyncClient, path: Path) -> cosxfer.AsyncUploadTask[cosxfer.UploadResult]:
    task = client.submit_upload_file(BUCKET, "k", path, part_size=MIB, async_limit=1)
    with pytest.raises(cosxfer.UploadError) as caught:
        await task
    assert KEPT.search(str(caught.value))
    assert not caught.value.aborted
    assert task.info.upload_id == "upload-1"
    return task


def test_a_restart_after_an_error_sends_only_what_is_missing(failing: FakeCos, path: Path) -> None:
    async def main() -> None:
        async with failing.client() as client:
            task = await fail(client, path)
            assert await client.restart_task(task.task_id)
            assert (await task).verified

    run(main())
    assert sent(failing) == [1, 2, 3, 4, 5, 5, 6]
    assert failing.objects["k"].content == content_of(SIZE)
    assert not failing.uploads


@pytest.mark.parametrize("call", ["upload_file", "upload_files", "slice_upload_file", "upload_directory"])
def test_a_blocking_call_that_failed_is_restarted_by_its_task(failing: FakeCos, tmp_path: Path, call: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = write(folder / "k", SIZE)
    with failing.blocking_client() as client:
        if call == "upload_file":
            with pytest.raises(cosxfer.UploadError, match=KEPT):
                client.upload_file(BUCKET, "k", path, part_size=MIB, async_limit=1)
        elif call == "slice_upload_file":
            with pytest.raises(cosxfer.UploadError, match=KEPT):
                client.slice_upload_file(BUCKET, "k", path, slice_size=MIB, async_limit=1)
        elif call == "upload_directory":
            [outcome] = client.upload_directory(BUCKET, "", folder, part_size=MIB, async_limit=1)
            assert KEPT.search(str(outcome.error))
        else:
            entry: cosxfer.FileUpload = {"bucket": BUCKET, "key": "k", "path": path, "part_size": MIB, "async_limit": 1}
            [outcome] = client.upload_files([entry])
            assert KEPT.search(str(outcome.error))
        [info] = client.get_task_list()
        assert (info.state, info.upload_id) == ("error", "upload-1")
        assert client.restart_task(info.task_id)
        client._task(info.task_id).result(60)
    assert sent(failing) == [1, 2, 3, 4, 5, 5, 6]
    assert failing.objects["k"].content == content_of(SIZE)


def test_closing_the_client_deletes_the_parts(failing: FakeCos, path: Path) -> None:
    async def main() -> None:
        async with failing.client() as client:
            task = await fail(client, path)
        assert not failing.uploads
        assert task.state == "error"
        with pytest.raises(cosxfer.UploadError):
            await task
        with pytest.raises(cosxfer.CosxferError, match="closed"):
            await task.restart()

    run(main())
    assert failing.count("multipart_abort") == 1


def test_closing_keeps_the_parts_that_should_be_kept(failing: FakeCos, path: Path) -> None:
    with failing.blocking_client() as client, pytest.raises(cosxfer.UploadError, match="were kept on the server"):
        client.upload_file(BUCKET, "k", path, part_size=MIB, abort_on_failure=False)
    assert len(failing.uploads) == 1


def test_cancelling_the_task_deletes_the_parts(failing: FakeCos, path: Path) -> None:
    async def main() -> None:
        async with failing.client() as client:
            task = await fail(client, path)
            assert await client.cancel_task(task.task_id)
            assert not failing.uploads
            assert task.info.upload_id == ""

    run(main())


def test_clearing_the_list_deletes_the_parts_and_a_restart_begins_again(failing: FakeCos, path: Path) -> None:
    async def main() -> None:
        async with failing.client() as client:
            task = await fail(client, path)
            assert client.clear_finished_tasks() == 1
            assert await task.restart()  # while they are being deleted
            assert (await task).verified
            assert failing.count("multipart_abort") == 1

    run(main())
    assert failing.count("multipart_init") == 2
    assert not failing.uploads


def test_being_displaced_from_the_list_by_newer_tasks_deletes_the_parts(
    failing: FakeCos, path: Path, gate: Gate
) -> None:
    failing.fault("multipart_abort", gate)

    async def main() -> None:
        async with failing.client(max_finished_tasks=1) as client:
            task = await fail(client, path)
            await client.put_object(BUCKET, "other", write(path.with_name("other"), 3))
            await gate.come()
            # Other calls on the task during the deletion wait until it is done.
            assert await task.restart()
            assert not task._record.quiet
            gate.open()
            assert (await task).verified

    run(main())
    assert not failing.uploads


@pytest.mark.parametrize("abort", [True, False])
def test_a_cancel_waits_for_a_running_deletion_of_the_parts(
    failing: FakeCos, path: Path, gate: Gate, abort: bool
) -> None:
    failing.fault("multipart_abort", gate)
    ends: list[str] = []

    async def main() -> None:
        async with failing.client() as client:
            task = await fail(client, path)
            client.clear_finished_tasks()
            await gate.come()
            cancelling = asyncio.create_task(task.cancel(abort=abort))
            await asyncio.sleep(0)
            gate.open()
            assert await cancelling
            with pytest.raises(cosxfer.TaskCanceledError) as caught:
                await task
            ends.append(str(caught.value))

    run(main())
    assert not failing.uploads
    assert "upload-1 was aborted" in ends[0]


def test_a_list_that_keeps_none_keeps_no_parts(failing: FakeCos, path: Path) -> None:
    with (
        failing.blocking_client(max_finished_tasks=0) as client,
        pytest.raises(cosxfer.UploadError, match="upload-1 was aborted; nothing is left") as caught,
    ):
        client.upload_file(BUCKET, "k", path, part_size=MIB)
    assert caught.value.aborted
    assert failing.count("multipart_abort") == 1


def drop(clients: list[cosxfer.AsyncClient]) -> None:
    clients.clear()
    gc.collect()


def test_the_end_of_the_event_loop_deletes_the_parts_of_an_unclosed_client(failing: FakeCos, path: Path) -> None:
    clients: list[cosxfer.AsyncClient] = []

    async def main() -> None:
        client = failing.client()
        clients.append(client)
        await fail(client, path)
        assert failing.uploads

    run(main())
    assert not failing.uploads
    with pytest.warns(ResourceWarning, match="unclosed client"):
        drop(clients)


def test_an_unreferenced_client_deletes_the_parts(failing: FakeCos, path: Path) -> None:
    async def main() -> None:
        client = failing.client()
        await fail(client, path)
        cycle = [client]
        cycle.append(cycle)  # type: ignore[arg-type]
        del client, cycle
        with pytest.warns(ResourceWarning, match="unclosed client"):
            gc.collect()
        async with asyncio.timeout(30):
            while failing.uploads:  # noqa: ASYNC110 (the server is no event)
                await asyncio.sleep(0)

    run(main())


def test_an_unreferenced_blocking_client_deletes_the_parts(failing: FakeCos, path: Path) -> None:
    client = failing.blocking_client()
    with pytest.raises(cosxfer.UploadError) as caught:
        client.upload_file(BUCKET, "k", path, part_size=MIB, async_limit=1)
    assert failing.uploads
    caught.value.__traceback__ = None
    del client, caught
    gc.collect()
    assert not failing.uploads


def test_parts_left_by_a_loop_that_ended_are_logged(
    failing: FakeCos, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.new_event_loop()
    client = failing.client()
    loop.run_until_complete(fail(client, path))
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del client
        gc.collect()
    assert "Its multipart upload upload-1 stays on the server until multipart_abort is called" in caplog.text


def test_parts_that_cannot_be_deleted_are_logged(
    failing: FakeCos, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failing.fault("multipart_abort", refuse(403, "AccessDenied"))

    async def main() -> None:
        async with failing.client() as client:
            await fail(client, path)

    run(main())
    assert (
        f"the transfer of {path} to {BUCKET}/k, which failed: The multipart upload upload-1 could not be" in caplog.text
    )


def test_the_parts_of_many_tasks_are_deleted_a_few_at_a_time(cos: FakeCos, path: Path, gate: Gate) -> None:
    count = 40
    cos.fault("multipart_upload", refuse(403, "AccessDenied"), part=1, times=count)
    cos.fault("multipart_abort", gate, times=count)

    async def main() -> None:
        client = cos.client()
        batch = client.submit_upload_files(
            [{"bucket": BUCKET, "key": f"k{n}", "path": path, "part_size": MIB} for n in range(count)]
        )
        assert all(outcome.error is not None for outcome in await batch.result())
        assert len(cos.uploads) == count
        closing = asyncio.create_task(client.aclose())
        await gate.come(16)
        for _ in range(20):
            await asyncio.sleep(0)
        assert gate.inside == 16
        gate.open()
        await closing

    run(main())
    assert not cos.uploads


def test_the_parts_of_a_changed_file_are_deleted(failing: FakeCos, path: Path) -> None:
    async def main() -> None:
        async with failing.client() as client:
            task = await fail(client, path)
            alter(path, content_of(SIZE + 1), replace=True)
            await task.restart()
            with pytest.raises(cosxfer.SourceChangedError) as caught:
                await task
            assert "was aborted" in caught.value.__notes__[0]
            assert not failing.uploads
            await task.restart()
            assert (await task).verified

    run(main())
    assert failing.objects["k"].content == content_of(SIZE + 1)


def test_the_parts_of_a_temporarily_missing_file_are_kept(failing: FakeCos, path: Path) -> None:
    async def main() -> None:
        async with failing.client() as client:
            task = await fail(client, path)
            away = path.parent.rename(path.parent.with_name("away"))
            await task.restart()
            with pytest.raises(cosxfer.SourceError) as caught:
                await task
            assert KEPT.search(caught.value.__notes__[0])
            away.rename(path.parent)
            await task.restart()
            assert (await task).verified

    run(main())
    assert sent(failing).count(1) == 1


def test_an_upload_that_the_server_has_forgotten_begins_again(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_upload", refuse(404, "NoSuchUpload"), part=3)

    async def main() -> None:
        async with cos.client() as client:
            task = client.submit_upload_file(BUCKET, "k", path, part_size=MIB, async_limit=1)
            with pytest.raises(cosxfer.UploadError):
                await task
            await task.restart()
            assert (await task).verified

    run(main())
    assert not cos.uploads


def test_a_restart_finds_the_object_of_a_lost_complete(cos: FakeCos, path: Path, waits: list[float]) -> None:
    cos.fault("multipart_complete", lose_response)
    cos.fault("head_object", refuse(403, "AccessDenied"), times=1)

    async def main() -> None:
        async with cos.client(max_attempts=1) as client:
            task = client.submit_upload_file(BUCKET, "k", path, part_size=MIB)
            with pytest.raises(cosxfer.UploadError):
                await task
            await task.restart()
            assert (await task).verified

    run(main())
    assert cos.count("multipart_init") == 1
    assert len(sent(cos)) == 6
