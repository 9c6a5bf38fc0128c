"""Calls for asyncio that download objects into files as tasks in the client's queue."""

from __future__ import annotations

import os
from typing import Unpack

from cosxfer.binding import explains_arguments
from cosxfer.calls.base import AsyncCalls
from cosxfer.engine.download.options import DownloadOptions
from cosxfer.models import DownloadResult
from cosxfer.tasks.task import AsyncUploadTask


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
        in the object's metadata ``mtime``.

        The download is a task. While it is paused (`pause_task`), the call keeps waiting, and what was received stays
        in the temporary file. `restart_task` continues there, also after an error of the network or the server. The
        temporary file is removed if the task is cancelled or leaves the task list, or the client is closed. That of a
        killed process is removed by the next download to the same path. Interrupting the call cancels the task.

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
