"""Tasks that fail or are cancelled, against an in-memory COS."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

import cosxfer
from cosxfer.events import ProgressMeter
from cosxfer.limits import MIB
from tests.unit.fake_cos import BUCKET, FakeCos, refuse
from tests.unit.files import write
from tests.unit.tasks.gate import Gate
from tests.unit.tasks.uploads import run, sent, submit

# -- errors ------------------------------------------------------------------------------------------------------------


def test_a_failed_task_can_be_restarted(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_upload", refuse(403, "AccessDenied"), part=3)

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, path)
            with pytest.raises(cosxfer.UploadError):
                await task
            assert task.state == "error"
            assert isinstance(task.info.error, cosxfer.UploadError)
            assert await task.restart()
            assert (await task).verified
            assert task.info.error is None

    run(main())
    assert cos.count("multipart_init") == 1


def test_a_failed_task_resumes_from_its_kept_parts(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_upload", refuse(403, "AccessDenied"), part=5)

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, path, abort_on_failure=False)
            with pytest.raises(cosxfer.UploadError, match="were kept"):
                await task
            assert await client.restart_task(task.task_id)
            assert (await task).verified

    run(main())
    assert cos.count("multipart_init") == 1
    assert sent(cos).count(1) == 1


def test_cancelling_a_failed_task_deletes_the_parts_that_were_kept(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_upload", refuse(403, "AccessDenied"), part=5)

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, path, abort_on_failure=False)
            with pytest.raises(cosxfer.UploadError):
                await task
            assert cos.uploads
            assert await task.cancel()

    run(main())
    assert not cos.uploads


def test_a_missing_file_is_an_error_of_its_task(cos: FakeCos, tmp_path: Path) -> None:
    with cos.blocking_client() as client:
        task = client.submit_upload_file(BUCKET, "k", tmp_path / "f")
        with pytest.raises(cosxfer.SourceError):
            task.result()
        assert task.state == "error"
        write(tmp_path / "f", 5)
        assert task.restart()
        assert task.result().verified


# -- cancel ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abort", [True, False])
@pytest.mark.parametrize("paused", [True, False])
def test_a_cancelled_upload_is_aborted_or_kept_as_requested(
    cos: FakeCos, path: Path, gate: Gate, abort: bool, paused: bool
) -> None:
    cos.fault("multipart_upload", gate, part=4)

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, path)
            await gate.come()
            if paused:
                await task.pause()
            assert await client.cancel_task(task.task_id, abort=abort)
            assert task.state == "canceled"
            with pytest.raises(cosxfer.TaskCanceledError) as caught:
                await task
            error = caught.value
            assert (error.task_id, error.upload_id, error.aborted) == (task.task_id, "upload-1", abort)
            assert ("was aborted" if abort else "were kept") in str(error)
            assert not await task.restart()

    run(main())
    assert bool(cos.uploads) is not abort
    assert "k" not in cos.objects


def test_cancelling_a_waiting_task_sends_nothing(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, times=2)

    async def main() -> None:
        async with cos.client(file_parallel_limit=1) as client:
            first, second = submit(client, path, "first"), submit(client, path, "second")
            await gate.come(2)
            await second.cancel()
            with pytest.raises(cosxfer.TaskCanceledError, match="Nothing was left"):
                await second
            gate.open()
            await first

    run(main())
    assert set(cos.objects) == {"first"}


def test_a_cancelled_task_reports_nothing_while_its_run_ends(
    cos: FakeCos, path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosxfer.engine.report.ProgressMeter", partial(ProgressMeter, interval_seconds=0))
    # Cancelling subtracts its bytes, which would cause a report.
    cos.fault("multipart_upload", gate, part=2)
    events: list[cosxfer.TaskEvent] = []
    with cos.blocking_client() as client:
        client.on("list-update", events.append)
        task = client.submit_upload_file(BUCKET, "k", path, part_size=MIB, async_limit=1)
        gate.wait()
        assert task.cancel()
        # The result is delivered after the earlier callbacks.
        client.submit_put_object(BUCKET, "other", b"", on_progress=lambda progress: None).result()
        after = [event.change for event in events if event.task.key == "k" and event.task.state == "canceled"]
    assert after == ["state"]


def test_an_abort_that_fails_is_reported_in_the_error_and_the_log(
    cos: FakeCos, path: Path, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    cos.fault("multipart_upload", gate, part=4)
    cos.fault("multipart_abort", refuse(403, "AccessDenied"))

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, path)
            await gate.come()
            await task.cancel()
            with pytest.raises(cosxfer.TaskCanceledError) as caught:
                await task
            assert not caught.value.aborted

    run(main())
    assert "could not be aborted" in caplog.text


def test_an_abort_that_fails_is_tried_and_reported_once(
    cos: FakeCos, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A blocking client is closed by the call, and once more at the end of its event loop."""
    cos.fault("multipart_upload", refuse(403, "AccessDenied"), times=100)
    cos.fault("multipart_abort", refuse(403, "AccessDenied"), times=100)
    with cos.blocking_client() as client, pytest.raises(cosxfer.UploadError):
        client.upload_file(BUCKET, "k", path, part_size=MIB, abort_on_failure=True)
    assert [record.getMessage().count("could not be aborted") for record in caplog.records].count(1) == 1


def test_cancelling_the_asyncio_task_of_a_call_cancels_the_upload(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, times=2)

    async def main() -> None:
        async with cos.client() as client:
            call = asyncio.ensure_future(client.upload_file(BUCKET, "k", path, part_size=MIB, async_limit=2))
            await gate.come(2)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            # The exception is raised after the clean-up.
            assert not cos.uploads
            assert [info.state for info in client.get_task_list()] == ["canceled"]
            assert gate.inside == 0

    run(main())


def test_a_call_in_a_timeout_is_cancelled_by_it(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, times=2)

    async def main() -> None:
        async with cos.client() as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.upload_file(BUCKET, "k", path, part_size=MIB, async_limit=2)

    run(main())
    assert not cos.uploads


def test_closing_cancels_unfinished_tasks_and_cleans_up(cos: FakeCos, path: Path, gate: Gate) -> None:
    for part in (2, 3):
        cos.fault("multipart_upload", gate, part=part, times=99)
    client = cos.blocking_client(file_parallel_limit=2)
    tasks = [client.submit_upload_file(BUCKET, f"k{n}", path, part_size=MIB, async_limit=1) for n in range(5)]
    gate.wait()
    gate.wait()
    tasks[0].pause()
    client.close()
    assert {task.state for task in tasks} == {"canceled"}
    for task in tasks:
        with pytest.raises(cosxfer.TaskCanceledError, match="the client was closed"):
            task.result(0)
    assert not cos.uploads
    with pytest.raises(cosxfer.CosxferError, match="closed"):
        client.submit_upload_file(BUCKET, "k", path)
    with pytest.raises(cosxfer.CosxferError, match="closed"):
        tasks[0].restart()
