"""A user's code with `cosxfer.AsyncClient`, for mypy --strict. A line with an ignore must be an error."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import assert_type

import cosxfer

BUCKET = "examplebucket-1250000000"


async def uploads(path: Path) -> None:
    async with cosxfer.AsyncClient(region="ap-guangzhou", file_parallel_limit=5, max_finished_tasks=100) as client:
        assert_type(await client.upload_file(BUCKET, "k", path), cosxfer.UploadResult)
        assert_type(await client.slice_upload_file(BUCKET, "k", path), cosxfer.UploadResult)
        assert_type(await client.put_object(BUCKET, "k", path), cosxfer.PutObjectResult)

        task = client.submit_upload_file(BUCKET, "k", path)
        assert_type(task, cosxfer.AsyncUploadTask[cosxfer.UploadResult])
        assert_type(await task, cosxfer.UploadResult)
        assert_type(await task.result(timeout=1.0), cosxfer.UploadResult)
        assert_type(await client.submit_put_object(BUCKET, "k", b"x"), cosxfer.PutObjectResult)
        assert_type(await task.pause() and await task.restart() and await task.cancel(abort=True), bool)
        assert_type(await client.pause_task(task.task_id), bool)
        print(task.result().etag)  # type: ignore[attr-defined]

        first, second = await asyncio.gather(
            task, client.submit_slice_upload_file(BUCKET, "k", path, slice_size=1 << 20)
        )
        assert_type(first, cosxfer.UploadResult)
        assert_type(second, cosxfer.UploadResult)

        assert_type(client.get_task_list(), list[cosxfer.TaskInfo])
        batch = client.submit_upload_files([{"bucket": BUCKET, "key": "k", "path": path}])
        assert_type(await batch.result(), list[cosxfer.FileResult])
        assert_type(await client.upload_directory(BUCKET, "", path, exclude=("*.tmp",)), list[cosxfer.FileResult])
        await client.upload_directory(BUCKET, "", path, key="k")  # type: ignore[call-arg]
