"""Tasks that are paused and restarted, against an in-memory COS."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.engine.upload import hash_ahead
from cosxfer.events import ProgressMeter
from cosxfer.limits import MIB
from tests.unit.fake_cos import BUCKET, Do, FakeCos, lose_response, refuse
from tests.unit.files import content_of, write
from tests.unit.tasks.gate import Gate
from tests.unit.tasks.uploads import PARTS, SIZE, alter, run, sent, submit


def test_pausing_cancels_parts_in_flight_and_restarting_sends_the_missing_ones(
    cos: FakeCos, path: Path, gate: Gate
) -> None:
    for part in (3, 4):
        cos.fault("multipart_upload", gate, part=part)

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, path)
            await gate.come(2)
            assert await task.pause()
            assert task.state == "paused"
            assert (gate.inside, gate.cut) == (0, 2)
            assert cos.operations().count("multipart_abort") == 0
            [upload] = cos.uploads.values()
            assert sorted(upload.parts) == [1, 2]
            assert [task.info.upload_id] == list(cos.uploads)
            before = len(cos.calls)
            await asyncio.sleep(0.05)
            assert len(cos.calls) == before
            # Progress of the other parts is not subtracted.
            assert 2 * MIB <= task.loaded <= 4 * MIB
            assert await task.restart()
            result = await task
            assert task.info.upload_id == ""
            assert result.verified
            assert result.parts == PARTS

    run(main())
    assert cos.objects["k"].content == content_of(SIZE)
    assert sent(cos) == [1, 2, 3, 3, 4, 4, 5, 6]
    assert cos.count("multipart_init") == 1
    assert cos.count("multipart_list_part") == 1


def test_pausing_ends_the_hashing_after_the_current_round(
    cos: FakeCos, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    rounds = 0

    class Slow(hash_ahead.hashing.PartHasher):  # type: ignore[misc]
        def advance(self, max_bytes: int) -> int:
            nonlocal rounds
            rounds += 1
            begun.set()
            assert go_on.wait(30)
            return super().advance(4096)  # type: ignore[no-any-return]

    with cos.blocking_client() as client:
        with monkeypatch.context() as patched:
            patched.setattr(hash_ahead.hashing, "PartHasher", Slow)
            task = client.submit_upload_file(BUCKET, "k", path, part_size=MIB, upload_add_meta_md5=True)
            assert begun.wait(30)
            pausing = threading.Thread(target=task.pause)
            pausing.start()
            while task.state != "paused":
                pausing.join(0.001)
            # The event loop is idle and receives the request to stop.
            client._run(asyncio.sleep(0))
            go_on.set()
            pausing.join(30)
            assert task._record.quiet
            # The current round, and at most one that began before the stop arrived.
            assert rounds <= 2
        task.restart()
        assert task.result(30).verified
    assert cos.count("multipart_init") == 1


def test_a_paused_blocking_call_waits_until_it_is_restarted(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, part=2)
    results = []
    with cos.blocking_client() as client:
        ids: list[str] = []

        def call() -> None:
            results.append(client.upload_file(BUCKET, "k", path, part_size=MIB, on_task_ready=ids.append))

        thread = threading.Thread(target=call)
        thread.start()
        gate.wait()
        assert client.pause_task(ids[0])
        thread.join(0.05)
        assert thread.is_alive()
        assert client.restart_task(ids[0])
        thread.join(30)
    assert results[0].verified


def test_a_waiting_task_can_be_paused_and_the_next_one_gets_its_slot(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, times=2)

    async def main() -> None:
        async with cos.client(file_parallel_limit=1) as client:
            tasks = [submit(client, path, f"k{n}") for n in range(4)]
            await gate.come(2)
            await tasks[1].pause()
            gate.open()
            await tasks[0]
            await tasks[2]
            assert [task.state for task in tasks][:3] == ["success", "paused", "success"]
            await tasks[1].restart()
            for task in tasks:
                assert (await task).verified

    run(main())
    assert next(iter(cos.objects)) == "k0"


def test_a_restarted_task_comes_before_those_submitted_after_it(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, times=2)

    async def main() -> None:
        async with cos.client(file_parallel_limit=1) as client:
            tasks = [submit(client, path, f"k{n}") for n in range(4)]
            await gate.come(2)
            await tasks[1].pause()
            await tasks[1].restart()
            gate.open()
            for task in tasks:
                await task

    run(main())
    assert list(cos.objects) == ["k0", "k1", "k2", "k3"]


def test_a_small_file_begins_again(cos: FakeCos, tmp_path: Path, gate: Gate) -> None:
    cos.fault("put_object", gate)

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, write(tmp_path / "f", 1000))
            await gate.come()
            await task.pause()
            await task.restart()
            assert (await task).size == 1000

    run(main())
    assert cos.count("put_object") == 2


@pytest.mark.parametrize("damage", ["lost", "other"])
def test_a_part_that_differs_on_the_server_is_sent_again(
    cos: FakeCos, path: Path, gate: Gate, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    cos.fault("multipart_upload", gate, part=4)

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, path)
            await gate.come()
            await task.pause()
            [upload] = cos.uploads.values()
            if damage == "lost":
                del upload.parts[2]
            else:
                upload.parts[2] = b"x" * MIB
            await task.restart()
            await task

    run(main())
    assert cos.objects["k"].content == content_of(SIZE)
    assert sent(cos).count(2) == 2
    assert sent(cos).count(1) == 1
    assert "1 of its parts are not on the server as sent" in caplog.text


def test_an_upload_that_the_server_has_forgotten_begins_again(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, part=4)

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, path)
            await gate.come()
            await task.pause()
            cos.uploads.clear()
            await task.restart()
            assert (await task).upload_id == "upload-2"

    run(main())
    assert cos.objects["k"].content == content_of(SIZE)
    assert sent(cos).count(1) == 2


@pytest.mark.parametrize("change", ["content", "size", "replaced"])
def test_a_file_that_changed_during_a_pause_is_not_mixed_with_old_parts(
    cos: FakeCos, path: Path, gate: Gate, change: str
) -> None:
    cos.fault("multipart_upload", gate, part=4)
    after = content_of(SIZE)[::-1] if change == "content" else content_of(SIZE + 5)

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, path)
            await gate.come()
            await task.pause()
            alter(path, after, replace=change == "replaced")
            await task.restart()
            with pytest.raises(cosxfer.SourceChangedError, match="since the upload was paused") as caught:
                await task
            assert "was aborted" in caught.value.__notes__[0]
            assert not cos.uploads
            # After the error, a restart begins again with the current file.
            assert await task.restart()
            assert (await task).verified

    run(main())
    assert cos.objects["k"].content == after


def test_an_upload_paused_during_complete_succeeds_after_a_restart(cos: FakeCos, path: Path, gate: Gate) -> None:
    async def complete_and_hang(request: Any, proceed: Any) -> Any:
        proceed()
        return await gate(request, proceed)

    cos.fault("multipart_complete", complete_and_hang)

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, path)
            await gate.come()
            await task.pause()
            await task.restart()
            result = await task
            assert result.verified
            assert result.verified_by == "crc64"

    run(main())
    assert cos.objects["k"].content == content_of(SIZE)
    assert len(sent(cos)) == PARTS
    assert cos.count("multipart_init") == 1


def test_an_upload_cancelled_during_initiate_leaves_no_orphan(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_init", gate)

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, path)
            await gate.come()
            cancelling = asyncio.ensure_future(task.cancel())
            await asyncio.sleep(0)
            gate.open()
            assert await cancelling

    run(main())
    assert cos.count("multipart_init") == 1
    assert not cos.uploads


def test_the_files_md5_as_metadata_survives_a_pause(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, part=4)

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, path, upload_add_meta_md5=True)
            await gate.come()
            await task.pause()
            await task.restart()
            await task

    run(main())
    assert cos.objects["k"].content == content_of(SIZE)
    assert "x-cos-meta-md5" in cos.objects["k"].headers


def test_pausing_twice_or_restarting_a_running_task_changes_nothing(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, times=2)

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, path)
            await gate.come(2)
            assert await task.restart()
            assert task.state == "uploading"
            assert await task.pause()
            assert await task.pause()
            assert await task.restart()
            assert await task.restart()
            await task
            assert not await task.pause()
            assert not await task.restart()
            assert not await task.cancel()

    run(main())


def test_pause_restart_pause_in_quick_succession_ends_paused(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, times=2)
    with cos.blocking_client() as client:
        task = client.submit_upload_file(BUCKET, "k", path, part_size=MIB, async_limit=2)
        gate.wait()
        gate.wait()
        queue, record = task._queue, task._record
        assert queue.pause(record)
        assert queue.restart(record)
        assert queue.pause(record)
        stopped = queue.stopped(record)
        if stopped is not None:
            stopped.result(30)
        assert task.state == "paused"
        assert task.restart()
        assert task.result(30).verified
    assert sorted(set(sent(cos))) == list(range(1, PARTS + 1))


# -- parts on the server, and progress that was reported ---------------------------------------------------------------


def cut_after_storing(gate: Gate) -> Do:
    """Store the part, but delay its response until the gate opens."""

    async def do(request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        response = proceed()
        return await gate(request, lambda: response)

    return do


@pytest.mark.parametrize("options", [{}, {"upload_add_meta_md5": True}])
@pytest.mark.parametrize("failing", [True, False])
def test_a_part_with_a_lost_response_is_not_sent_again(
    cos: FakeCos, path: Path, gate: Gate, failing: bool, options: dict[str, Any]
) -> None:
    # Only one part fails; a second one may or may not have begun by then.
    for part in (3,) if failing else (3, 4):
        cos.fault("multipart_upload", lose_response if failing else cut_after_storing(gate), part=part)

    async def main() -> None:
        async with cos.client(max_attempts=1) as client:
            task = submit(client, path, **options)
            if failing:
                with pytest.raises(cosxfer.UploadError):
                    await task
            else:
                await gate.come(2)
                assert await task.pause()
            assert await task.restart()
            result = await task
            assert result.verified_by == "crc64"

    run(main())
    assert cos.objects["k"].content == content_of(SIZE)
    assert len(sent(cos)) == PARTS
    assert cos.count("multipart_list_part") == 1


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        ({"server_side_encryption": "cos/kms"}, content_of(SIZE)[2 * MIB : 3 * MIB]),
        ({}, bytes(MIB)),
        ({}, content_of(SIZE)[2 * MIB : 3 * MIB - 1]),
    ],
)
def test_a_part_that_the_list_does_not_prove_is_sent_again(
    cos: FakeCos, path: Path, gate: Gate, options: dict[str, Any], stored: bytes
) -> None:
    cos.fault("multipart_upload", gate, part=3)

    async def main() -> None:
        async with cos.client() as client:
            task = client.submit_upload_file(BUCKET, "k", path, part_size=MIB, async_limit=1, **options)
            await gate.come()
            assert await task.pause()
            cos.uploads["upload-1"].parts[3] = stored
            assert await task.restart()
            assert (await task).verified

    run(main())
    assert cos.objects["k"].content == content_of(SIZE)
    assert sent(cos) == [1, 2, 3, 3, 4, 5, 6]


class EveryReport(ProgressMeter):
    """Reports every change, without an interval."""

    def __init__(self, total: int) -> None:
        super().__init__(total, interval_seconds=0)


@pytest.mark.parametrize("how", ["pause", "error", "single put", "begun anew"])
def test_progress_never_falls_over_all_runs_of_a_task(
    cos: FakeCos, path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("cosxfer.engine.report.ProgressMeter", EveryReport)
    monkeypatch.setattr("cosxfer.tasks.batch.ProgressMeter", EveryReport)
    single = how == "single put"
    operation = "put_object" if single else "multipart_upload"
    fault = refuse(403, "AccessDenied") if how == "error" else gate
    cos.fault(operation, fault, part=None if single else 4)
    progress: list[cosxfer.Progress] = []
    hashing: list[cosxfer.Progress] = []
    together: list[cosxfer.Progress] = []
    infos: list[cosxfer.TaskInfo] = []
    with cos.blocking_client() as client:
        client.on("list-update", lambda event: infos.append(event.task))
        batch = client.submit_upload_files(
            [
                {
                    "bucket": BUCKET,
                    "key": "k",
                    "path": path,
                    "part_size": MIB,
                    "async_limit": 1,
                    "on_progress": progress.append,
                    "on_hash_progress": hashing.append,
                }
            ],
            slice_size=SIZE if single else 0,
            on_progress=together.append,
        )
        [task] = batch.tasks
        if how == "error":
            with pytest.raises(cosxfer.UploadError):
                task.result()
        else:
            gate.wait()
            task.pause()
            if how == "begun anew":
                cos.uploads.clear()
        shown = task.info
        assert shown.loaded > 0 or single
        task.restart()
        assert task.result().verified
        assert shown.loaded <= task.loaded
        batch.result()
    for reports in (progress, hashing, together):
        loaded = [report.loaded for report in reports]
        assert loaded == sorted(loaded)
        assert loaded[-1] == SIZE or (how == "error" and reports is together)
        assert all(report.percent == report.loaded / SIZE for report in reports)
    assert [info.loaded for info in infos] == sorted(info.loaded for info in infos)
    assert [info.hash_percent for info in infos] == sorted(info.hash_percent for info in infos)


def test_progress_falls_only_with_the_size_of_the_file(
    cos: FakeCos, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosxfer.engine.report.ProgressMeter", EveryReport)
    cos.fault("multipart_upload", refuse(403, "AccessDenied"), part=6)
    with cos.blocking_client(max_finished_tasks=0) as client:
        task = client.submit_upload_file(BUCKET, "k", path, part_size=MIB, async_limit=1)
        with pytest.raises(cosxfer.UploadError):
            task.result()
        assert task.loaded >= 4 * MIB
        alter(path, content_of(2 * MIB), replace=True)
        task.restart()
        assert task.result().verified
        assert (task.loaded, task.total, task.info.percent) == (2 * MIB, 2 * MIB, 1.0)
