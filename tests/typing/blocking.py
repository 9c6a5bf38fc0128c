"""A user's code with `cosxfer.Client`, for mypy --strict. A line with an ignore must be an error."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Unpack, assert_type

import cosxfer

BUCKET = "examplebucket-1250000000"


def uploads(client: cosxfer.Client, path: Path) -> None:
    result = client.upload_file(BUCKET, "k", path, slice_size=1 << 20, part_size=8 << 20, storage_class="ARCHIVE")
    assert_type(result, cosxfer.UploadResult)
    assert_type(client.slice_upload_file(BUCKET, "k", "path", slice_size=1 << 20, async_limit=8), cosxfer.UploadResult)
    assert_type(client.put_object(BUCKET, "k", b"x", metadata={"a": "b"}), cosxfer.PutObjectResult)
    client.upload_file(BUCKET, "k", path, part_size=None, region=None, on_progress=None)

    client.upload_file(BUCKET, "k", path, nonsense=1)  # type: ignore[call-arg]
    client.upload_file(BUCKET, "k", path, 1 << 20)  # type: ignore[call-arg]
    client.upload_file(BUCKET, "k", 5)  # type: ignore[arg-type]
    client.upload_file(BUCKET, "k", path, storage_class=5)  # type: ignore[arg-type]
    client.slice_upload_file(BUCKET, "k", path, part_size=1 << 20)  # type: ignore[call-arg]


def values_of_the_sdks(client: cosxfer.Client, path: Path, counts: dict[str, int]) -> None:
    client.put_object(BUCKET, "k", b"x", content_length="1", headers={"x-cos-traffic-limit": 819_200}, metadata=counts)
    client.append_object(BUCKET, "k", b"x", position="0", traffic_limit="819200")
    client.upload_file(BUCKET, "k", path, slice_size="5", part_size="1048576", async_limit="2", content_length="7")
    client.multipart_upload(BUCKET, "k", b"x", upload_id="u", part_number="1")
    page = client.multipart_list_part(BUCKET, "k", upload_id="u", max_parts="1", part_number_marker="1")
    client.multipart_list(BUCKET, max_uploads="1")
    client.multipart_complete(BUCKET, "k", upload_id="u", parts=[{"PartNumber": 1, "ETag": "e"}])
    client.multipart_complete(BUCKET, "k", upload_id="u", parts=[(1, "e"), ("2", "f")])
    client.multipart_complete(BUCKET, "k", upload_id="u", parts=page.parts)

    client.put_object(BUCKET, "k", b"x", headers={"a": 1.5})  # type: ignore[dict-item]
    client.put_object(BUCKET, "k", b"x", content_length=1.5)  # type: ignore[arg-type]
    client.append_object(BUCKET, "k", b"x", position=None)  # type: ignore[arg-type]
    client.multipart_complete(BUCKET, "k", upload_id="u", parts=["e"])  # type: ignore[list-item]
    client.put_object(Bucket=BUCKET, Key="k", Body=b"x")  # type: ignore[call-arg]
    client.putObject()  # type: ignore[attr-defined]


class Storage:
    """A wrapper of a program around a client."""

    def __init__(self, client: cosxfer.Client) -> None:
        self._client = client

    def put(self, key: str, body: cosxfer.BodyInput, **headers: Unpack[cosxfer.ObjectHeaders]) -> str:
        return self._client.put_object(BUCKET, key, body, **headers).etag

    def send(self, key: str, path: Path, **options: Unpack[cosxfer.FileOptions]) -> cosxfer.UploadResult:
        return self._client.upload_file(BUCKET, key, path, **options)

    def send_in_parts(self, key: str, path: Path, **options: Unpack[cosxfer.SliceFileOptions]) -> cosxfer.UploadResult:
        return self._client.slice_upload_file(BUCKET, key, path, **options)

    def send_all(self, path: Path, **options: Unpack[cosxfer.DirectoryOptions]) -> list[cosxfer.FileResult]:
        return self._client.upload_directory(BUCKET, "all", path, **options)

    def size(self, key: str, **secret: Unpack[cosxfer.CustomerKey]) -> int:
        return self._client.head_object(BUCKET, key, **secret).size

    def part(self, key: str, upload_id: str, **headers: Unpack[cosxfer.PartHeaders]) -> cosxfer.MultipartUploadResult:
        return self._client.multipart_upload(BUCKET, key, b"", upload_id=upload_id, part_number=1, **headers)


def callbacks(client: cosxfer.Client, path: Path) -> None:
    def ready(task_id: str) -> None:
        client.pause_task(task_id)

    def show(progress: cosxfer.Progress) -> None:
        print(progress.loaded, progress.total, progress.speed, progress.percent)

    client.upload_file(BUCKET, "k", path, on_task_ready=ready, on_progress=show, on_hash_progress=show)
    client.upload_file(BUCKET, "k", path, on_progress=ready)  # type: ignore[arg-type]


def tasks(client: cosxfer.Client, path: Path) -> None:
    task = client.submit_upload_file(BUCKET, "k", path)
    assert_type(task, cosxfer.UploadTask[cosxfer.UploadResult])
    assert_type(task.result(timeout=3.0), cosxfer.UploadResult)
    assert_type(client.submit_put_object(BUCKET, "k", b"x").result(), cosxfer.PutObjectResult)
    assert_type(task.state, cosxfer.TaskState)
    assert_type(task.pause() and task.restart() and task.cancel(abort=False), bool)
    assert_type((task.task_id, task.loaded, task.total, task.hash_loaded), tuple[str, int, int, int])
    for info in client.get_task_list():
        assert_type(info, cosxfer.TaskInfo)
        if info.state == "error":
            assert_type(info.error, Exception | None)
        print(info.state == "failed")  # type: ignore[comparison-overlap]
    assert_type(client.pause_task(task.task_id) or client.restart_task(task.task_id), bool)
    assert_type(client.cancel_task(task.task_id, abort=True), bool)
    client.cancel_task(task.task_id, False)  # type: ignore[call-arg]


def events(client: cosxfer.Client) -> None:
    def changed(event: cosxfer.TaskEvent) -> None:
        assert_type(event.task, cosxfer.TaskInfo)
        assert_type(event.change, cosxfer.TaskChange)
        assert_type(event.previous, cosxfer.TaskState | None)

    client.on("list-update", changed)
    client.off("list-update", changed)
    client.off("list-update")
    client.on("list-updates", changed)  # type: ignore[arg-type]


def many(client: cosxfer.Client, paths: Iterable[Path]) -> list[str]:
    files: list[cosxfer.FileUpload] = [
        {"bucket": BUCKET, "key": path.name, "path": path, "storage_class": "ARCHIVE"} for path in paths
    ]
    failed: list[str] = []

    def finished(error: Exception | None, result: cosxfer.UploadResult | None, options: cosxfer.FileUpload) -> None:
        if error is not None:
            failed.append(options["key"])

    for outcome in client.upload_files(files, slice_size=1 << 20, on_file_finish=finished):
        assert_type(outcome, cosxfer.FileResult)
        if outcome.result is not None:
            print(outcome.result.etag, outcome.options["path"])
    batch = client.submit_upload_files(files)
    assert_type(batch.tasks, tuple[cosxfer.UploadTask[cosxfer.UploadResult], ...])
    assert_type(batch.result(), list[cosxfer.FileResult])
    client.upload_directory(BUCKET, "prefix", "path", include=["*.log"], exclude=["tmp"], acl="private")
    client.upload_files([{"bucket": BUCKET, "key": "k"}])  # type: ignore[typeddict-item]
    client.upload_files([{"bucket": BUCKET, "key": "k", "path": "p", "no": 1}])  # type: ignore[typeddict-unknown-key]
    return failed


def failures(client: cosxfer.Client, path: Path) -> None:
    try:
        client.upload_file(BUCKET, "k", path)
    except cosxfer.TaskCanceledError as error:
        assert_type((error.task_id, error.upload_id, error.aborted), tuple[str, str, bool])
    except cosxfer.TaskTimeoutError as error:
        assert_type(list(error.unfinished.items()), list[tuple[str, cosxfer.TaskState]])
    except cosxfer.UploadError as error:
        assert_type(error.part_number, int | None)
