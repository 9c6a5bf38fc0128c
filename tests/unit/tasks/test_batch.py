"""Many files in one call: outcomes in order, one progress for all, and one callback for each file."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.limits import MIB
from tests.unit.fake_cos import BUCKET, FakeCos, refuse
from tests.unit.files import write
from tests.unit.tasks.gate import Gate


def entry(path: Path, key: str, **options: Any) -> cosxfer.FileUpload:
    return {"bucket": BUCKET, "key": key, "path": path, **options}  # type: ignore[typeddict-item,no-any-return]


def test_outcomes_have_the_order_of_the_files(cos: FakeCos, tmp_path: Path) -> None:
    cos.fault("put_object", refuse(403, "AccessDenied"))
    small, large = write(tmp_path / "small", 1000), write(tmp_path / "large", 3 * MIB)
    files = [
        entry(small, "refused by the server"),
        entry(large, "large", part_size=MIB),
        entry(tmp_path / "missing", "missing"),
        entry(small, "small", metadata={"a": "b"}),
        entry(small, ""),
        entry(small, "bad option", part_size=5),
        entry(small, "small again"),
    ]
    with cos.blocking_client(file_parallel_limit=1) as client:
        results = client.upload_files(files)  # type: ignore[arg-type]
    assert [result.options for result in results] == files
    kinds = [type(result.error).__name__ if result.error else "" for result in results]
    assert kinds == ["AccessDeniedError", "", "SourceError", "", "UsageError", "UsageError", ""]
    assert isinstance(results[0].error, cosxfer.AccessDeniedError)
    for result in results:
        assert (result.error is None) is (result.result is not None and result.result.verified)
    assert set(cos.objects) == {"large", "small", "small again"}
    assert cos.objects["small"].headers["x-cos-meta-a"] == "b"


def test_no_files_are_no_error(cos: FakeCos) -> None:
    reports: list[cosxfer.Progress] = []
    with cos.blocking_client() as client:
        assert client.upload_files([], on_progress=reports.append) == []
    assert reports[-1].percent == 1.0


@pytest.mark.parametrize(
    ("files", "options", "name"),
    [([], {"slice_size": -1}, "slice_size"), ([5], {}, "files"), (["ab"], {}, "files")],
)
def test_an_invalid_argument_of_the_call_is_raised(
    cos: FakeCos, files: Any, options: dict[str, Any], name: str
) -> None:
    with cos.blocking_client() as client:
        with pytest.raises(cosxfer.UsageError) as caught:
            client.upload_files(files, **options)
        assert caught.value.name == name
        assert client.get_task_list() == []


def test_the_threshold_applies_to_all_files(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "f", 3 * MIB)
    with cos.blocking_client() as client:
        [single] = client.upload_files([entry(path, "a")], slice_size=3 * MIB)
        [parts] = client.upload_files([entry(path, "b", part_size=MIB)], slice_size=3 * MIB - 1)
    assert single.result is not None
    assert parts.result is not None
    assert (single.result.upload_id, single.result.parts) == ("", 1)
    assert parts.result.parts == 3


def test_progress_is_that_of_all_files_together(cos: FakeCos, tmp_path: Path) -> None:
    sizes = [10, 3 * MIB, 0, 700]
    files = [entry(write(tmp_path / str(n), size), str(n), part_size=MIB) for n, size in enumerate(sizes)]
    reports: list[cosxfer.Progress] = []
    with cos.blocking_client() as client:
        client.upload_files(iter(files), on_progress=reports.append)
    assert {report.total for report in reports} == {sum(sizes)}
    loaded = [report.loaded for report in reports]
    assert loaded == sorted(loaded)
    assert (loaded[0], loaded[-1], reports[-1].percent) == (0, sum(sizes), 1.0)


def test_progress_does_not_reach_the_total_if_a_file_failed(cos: FakeCos, tmp_path: Path) -> None:
    cos.fault("put_object", refuse(403, "AccessDenied"))
    path = write(tmp_path / "f", 1000)
    reports: list[cosxfer.Progress] = []
    with cos.blocking_client(file_parallel_limit=1) as client:
        batch = client.submit_upload_files([entry(path, "a"), entry(path, "b")], on_progress=reports.append)
        batch.result()
        assert (batch.loaded, batch.total) == (1000, 2000)
    assert (reports[-1].loaded, reports[-1].total) == (1000, 2000)


def test_on_file_finish_gets_error_result_and_options_of_each_file(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "f", 10)
    files = [entry(path, "a"), entry(tmp_path / "missing", "b"), entry(path, "c")]
    seen: list[tuple[Exception | None, cosxfer.UploadResult | None, cosxfer.FileUpload]] = []
    with cos.blocking_client(file_parallel_limit=1) as client:
        results = client.upload_files(files, on_file_finish=lambda *given: seen.append(given))
    assert seen == [(result.error, result.result, result.options) for result in results]
    assert all(options is given for (_, _, options), given in zip(seen, files, strict=True))


def test_each_file_may_have_its_own_callbacks(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "f", 10)
    ids: list[str] = []
    reports: list[cosxfer.Progress] = []
    with cos.blocking_client() as client:
        batch = client.submit_upload_files(
            [entry(path, "a", on_task_ready=ids.append), entry(path, "b", on_progress=reports.append)]
        )
        batch.result()
        told = client._client._transfers.queue.dispatcher.delivered()
        if told is not None:
            told.result(30)
    assert ids == [batch.tasks[0].task_id]
    assert reports[-1].loaded == 10


def test_cancelling_a_task_of_the_batch_does_not_affect_the_others(cos: FakeCos, tmp_path: Path) -> None:
    gate = Gate()
    cos.fault("put_object", gate, times=9)
    path = write(tmp_path / "f", 10)
    with cos.blocking_client(file_parallel_limit=1) as client:
        batch = client.submit_upload_files([entry(path, key) for key in "abc"])
        gate.wait()
        assert batch.tasks[1].cancel()
        gate.open()
        results = batch.result()
    assert isinstance(results[1].error, cosxfer.TaskCanceledError)
    assert set(cos.objects) == {"a", "c"}


def test_cancelling_the_call_cancels_all_its_files(cos: FakeCos, tmp_path: Path) -> None:
    gate = Gate()
    cos.fault("multipart_upload", gate, times=99)
    path = write(tmp_path / "f", 2 * MIB)

    async def main() -> None:
        async with cos.client() as client:
            call = asyncio.ensure_future(client.upload_files([entry(path, str(n), part_size=MIB) for n in range(50)]))
            await gate.come(6)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert {info.state for info in client.get_task_list()} == {"canceled"}
            assert not cos.uploads

    asyncio.run(main())


def test_submitting_many_files_does_not_block_the_event_loop(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "f", 10)
    turns = 0

    async def main() -> None:
        nonlocal turns
        async with cos.client() as client:
            call = asyncio.ensure_future(client.upload_files([entry(path, str(n)) for n in range(1000)]))
            while len(client.get_task_list()) < 1000:
                turns += 1
                await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(main())
    assert turns > 9


def test_cancelling_the_batch_cancels_all_its_files(cos: FakeCos, tmp_path: Path) -> None:
    gate = Gate()
    cos.fault("put_object", gate, times=99)
    path = write(tmp_path / "f", 10)
    with cos.blocking_client() as client:
        batch = client.submit_upload_files([entry(path, str(n)) for n in range(20)])
        gate.wait()
        batch.cancel()
        results = batch.result()
    assert all(isinstance(result.error, cosxfer.TaskCanceledError) for result in results)
    assert not cos.objects


def test_a_failed_file_that_is_restarted_in_time_counts_by_its_last_outcome(cos: FakeCos, tmp_path: Path) -> None:
    gate = Gate()
    cos.fault("put_object", refuse(403, "AccessDenied"))
    cos.fault("put_object", gate, times=9)
    path = write(tmp_path / "f", 10)
    submitted = threading.Event()
    with cos.blocking_client(file_parallel_limit=1) as client:

        def again(error: Exception | None, result: object, options: cosxfer.FileUpload) -> None:
            if error is not None:
                # The next file waits at the gate, so that the first file is restarted before the third begins.
                assert submitted.wait(30)
                batch.tasks[0].restart()
                gate.open()

        batch = client.submit_upload_files([entry(path, key) for key in "abc"], on_file_finish=again)
        submitted.set()
        results = batch.result()
    assert [result.error for result in results] == [None, None, None]
    assert set(cos.objects) == {"a", "b", "c"}
