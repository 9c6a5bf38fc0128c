"""The jobs of files that are given by bucket, key and path alone, which are most files of large batches."""

from __future__ import annotations

from collections.abc import Callable

from cosxfer.address import ObjectAddress
from cosxfer.config import ClientConfig
from cosxfer.cos.requests import usual_headers
from cosxfer.engine.limiter import Limiter
from cosxfer.engine.upload.options import UploadOptions
from cosxfer.engine.upload.recall import Finished
from cosxfer.engine.upload.short import ShortUploads
from cosxfer.engine.upload.upload_file import FileJob, demand_of
from cosxfer.models import UploadResult
from cosxfer.tasks.batch import BatchRecord
from cosxfer.tasks.later import LaterJobs
from cosxfer.tasks.record import Shortcut, TaskRecord

Record = TaskRecord[UploadResult]


class PlainFiles(LaterJobs[UploadResult]):
    """The jobs of such files of one batch. Their objects and paths were checked."""

    def __init__(
        self,
        batch: BatchRecord,
        config: ClientConfig,
        limiter: Limiter,
        options: UploadOptions,
        shorts: ShortUploads,
        finished: Finished | None,
        make: Callable[[ObjectAddress, str, int, UploadOptions], FileJob],
    ) -> None:
        """``options`` are those of all the files. ``finished`` notes objects that are stored."""
        self._batch = batch
        self._config = config
        self._limiter = limiter
        self._options = options
        self._shorts = shorts
        self._finished = finished
        self._make = make

    def job_of(self, record: Record) -> FileJob:
        """See `LaterJobs`."""
        return self._make(record.address, record.path, self._batch.slice_size, self._options)

    def shortcut_of(self, record: Record) -> Shortcut | None:
        """See `LaterJobs`. It is that of `FileJob`."""
        address = record.address
        return self._shorts.upload(
            address,
            record.path,
            usual_headers(address.key),
            slice_size=self._batch.slice_size,
            finished=self._finished,
        )

    def demand(self, total: int) -> int:
        """See `LaterJobs`."""
        return demand_of(self._config, self._limiter, self._options, self._batch.slice_size, total)
