"""Calls for asyncio that download objects into files as tasks in the client's queue."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Unpack

import cosxfer
from cosxfer.binding import explains_arguments
from cosxfer.calls.base import AsyncCalls
from cosxfer.engine.download.options import DownloadDirectoryOptions, DownloadOptions, FileDownload, OnFileFinish
from cosxfer.models import DownloadResult, Progress
from cosxfer.tasks.batch import AsyncUploadBatch
from cosxfer.tasks.task import AsyncUploadTask
from cosxfer.threads import import_lock

if TYPE_CHECKING:
    from cosxfer.tasks.downloads import SubmittedDownloads


@explains_arguments
class AsyncDownloadCalls(AsyncCalls):
    """Downloads into files."""

    async def download_file(
        self, bucket: str, key: str, path: str | os.PathLike[str], **options: Unpack[DownloadOptions]
    ) -> DownloadResult:
        """Download an object into the file ``path``: up to 1 MiB in one request, else in ranges side by side.

        Each range is requested with If-Match, so all of them belong to one version of the object. If that is replaced
        meanwhile, the download begins anew, three times at most, and then raises `cosxfer.ObjectChangedError`. The
        CRC64 of the whole content is compared with the server's (``result.verified``). If it differs, the object is
        fetched again, and then the call raises `cosxfer.IntegrityError`.

        The file appears only when it is complete and proven. Until then it has a temporary name in the same folder,
        and its whole size is reserved on the disk. A file that it replaces keeps its permissions. The data is not
        forced to the disk (fsync).

        ``part_size`` is in bytes, 1 MiB to 5 GiB, and ``async_limit`` is the most ranges in flight. ``"auto"``: the
        client chooses. None: the client's ``part_size`` and ``concurrency``. ``preserve_mtime`` gives the file the time
        in the object's metadata ``mtime``. ``sparse`` leaves out blocks of zeros (4 KiB) of an object of more than
        1 MiB, so that they take no space; then none is reserved. A range that is fetched again is written whole.

        The download is a task. While it is paused (`pause_task`), the call keeps waiting, and what was received stays
        in the temporary file. `restart_task` continues there, also after an error of the network or the server. With a
        journal the same call continues there too, in a later process, if the object is the same: after an interrupt, a
        kill, or an error that may pass (``docs/api.md``, "Downloads that go on"). The temporary file is removed if the
        task is cancelled, or by a download to the same path that starts anew. Without a journal it is also removed if
        the call is interrupted, the task leaves the task list, or the client is closed.

        Raises `cosxfer.TargetError` if the file cannot be written. ``on_task_ready`` and ``on_progress`` are those of
        `upload_file`.
        """
        return await self.submit_download_file(bucket, key, path, **options)._finish()

    def submit_download_file(
        self, bucket: str, key: str, path: str | os.PathLike[str], **options: Unpack[DownloadOptions]
    ) -> AsyncUploadTask[DownloadResult]:
        """Put a download into the queue and return its task at once; the parameters are those of `download_file`."""
        self._ready()
        record = self._transfers.downloads.submit(bucket, key, path, options=options)
        return AsyncUploadTask(self._transfers.queue, record)

    async def download_files(
        self,
        files: Iterable[FileDownload],
        *,
        on_progress: Callable[[Progress], None] | None = None,
        on_file_finish: OnFileFinish | None = None,
    ) -> list[cosxfer.DownloadedFile]:
        """Download many objects, ``file_parallel_limit`` at a time.

        Each of ``files`` is a mapping with ``bucket``, ``key`` and ``path``, and any other parameter of
        `download_file`, including callbacks. Returns a `cosxfer.DownloadedFile` for each, in the order of ``files``,
        with its error or its result. An error of one file ends that file alone and is not raised. If an entry can never
        work, the call raises `cosxfer.UsageError` before anything is sent.

        ``on_progress`` gets the progress of all files together; the total grows as their sizes become known.
        ``on_file_finish(error, result, options)`` is called when a file ends; ``options`` is its mapping.
        """
        self._ready()
        return await self._transfers.downloads.files(files, on_progress=on_progress, on_file_finish=on_file_finish)

    def submit_download_files(
        self,
        files: Iterable[FileDownload],
        *,
        on_progress: Callable[[Progress], None] | None = None,
        on_file_finish: OnFileFinish | None = None,
    ) -> cosxfer.AsyncDownloadBatch:
        """Put many downloads into the queue and return at once; the parameters are those of `download_files`.

        The ``tasks`` of the batch hold one task for each file. Its ``result()`` returns what `download_files` returns.
        """
        self._ready()
        downloads = self._transfers.downloads
        return self._downloads_of(downloads.batch(files, on_progress=on_progress, on_file_finish=on_file_finish))

    def _downloads_of(self, submitted: SubmittedDownloads) -> cosxfer.AsyncDownloadBatch:
        with import_lock:
            from cosxfer.tasks.downloads import AsyncDownloadBatch

        self._transfers.downloads.submit_all(submitted)
        handle = partial(AsyncUploadTask, self._transfers.queue)
        return AsyncDownloadBatch(AsyncUploadBatch(submitted.batch, handle))

    async def download_directory(
        self,
        bucket: str,
        prefix: str,
        path: str | os.PathLike[str],
        *,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_file_finish: OnFileFinish | None = None,
        **options: Unpack[DownloadDirectoryOptions],
    ) -> list[cosxfer.DownloadedFile]:
        """Download the objects whose keys begin with ``prefix/`` into the folder ``path``, which is created.

        The rest of a key is the path below ``path``. A key that has no path of its own there is refused: it is returned
        as a result with a `cosxfer.TargetError`, and the others are downloaded (``docs/api.md``, "Keys as paths"). A
        link below ``path`` is not followed, so nothing is written outside. A key that ends with ``/`` and has no
        content is created as a folder.

        ``include`` (None: all) and ``exclude`` are patterns as in `upload_directory`. ``options`` apply to every file.
        The bucket is listed first; an error of the listing is raised, and nothing is downloaded then. The call raises
        `cosxfer.CosxferError` if there is no object below ``prefix``. Everything else is as in `download_files`.

        With a journal, the same call goes on after an interrupt or an error: a file that the interrupted call has
        completed is not fetched again if size and ETag of the object are the same and the file has its CRC64. Its
        result has no ``parts``, no headers, and ``resumed_bytes`` of the whole size.
        """
        self._ready()
        return await self._transfers.downloads.directory(
            bucket,
            prefix,
            path,
            include=include,
            exclude=exclude,
            on_progress=on_progress,
            on_file_finish=on_file_finish,
            options=options,
        )

    async def submit_download_directory(
        self,
        bucket: str,
        prefix: str,
        path: str | os.PathLike[str],
        *,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_file_finish: OnFileFinish | None = None,
        **options: Unpack[DownloadDirectoryOptions],
    ) -> cosxfer.AsyncDownloadBatch:
        """List the objects below ``prefix``, put their downloads into the queue and return when all are in it.

        The parameters are those of `download_directory`, and so are the errors of the listing, which are raised here.
        The ``tasks`` of the batch hold one task for each file. Its ``result()`` returns what `download_directory`
        returns.
        """
        self._ready()
        submitted = await self._transfers.downloads.directory_batch(
            bucket,
            prefix,
            path,
            include=include,
            exclude=exclude,
            on_progress=on_progress,
            on_file_finish=on_file_finish,
            options=options,
        )
        return self._downloads_of(submitted)
