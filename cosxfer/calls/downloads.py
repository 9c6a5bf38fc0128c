"""Blocking calls that download objects into files. Their asynchronous forms have the documentation."""

from __future__ import annotations

import os
from typing import Unpack

from cosxfer.binding import explains_arguments
from cosxfer.calls.aio_downloads import AsyncDownloadCalls
from cosxfer.calls.base import BlockingCalls
from cosxfer.engine.download.options import DownloadOptions
from cosxfer.models import DownloadResult
from cosxfer.tasks.task import UploadTask


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
