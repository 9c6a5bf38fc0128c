"""Calls for asyncio that upload files as tasks in the client's queue."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Literal, Unpack

from cosxfer.binding import explains_arguments
from cosxfer.calls.base import AsyncCalls
from cosxfer.engine.upload.options import DirectoryOptions, FileOptions, FileUpload, ResumeOptions, SliceFileOptions
from cosxfer.engine.upload.upload_file import DEFAULT_SLICE_SIZE
from cosxfer.errors import CosxferError
from cosxfer.models import Progress, TaskEvent, TaskInfo, UploadResult
from cosxfer.tasks.batch import AsyncUploadBatch, BatchRecord, OnFileFinish
from cosxfer.tasks.file_result import FileResult, Outcomes
from cosxfer.tasks.stream import DirectoryStream
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
        """Upload a file: in a single PUT up to ``slice_size`` bytes (1 MiB), else in parts (COS SDK: uploadFile).

        ``part_size`` is in bytes, 1 MiB to 5 GiB, and ``async_limit`` is the most parts in flight. ``"auto"``: the
        client chooses. None: the client's ``part_size`` and ``concurrency``. ``upload_add_meta_md5`` stores the file's
        MD5 as x-cos-meta-md5. The file is then hashed before the first byte is sent. The other options are the headers
        of `cosxfer.ObjectHeaders`.

        Each part is sent with its Content-MD5, and its ETag and CRC64 are compared. At the end the CRC64 of the whole
        object is compared (``result.verified``). The object appears whole or not at all.

        If the file changes during the upload, the call raises `cosxfer.SourceChangedError`. Any other failure raises an
        error of the class of its cause that is also a `cosxfer.UploadError`. If the client has a journal and a later
        call may succeed, the parts stay on the server, and the same call goes on with them. Otherwise they stay while
        the task can be restarted (`restart_task`): until it is cancelled or leaves the task list, or the client is
        closed. ``abort_on_failure`` changes that: False keeps them in any case, True in none.

        The upload is a task. It waits until one of the client's ``file_parallel_limit`` slots is free. While it is
        paused (`pause_task`), the call keeps waiting. If it is cancelled (`cancel_task`), the call raises
        `cosxfer.TaskCanceledError`. Interrupting the call cancels the task.

        ``on_task_ready`` is called with the task's id before anything is sent, in the caller's own thread.
        ``on_hash_progress`` and ``on_progress`` are called with a `cosxfer.Progress` several times a second, in a
        thread of the client. A slow callback delays no transfer. The call waits up to a second for the last report.
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
        """Upload a file of any size in parts of ``slice_size`` bytes (COS SDK: sliceUploadFile).

        An empty file has no parts and is sent in a single PUT. For everything else see `upload_file`. Its
        ``part_size`` is called ``slice_size`` here.
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

    async def resume(
        self, token: str, path: str | os.PathLike[str] | None = None, **options: Unpack[ResumeOptions]
    ) -> UploadResult:
        """Go on with the upload of a token that ``task.export()`` returned, on this host and for this path.

        ``path`` is the file; None: the path that the token names. The token has bucket, key, region, headers, metadata
        and part size. A part counts as done if the server lists it with the ETag of the token and the file has its MD5.
        So these parts are read first, which ``on_hash_progress`` reports.

        If the file has another size or content, the server does not have the upload any more, or another call of this
        machine sends into it, a new upload begins, with a warning. Raises `cosxfer.UsageError` for a token that is
        damaged or of another version. A token is as good as a command: use none from a stranger.

        ``abort_on_failure`` is False by default: after a failure the token is still of use. All else is as in
        `upload_file`.
        """
        return await self.submit_resume(token, path, **options)._finish()

    def submit_resume(
        self, token: str, path: str | os.PathLike[str] | None = None, **options: Unpack[ResumeOptions]
    ) -> AsyncUploadTask[UploadResult]:
        """Put the upload of a token into the queue and return its task; the parameters are those of `resume`."""
        self._ready()
        record = self._transfers.submit_resume(token, path, options=options)
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

        Each of ``files`` is a mapping with ``bucket``, ``key`` and ``path``, and any other parameter of `upload_file`,
        including callbacks. ``slice_size`` is that of `upload_file` and applies to entries that do not have their own.

        Returns a `cosxfer.FileResult` for each file, in the order of ``files``, with its error or its result. An error
        of one file ends that file alone and is not raised. If an entry lacks a name, has an unknown one, or a value of
        a wrong type, the call raises `cosxfer.UsageError` before anything is sent.

        ``on_progress`` gets the progress of all files together. ``on_file_finish(error, result, options)`` is called
        when a file ends; ``options`` is its mapping. If a failed file is restarted through its task while others run,
        it may finish a second time, and its last outcome counts.
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

        The ``tasks`` of the batch hold one task for each file. Its ``result()`` returns what `upload_files` returns.
        """
        self._ready()
        batch = self._transfers.batch(
            files, slice_size=slice_size, on_progress=on_progress, on_file_finish=on_file_finish
        )
        self._transfers.submit_all(batch)
        with suppress(CosxferError):  # no thread is available: each task learns its size when it begins
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
        """Upload the files of a directory tree. A file's key is ``prefix/`` and its path below ``path``.

        Files are ordered by that path. ``include`` (None: all) and ``exclude`` are lists of patterns that mean what
        they mean in a .gitignore (``docs/api.md``, "Patterns"): ``*.tmp`` at any depth, ``photos/*.jpg`` from
        ``path``, ``cache/`` for directories. A directory that matches ``exclude`` is not entered. One that matches
        ``include`` is included with its whole content. Each pattern that matches nothing is logged as a warning.
        Directories themselves, even empty ones, create no objects. The tree may be of any depth.

        A link to a file is uploaded as that file. A link to a directory is not followed. Such links, broken or cyclic
        links, and directories that cannot be read are returned as results with an error, even if ``include`` does not
        match them, because files may be behind them. Pipes, sockets and devices are returned so if they are included.

        Raises `cosxfer.SourceError` if ``path`` is not a readable directory or no file matches ``include``, and
        `cosxfer.UsageError` for a pattern that can never match.

        ``options`` apply to every file. Everything else is as in `upload_files`. The tree is listed first. Each file
        takes about 2.5 KB of memory until the call returns, almost all of it for its result.
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
    ) -> AsyncGenerator[FileResult, None]:
        """Upload the files of a directory tree while it is walked, and yield the outcome of each file when it ends.

        The first object is sent before the walk ends, and memory does not grow with the number of files: at most 1,024
        files wait, run, or have an outcome that was not taken. So a caller that takes outcomes slowly slows the upload
        down. The outcomes come in the order in which the files end. One file's error ends that file alone.

        If the iterator is closed before its end, the files that have not ended are cancelled, as their
        ``abort_on_failure`` says; with a journal, the next call for the same directory goes on. Close it with
        ``aclose()`` (the blocking one with ``close()``), or take it to its end.

        A file that an interrupted run has sent has no task; its `cosxfer.FileResult.sent_before` is True. If a failed
        file is restarted through its task, its first outcome counts. The reports of ``on_progress`` have a ``total`` of
        0 until all is sent. Everything else is as in `upload_directory`. What is wrong with the arguments is raised at
        once; what is wrong with the directory, by the iteration.
        """
        stream = self._transfers.directory_stream(
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

    async def _outcomes(self, stream: DirectoryStream) -> AsyncGenerator[FileResult, None]:
        async with aclosing(self._blocks(stream)) as blocks:
            async for block in blocks:
                for outcome in block:
                    yield outcome

    async def _blocks(self, stream: DirectoryStream) -> AsyncGenerator[Outcomes, None]:
        """Run an upload, and yield its outcomes in blocks: a caller in another thread is woken for each."""
        self._ready()
        try:
            async with aclosing(stream.blocks()) as blocks:
                async for block in blocks:
                    yield block
        except asyncio.CancelledError as error:
            stream.add_left(error)
            raise

    # -- the queue --------------------------------------------------------------------------------------------------

    def get_task_list(self) -> list[TaskInfo]:
        """Return the state of the tasks, in the order of their submission (COS SDK: getTaskList).

        Of the tasks that have ended, the list keeps the last ``max_finished_tasks``.
        """
        return self._transfers.queue.infos()

    def clear_finished_tasks(self) -> int:
        """Remove the tasks that have ended from the list; returns their number."""
        return self._transfers.queue.clear_finished()

    async def pause_task(self, task_id: str) -> bool:
        """Pause a task: cancel its requests at once and keep its parts on the server (COS SDK: pauseTask).

        When this returns, the task sends and hashes nothing any more. Returns False if the task has already ended.
        Raises `cosxfer.UsageError` for an id that is not in the list.
        """
        return await self._task(task_id).pause()

    async def restart_task(self, task_id: str) -> bool:
        """Restart a paused or failed task in its old place in the queue (COS SDK: restartTask).

        Parts of the file that the server has are not sent again, even after an error. If the file has changed since,
        the task fails with `cosxfer.SourceChangedError`. Returns False if the task is cancelled or done.
        """
        return await self._task(task_id).restart()

    async def cancel_task(self, task_id: str, *, abort: bool = True) -> bool:
        """Cancel a task (COS SDK: cancelTask). Waiting for its result then raises `cosxfer.TaskCanceledError`.

        Its parts are deleted from the server unless ``abort`` is False. Returns False if the task was done. A cancel
        may be too late while COS assembles the object; the whole object then exists.
        """
        return await self._task(task_id).cancel(abort=abort)

    def on(self, event: Literal["list-update"], callback: Callable[[TaskEvent], None]) -> None:
        """Call ``callback`` with a `cosxfer.TaskEvent` for each change in the task list (COS SDK: on).

        Each event reports one change, in the order of the changes. A thread of the client makes the calls one after
        another: a slow callback delays other callbacks but no transfer. Outdated progress is skipped; every other
        change is reported.
        """
        self._transfers.listen(event, callback)

    def off(self, event: Literal["list-update"], callback: Callable[[TaskEvent], None] | None = None) -> None:
        """Stop calling ``callback``, or every callback if it is None, for later changes (COS SDK: off).

        Earlier changes that are not reported yet are still reported, so that a callback sees the end of a task.
        """
        self._transfers.unlisten(event, callback)

    async def _all(self, batch: BatchRecord) -> list[FileResult]:
        """Put the files of a batch into the queue and wait. Between the steps the event loop can run other work."""
        try:
            while self._transfers.submit_some(batch):  # noqa: ASYNC110 (nothing is waited for)
                await asyncio.sleep(0)
        except BaseException:
            await self._handle(batch)._give_up()
            raise
        return await self._handle(batch)._finish()

    def _handle(self, batch: BatchRecord) -> AsyncUploadBatch:
        return AsyncUploadBatch(batch, partial(AsyncUploadTask, self._transfers.queue))

    def _task(self, task_id: str) -> AsyncUploadTask[object]:
        return AsyncUploadTask(self._transfers.queue, self._transfers.queue.get(task_id))
