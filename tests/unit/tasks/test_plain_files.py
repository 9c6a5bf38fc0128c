"""Files that are given by bucket, key and path alone: their jobs are made when they begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.tasks.later import LaterJobs
from tests.unit.fake_cos import BUCKET, FakeCos, refuse
from tests.unit.files import write
from tests.unit.tasks.gate import Gate
from tests.unit.tasks.test_batch import entry


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(tmp_path / "small", 1000)


def job_of(task: cosxfer.UploadTask[Any]) -> object:
    return task._record.job


def test_a_file_that_waits_has_no_job_of_its_own(cos: FakeCos, small: Path) -> None:
    gate = Gate()
    cos.fault("put_object", gate, times=9)
    with cos.blocking_client(file_parallel_limit=1) as client:
        files = [entry(small, key) for key in "abcd"]
        files[2]["metadata"] = {"x": "y"}
        batch = client.submit_upload_files(files)
        gate.wait()
        waiting = [job_of(task) for task in batch.tasks]
        assert isinstance(waiting[1], LaterJobs)
        assert waiting[3] is waiting[1] or isinstance(waiting[3], LaterJobs)
        assert not isinstance(waiting[2], LaterJobs)
        gate.open()
        assert [result.error for result in batch.result()] == [None] * 4
    assert set(cos.objects) == set("abcd")


def test_a_mapping_that_is_changed_later_changes_nothing(cos: FakeCos, tmp_path: Path) -> None:
    gate = Gate()
    cos.fault("put_object", gate, times=9)
    paths = {key: write(tmp_path / key, 10 + number) for number, key in enumerate("abc")}
    files = [entry(path, key) for key, path in paths.items()]
    with cos.blocking_client(file_parallel_limit=1) as client:
        batch = client.submit_upload_files(files)
        gate.wait()
        for file in files:
            file.update(bucket="other-1250000000", key="changed", path=tmp_path / "none")
        gate.open()
        assert [result.error for result in batch.result()] == [None] * 3
    assert {key: cos.objects[key].content for key in "abc"} == {key: path.read_bytes() for key, path in paths.items()}
    assert set(cos.objects) == set("abc")


@pytest.mark.parametrize("kind", [str, Path, bytes], ids=["text", "path", "bytes"])
def test_keys_and_paths_are_taken_as_in_other_calls(cos: FakeCos, small: Path, kind: Any) -> None:
    path = bytes(small) if kind is bytes else kind(small)
    with cos.blocking_client() as client:
        results = client.upload_files([{"bucket": BUCKET, "key": key, "path": path} for key in ("/a", "//b", "c/d")])
        assert [result.error for result in results] == [None] * 3
        assert [info.path for info in client.get_task_list()] == ([str(path)] * 3)
        assert [info.key for info in client.get_task_list()] == ["a", "//b", "c/d"]
    assert set(cos.objects) == {"a", "/b", "c/d"}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"key": ""}, "the key '' is empty"),
        ({"key": "/"}, "the key '/' is empty"),
        ({"key": "x" * 900}, "900 bytes long"),
        ({"bucket": "BUCKET"}, "not of the form"),
        ({"key": "a/../.."}, "the bucket itself"),
    ],
    ids=["empty", "slash", "long", "bucket", "dots"],
)
def test_a_file_that_is_refused_fails_alone_and_in_its_turn(
    cos: FakeCos, small: Path, wrong: dict[str, str], why: str
) -> None:
    files = [entry(small, "a"), {**entry(small, "b"), **wrong}, entry(small, "c")]
    ended: list[str] = []
    with cos.blocking_client(file_parallel_limit=1) as client:
        results = client.upload_files(
            files,  # type: ignore[arg-type]
            on_file_finish=lambda error, result, options: ended.append(type(error).__name__),
        )
    assert ended == ["NoneType", "UsageError", "NoneType"]
    assert [type(result.error).__name__ for result in results] == ended
    assert why in str(results[1].error)
    assert set(cos.objects) == {"a", "c"}


def test_a_file_that_waits_can_be_paused_cancelled_and_asked(cos: FakeCos, small: Path) -> None:
    gate = Gate()
    cos.fault("put_object", gate, times=9)
    with cos.blocking_client(file_parallel_limit=1) as client:
        batch = client.submit_upload_files([entry(small, key) for key in "abcd"])
        gate.wait()
        with pytest.raises(cosxfer.UsageError, match="it has not begun"):
            batch.tasks[1].export()
        assert batch.tasks[1].pause()
        assert batch.tasks[2].cancel()
        assert [info.state for info in client.get_task_list()][1:] == ["paused", "canceled", "waiting"]
        assert [info.total for info in client.get_task_list()] == [1000] * 4
        assert batch.tasks[1].restart()
        gate.open()
        results = batch.result()
    assert [type(result.error).__name__ for result in results] == [
        "NoneType",
        "NoneType",
        "TaskCanceledError",
        "NoneType",
    ]
    assert set(cos.objects) == {"a", "b", "d"}


def test_a_client_that_is_closed_ends_the_files_that_wait(cos: FakeCos, small: Path) -> None:
    gate = Gate()
    cos.fault("put_object", gate, times=9)
    client = cos.blocking_client(file_parallel_limit=1)
    batch = client.submit_upload_files([entry(small, key) for key in "abc"])
    gate.wait()
    client.close()
    for task in batch.tasks:
        with pytest.raises(cosxfer.TaskCanceledError, match="the client was closed"):
            task.result(10)


def test_a_failed_file_can_be_restarted(cos: FakeCos, small: Path) -> None:
    cos.fault("put_object", refuse(403, "AccessDenied"))
    with cos.blocking_client(file_parallel_limit=1) as client:
        batch = client.submit_upload_files([entry(small, "a")])
        (result,) = batch.result()
        assert isinstance(result.error, cosxfer.AccessDeniedError)
        assert batch.tasks[0].restart()
        assert batch.tasks[0].result(10).verified
    assert set(cos.objects) == {"a"}


def test_a_large_file_gets_as_many_parts_in_flight_as_alone(cos: FakeCos, tmp_path: Path) -> None:
    large = write(tmp_path / "large", 5 << 20)
    with cos.blocking_client(part_size=1 << 20, concurrency=3) as client:
        one = client.submit_upload_file(BUCKET, "one", large)
        (other,) = client.submit_upload_files([entry(large, "other")]).tasks
        assert one.result(20).parts
        assert other.result(20).parts
        assert one._record.demand == other._record.demand == 3
