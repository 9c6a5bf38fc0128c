"""Calls on files, which are tasks in the client's queue, for asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Literal, Unpack

from cosxfer.binding import explains_arguments
from cosxfer.calls.base import AsyncCalls
from cosxfer.engine.upload.options import DirectoryOptions, FileOptions, FileUpload, SliceFileOptions
from cosxfer.engine.upload.upload_file import DEFAULT_SLICE_SIZE
from cosxfer.errors import CosxferError
from cosxfer.models import Progress, TaskEvent, TaskInfo, UploadResult
from cosxfer.tasks.batch import AsyncUploadBatch, BatchRecord, FileResult, OnFileFinish
from cosxfer.tasks.task import AsyncUploadTask
from cosxfer.threads import in_thread


@explains_arguments
class AsyncFileCalls(AsyncCalls):
    """Uploads of files, and the task queue."""

    async def upload_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        slice_size: int | str = DEFAULT_SLICE_SIZE,
        **options: Unpack[FileOptions],
    ) -> UploadResult:
        """Upload a file: up to ``slice_size`` bytes (1 MiB) in a single PUT, longer in parts (COS SDK: uploadFile).

        ``part_size`` is in bytes, 1 MiB to 5 GiB; None chooses 8 MiB, or more where 10,000 parts need it.
        ``async_limit`` is the number of parts in flight, by default the client's ``concurrency``.
        ``upload_add_meta_md5`` stores the file's MD5 as x-cos-meta-md5, for which the file is hashed before the first
        byte is sent. The other options are the headers of `cosxfer.ObjectHeaders`.

        Each part's MD5 goes along as Content-MD5, its ETag and CRC64 are compared, and so is the CRC64 of the whole
        object at the end: ``result.verified``. The object appears whole, or not at all. A file that changes meanwhile
        ends in `cosxfer.SourceChangedError`, another failure in an error of the class of its cause that is a
        `cosxfer.UploadError` too. A failed upload keeps its parts on the server as long as its task can be restarted
        (`restart_task`): until it is cancelled or leaves the task list, or the client is closed. With
        ``abort_on_failure=False`` they stay for good.

        The upload is a task: it waits until one of the client's ``file_parallel_limit`` slots is free. While it is
        paused (`pause_task`) the call goes on waiting; when it is cancelled (`cancel_task`) the call raises
        `cosxfer.TaskCanceledError`. Interrupting the call cancels the task.

        ``on_task_ready`` is called with the task's id before anything is sent, in the caller's own thread.
        ``on_hash_progress`` and ``on_progress`` are called with a `cosxfer.Progress` several times a second, in a
        thread of the client's where a slow one stalls nothing; the result waits up to a second for the last of them.
        """
        return await self.submit_upload_file(bucket, key, path, slice_size=slice_size, **options)._finish()

    async def slice_upload_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        slice_size: int | str | None = None,
        **options: Unpack[SliceFileOptions],
    ) -> UploadResult:
        """Upload a file in parts of ``slice_size`` bytes, whatever its size (COS SDK: sliceUploadFile).

        An empty file has no parts and goes in a single PUT. For everything else see `upload_file`, whose
        ``part_size`` is ``slice_size`` here.
        """
        return await self.submit_slice_upload_file(bucket, key, path, slice_size=slice_size, **options)._finish()

    def submit_upload_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        slice_size: int | str = DEFAULT_SLICE_SIZE,
        **options: Unpack[FileOptions],
    ) -> AsyncUploadTask[UploadResult]:
        """Put an upload into the queue and return its task at once; the parameters are those of `upload_file`."""
        self._ready()
        record = self._transfers.submit_file(bucket, key, path, slice_size=slice_size, options=options)
        return AsyncUploadTask(self._transfers.queue, record)

    def submit_slice_upload_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        slice_size: int | str | None = None,
        **options: Unpack[SliceFileOptions],
    ) -> AsyncUploadTask[UploadResult]:
        """Put an upload into the queue and return its task at once; the parameters are those of `slice_upload_file`."""
        self._ready()
        record = self._transfers.submit_slices(bucket, key, path, slice_size=slice_size, options=options)
        return AsyncUploadTask(self._transfers.queue, record)

    async def upload_files(
        self,
        files: Iterable[FileUpload],
        *,
        slice_size: int | str = DEFAULT_SLICE_SIZE,
        on_progress: Callable[[Progress], None] | None = None,
        on_file_finish: OnFileFinish | None = None,
    ) -> list[FileResult]:
        """Upload many files, ``file_parallel_limit`` at a time (COS SDK: uploadFiles).

        Each of ``files`` is a mapping with ``bucket``, ``key`` and ``path``, and whatever else `upload_file` takes,
        callbacks included. ``slice_size`` is that of `upload_file`, for all of them that do not have their own.

        Returns a `cosxfer.FileResult` for each file in the order in which they were given: its error or its result. An
        error of one file ends that file alone, and is not raised. An entry that lacks a name, has a wrong one, or a
        value of a wrong type is a `cosxfer.UsageError` before anything is sent.

        ``on_progress`` gets the progress of all files together, ``on_file_finish(error, result, options)`` what became
        of each, as it ends; ``options`` is the mapping that was given. A failed file that is restarted by its task
        while others go on may finish a second time; its last outcome counts.
        """
        self._ready()
        look = partial(
            self._transfers.batch,
            files,
            slice_size=slice_size,
            on_progress=on_progress,
            on_file_finish=on_file_finish,
        )
        batch = await in_thread(None, look)
        return await self._all(batch)

    def submit_upload_files(
        self,
        files: Iterable[FileUpload],
        *,
        slice_size: int | str = DEFAULT_SLICE_SIZE,
        on_progress: Callable[[Progress], None] | None = None,
        on_file_finish: OnFileFinish | None = None,
    ) -> AsyncUploadBatch:
        """Put many files into the queue and return at once; the parameters are those of `upload_files`.

        The batch's ``tasks`` are one for each file; its ``result()`` is what `upload_files` returns.
        """
        self._ready()
        batch = self._transfers.batch(
            files, slice_size=slice_size, on_progress=on_progress, on_file_finish=on_file_finish
        )
        self._transfers.submit_all(batch)
        with suppress(CosxferError):  # no thread: each task learns its size when it begins
            in_thread(None, self._transfers.measure, batch)
        return self._handle(batch)

    async def upload_directory(
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
        """Upload the files of a directory tree as ``prefix/`` and their path below ``path``, ordered by that path.

        ``include`` (None: all) and ``exclude`` are lists of patterns with the meaning that they have in a .gitignore
        (``docs/api.md``, "Patterns"): ``*.tmp`` at any depth, ``photos/*.jpg`` from ``path``, ``cache/`` for
        directories. A directory that matches ``exclude`` is not entered; one that matches ``include`` is included with
        all that is in it. Each pattern that matches nothing is logged as a warning. Directories themselves, empty ones
        too, make no objects. The tree may be of any depth.

        A link to a file is uploaded as that file; a link to a directory is not followed. That, links to nothing or to
        themselves, and directories that cannot be read come back as results with an error, whatever ``include`` says,
        as files may be behind them; pipes, sockets and devices do if they are included. Raises `cosxfer.SourceError` if
        ``path`` is no directory that can be read, or if no file matches ``include``, and `cosxfer.UsageError` for a
        pattern that can never match.

        ``options`` hold for every file; everything else is as in `upload_files`. The tree is listed first; each file
        takes some 2.5 KB until the call returns, almost all of it for its result.
        """
        self._ready()
        look = partial(
            self._transfers.directory,
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
        batch = await in_thread(None, look)
        return await self._all(batch)

    # -- the queue --------------------------------------------------------------------------------------------------

    def get_task_list(self) -> list[TaskInfo]:
        """The tasks as they are now, in the order of their submission (COS SDK: getTaskList).

        Of those that have ended, the last ``max_finished_tasks`` are in it.
        """
        return self._transfers.queue.infos()

    def clear_finished_tasks(self) -> int:
        """Take the tasks that have ended out of the list; returns how many these were."""
        return self._transfers.queue.clear_finished()

    async def pause_task(self, task_id: str) -> bool:
        """Pause a task: its requests are cancelled at once, and its parts stay on the server (COS SDK: pauseTask).

        When this returns, nothing of it is sent or hashed any more. False where the task has ended already. Raises
        `cosxfer.UsageError` for an id that is not in the list.
        """
        return await self._task(task_id).pause()

    async def restart_task(self, task_id: str) -> bool:
        """Let a paused or failed task go on in its old place in the queue (COS SDK: restartTask).

        The parts that the server has, as far as they are the file's, are not sent again, also after an error. A file
        that has changed since ends in `cosxfer.SourceChangedError`. False where the task is cancelled or done.
        """
        return await self._task(task_id).restart()

    async def cancel_task(self, task_id: str, *, abort: bool = True) -> bool:
        """End a task for good (COS SDK: cancelTask). Who waits for its result gets `cosxfer.TaskCanceledError`.

        Its parts are deleted from the server unless ``abort`` is False. False where the task was done. A cancel that
        comes while COS puts the object together may come too late: then the object is there, whole.
        """
        return await self._task(task_id).cancel(abort=abort)

    def on(self, event: Literal["list-update"], callback: Callable[[TaskEvent], None]) -> None:
        """Call ``callback`` with a `cosxfer.TaskEvent` for each change in the task list (COS SDK: on).

        Each event tells one change, in the order in which they happened. The calls come one after another in a thread
        of the client's: a slow callback delays other callbacks and no transfer. Progress that newer progress has
        overtaken is left out; nothing else is.
        """
        self._transfers.listen(event, callback)

    def off(self, event: Literal["list-update"], callback: Callable[[TaskEvent], None] | None = None) -> None:
        """Call ``callback`` for nothing that happens from now on, or none where None (COS SDK: off).

        What has happened and was not told yet is told all the same, so that nobody misses the end of a task.
        """
        self._transfers.unlisten(event, callback)

    async def _all(self, batch: BatchRecord) -> list[FileResult]:
        """Put the files of a batch into the queue, in steps between which the event loop has its turn, and wait."""
        try:
            while self._transfers.submit_some(batch):  # noqa: ASYNC110 (nothing is waited for)
                await asyncio.sleep(0)
        except BaseException:
            await self._handle(batch)._give_up()
            raise
        return await self._handle(batch)._finish()

    def _handle(self, batch: BatchRecord) -> AsyncUploadBatch:
        return AsyncUploadBatch(batch, [AsyncUploadTask(self._transfers.queue, record) for record in batch.records])

    def _task(self, task_id: str) -> AsyncUploadTask[object]:
        return AsyncUploadTask(self._transfers.queue, self._transfers.queue.get(task_id))
