"""How downloads become tasks."""

from __future__ import annotations

import os

from cosxfer.arguments import check_callback
from cosxfer.engine.download.download_file import DownloadJob
from cosxfer.engine.download.first import FirstBlocks
from cosxfer.engine.download.options import DownloadOptions, DownloadSettings
from cosxfer.engine.limiter import Limiter
from cosxfer.models import DownloadResult
from cosxfer.ops.session import Session
from cosxfer.tasks.queue import TaskQueue
from cosxfer.tasks.record import TaskRecord, Watch
from cosxfer.threads import Workers


class Downloads:
    """The downloads of one client; every method may be called from any thread."""

    def __init__(self, session: Session, executor: Workers, limiter: Limiter, queue: TaskQueue) -> None:
        self._session = session
        self._executor = executor
        self._limiter = limiter
        self._queue = queue
        self._blocks = FirstBlocks()

    def submit(
        self, bucket: str, key: str, path: str | os.PathLike[str], *, options: DownloadOptions
    ) -> TaskRecord[DownloadResult]:
        """Put a download into the queue. What can be refused is refused here: `UsageError`."""
        self._queue.home.check_process()
        on_task_ready, on_progress = options.get("on_task_ready"), options.get("on_progress")
        check_callback(on_task_ready, "on_task_ready")
        check_callback(on_progress, "on_progress")
        job = self.job(bucket, key, path, options)
        return self._queue.submit(
            job,
            address=job.address,
            path=os.fsdecode(path),
            watch=None if on_progress is None else Watch(None, on_progress),
            on_task_ready=on_task_ready,
            download=True,
        )

    def job(self, bucket: str, key: str, path: str | os.PathLike[str], options: DownloadOptions) -> DownloadJob:
        """Make the job of one download. Raises `UsageError`."""
        # A task that leaves the list in the moment in which it ends is not restarted.
        restartable = self._session.config.max_finished_tasks > 0
        return DownloadJob(
            self._session,
            self._executor.waiting,
            self._limiter,
            self._blocks,
            self._session.address(bucket, key, options.get("region")),
            path,
            settings=DownloadSettings.of(options, restartable=restartable),
        )
