"""Blocking calls that upload files as tasks in the client's queue. Their asynchronous forms have the documentation."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, suppress
from typing import Literal, Unpack

from cosxfer.binding import explains_arguments
from cosxfer.calls.aio_files import AsyncFileCalls
from cosxfer.calls.base import BlockingCalls
from cosxfer.engine.upload.options import DirectoryOptions, FileOptions, FileUpload, ResumeOptions, SliceFileOptions
from cosxfer.engine.upload.upload_file import DEFAULT_SLICE_SIZE
from cosxfer.errors import CosxferError
from cosxfer.models import Progress, TaskEvent, TaskInfo, UploadResult
from cosxfer.tasks.batch import BatchRecord, OnFileFinish, UploadBatch
from cosxfer.tasks.file_result import FileResult, Outcomes
from cosxfer.tasks.stream import DirectoryStream
from cosxfer.tasks.task import UploadTask
from cosxfer.tasks.transfers import Transfers


@explains_arguments
class FileCalls(BlockingCalls):
    """Uploads of files, and the task queue."""

    _client: AsyncFileCalls

    def upload_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        slice_size: int | str = DEFAULT_SLICE_SIZE,
        **options: Unpack[FileOptions],
    ) -> UploadResult:
        return self.submit_upload_file(bucket, key, path, slice_size=slice_size, **options)._finish()

    def slice_upload_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        slice_size: int | str | None = None,
        **options: Unpack[SliceFileOptions],
    ) -> UploadResult:
        return self.submit_slice_upload_file(bucket, key, path, slice_size=slice_size, **options)._finish()

    def submit_upload_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        slice_size: int | str = DEFAULT_SLICE_SIZE,
        **options: Unpack[FileOptions],
    ) -> UploadTask[UploadResult]:
        transfers = self._running_transfers()
        record = transfers.submit_file(bucket, key, path, slice_size=slice_size, options=options)
        return UploadTask(transfers.queue, record, self._loop)

    def submit_slice_upload_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        slice_size: int | str | None = None,
        **options: Unpack[SliceFileOptions],
    ) -> UploadTask[UploadResult]:
        transfers = self._running_transfers()
        record = transfers.submit_slices(bucket, key, path, slice_size=slice_size, options=options)
        return UploadTask(transfers.queue, record, self._loop)

    def resume(
        self, token: str, path: str | os.PathLike[str] | None = None, **options: Unpack[ResumeOptions]
    ) -> UploadResult:
        return self.submit_resume(token, path, **options)._finish()

    def submit_resume(
        self, token: str, path: str | os.PathLike[str] | None = None, **options: Unpack[ResumeOptions]
    ) -> UploadTask[UploadResult]:
        transfers = self._running_transfers()
        record = transfers.submit_resume(token, path, options=options)
        return UploadTask(transfers.queue, record, self._loop)

    def upload_files(
        self,
        files: Iterable[FileUpload],
        *,
        slice_size: int | str = DEFAULT_SLICE_SIZE,
        on_progress: Callable[[Progress], None] | None = None,
        on_file_finish: OnFileFinish | None = None,
    ) -> list[FileResult]:
        return self.submit_upload_files(
            files, slice_size=slice_size, on_progress=on_progress, on_file_finish=on_file_finish
        )._finish()

    def submit_upload_files(
        self,
        files: Iterable[FileUpload],
        *,
        slice_size: int | str = DEFAULT_SLICE_SIZE,
        on_progress: Callable[[Progress], None] | None = None,
        on_file_finish: OnFileFinish | None = None,
    ) -> UploadBatch:
        transfers = self._running_transfers()
        batch = transfers.batch(files, slice_size=slice_size, on_progress=on_progress, on_file_finish=on_file_finish)
        return self._submitted(transfers, batch)

    def upload_directory(
        self,
        bucket: str,
        prefix: str,
        path: str | os.PathLike[str],
        *,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        slice_size: int | str = DEFAULT_SLICE_SIZE,
        on_progress: Callable[[Progress], None] | None = None,
        on_file_finish: OnFileFinish | None = None,
        **options: Unpack[DirectoryOptions],
    ) -> list[FileResult]:
        transfers = self._running_transfers()
        batch = transfers.directory(
            bucket,
            prefix,
            path,
            include=include,
            exclude=exclude,
            slice_size=slice_size,
            on_progress=on_progress,
            on_file_finish=on_file_finish,
            options=options,
        )
        return self._submitted(transfers, batch)._finish()

    def iter_upload_directory(
        self,
        bucket: str,
        prefix: str,
        path: str | os.PathLike[str],
        *,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        slice_size: int | str = DEFAULT_SLICE_SIZE,
        on_progress: Callable[[Progress], None] | None = None,
        **options: Unpack[DirectoryOptions],
    ) -> Generator[FileResult, None, None]:
        stream = self._running_transfers().directory_stream(
            bucket,
            prefix,
            path,
            include=include,
            exclude=exclude,
            slice_size=slice_size,
            on_progress=on_progress,
            options=options,
        )
        return self._outcomes(stream)

    def _outcomes(self, stream: DirectoryStream) -> Generator[FileResult, None, None]:
        with closing(self._blocks(stream)) as blocks:
            for block in blocks:
                yield from block

    def _blocks(self, stream: DirectoryStream) -> Generator[Outcomes, None, None]:
        """Run an upload, and yield the outcomes of many files at once."""
        blocks = self._client._blocks(stream)
        try:
            yield from self._iterate(blocks)
        except BaseException as error:
            # If the client is closed, or this is the garbage collector on its thread: its end cancels what runs.
            with suppress(CosxferError):
                self._run(blocks.aclose())
            if not isinstance(error, GeneratorExit):
                stream.add_left(error)
            raise

    # -- the queue --------------------------------------------------------------------------------------------------

    def get_task_list(self) -> list[TaskInfo]:
        return self._client.get_task_list()

    def clear_finished_tasks(self) -> int:
        return self._client.clear_finished_tasks()

    def pause_task(self, task_id: str) -> bool:
        return self._task(task_id).pause()

    def restart_task(self, task_id: str) -> bool:
        return self._task(task_id).restart()

    def cancel_task(self, task_id: str, *, abort: bool = True) -> bool:
        return self._task(task_id).cancel(abort=abort)

    def on(self, event: Literal["list-update"], callback: Callable[[TaskEvent], None]) -> None:
        self._client.on(event, callback)

    def off(self, event: Literal["list-update"], callback: Callable[[TaskEvent], None] | None = None) -> None:
        self._client.off(event, callback)

    def _submitted(self, transfers: Transfers, batch: BatchRecord) -> UploadBatch:
        try:
            transfers.submit_all(batch)
        finally:
            # If this is interrupted, the tasks that are already in the queue must not go on.
            queue, loop = transfers.queue, self._loop
            handle = UploadBatch(batch, lambda record: UploadTask(queue, record, loop))
            if batch.submitted < len(batch.files):
                handle.cancel()
        return handle

    def _task(self, task_id: str) -> UploadTask[object]:
        transfers = self._running_transfers()
        return UploadTask(transfers.queue, transfers.queue.get(task_id), self._loop)
