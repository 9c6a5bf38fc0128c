"""Blocking calls that download objects into files. Their asynchronous forms have the documentation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Unpack

import cosxfer
from cosxfer.binding import explains_arguments
from cosxfer.calls.aio_downloads import AsyncDownloadCalls
from cosxfer.calls.base import BlockingCalls
from cosxfer.engine.download.options import DownloadDirectoryOptions, DownloadOptions, FileDownload, OnFileFinish
from cosxfer.models import DownloadResult, Progress
from cosxfer.tasks.batch import UploadBatch
from cosxfer.tasks.task import UploadTask
from cosxfer.threads import import_lock

if TYPE_CHECKING:
    from cosxfer.tasks.downloads import SubmittedDownloads


@explains_arguments
class DownloadCalls(BlockingCalls):
    """Downloads into files."""

    _client: AsyncDownloadCalls

    def download_file(
        self, bucket: str, key: str, path: str | os.PathLike[str], **options: Unpack[DownloadOptions]
    ) -> DownloadResult:
        return self.submit_download_file(bucket, key, path, **options)._finish()

    def submit_download_file(
        self, bucket: str, key: str, path: str | os.PathLike[str], **options: Unpack[DownloadOptions]
    ) -> UploadTask[DownloadResult]:
        transfers = self._running_transfers()
        record = transfers.downloads.submit(bucket, key, path, options=options)
        return UploadTask(transfers.queue, record, self._loop)

    def download_files(
        self,
        files: Iterable[FileDownload],
        *,
        on_progress: Callable[[Progress], None] | None = None,
        on_file_finish: OnFileFinish | None = None,
    ) -> list[cosxfer.DownloadedFile]:
        return self._run(self._client.download_files(files, on_progress=on_progress, on_file_finish=on_file_finish))

    def submit_download_files(
        self,
        files: Iterable[FileDownload],
        *,
        on_progress: Callable[[Progress], None] | None = None,
        on_file_finish: OnFileFinish | None = None,
    ) -> cosxfer.DownloadBatch:
        downloads = self._running_transfers().downloads
        return self._downloads_of(downloads.batch(files, on_progress=on_progress, on_file_finish=on_file_finish))

    def _downloads_of(self, submitted: SubmittedDownloads) -> cosxfer.DownloadBatch:
        with import_lock:
            from cosxfer.tasks.downloads import DownloadBatch

        transfers, batch = self._running_transfers(), submitted.batch
        try:
            transfers.downloads.submit_all(submitted)
        finally:
            # If this is interrupted, the tasks that are already in the queue must not go on.
            queue, loop = transfers.queue, self._loop
            handle = UploadBatch(batch, lambda record: UploadTask(queue, record, loop))
            if batch.submitted < len(batch.files):
                handle.cancel()
        return DownloadBatch(handle)

    def download_directory(
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
        return self._run(
            self._client.download_directory(
                bucket,
                prefix,
                path,
                include=include,
                exclude=exclude,
                on_progress=on_progress,
                on_file_finish=on_file_finish,
                **options,
            )
        )

    def submit_download_directory(
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
    ) -> cosxfer.DownloadBatch:
        downloads = self._running_transfers().downloads
        listing = downloads.directory_batch(
            bucket,
            prefix,
            path,
            include=include,
            exclude=exclude,
            on_progress=on_progress,
            on_file_finish=on_file_finish,
            options=options,
        )
        return self._downloads_of(self._run(listing))
