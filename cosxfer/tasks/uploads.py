"""How uploads become tasks: one place for both clients."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Executor

from cosxfer.engine.options import FileOptions, SliceFileOptions, UploadOptions
from cosxfer.engine.upload_file import FileJob
from cosxfer.errors import UsageError
from cosxfer.models import TaskEvent, UploadResult
from cosxfer.ops.session import Session
from cosxfer.tasks.queue import TaskQueue
from cosxfer.tasks.record import TaskRecord, Watch
from cosxfer.tasks.task import CLEAN_UP_SECONDS, DELIVERY_SECONDS


class Uploads:
    """The uploads of one client; every method but `aclose` may be called from any thread."""

    def __init__(self, session: Session, executor: Executor) -> None:
        self._session = session
        self._executor = executor
        self.queue = TaskQueue(parallel=session.config.file_parallel_limit, keep=session.config.max_finished_tasks)

    def submit_file(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        slice_size: int,
        options: FileOptions,
        part_size_name: str = "part_size",
    ) -> TaskRecord[UploadResult]:
        """Put a file into the queue. What can be refused is refused here: `UsageError`."""
        self.queue.check()
        parsed = UploadOptions.of(options, part_size_name=part_size_name)
        job = FileJob(self._session, self._executor, bucket, key, path, slice_size=slice_size, options=parsed)
        return self.queue.submit(
            job,
            bucket=bucket,
            key=key,
            path=os.fspath(path),
            region=parsed.region,
            total=size_of(path),
            watch=watch_of(options),
            on_task_ready=options.get("on_task_ready"),
        )

    def submit_slices(
        self,
        bucket: str,
        key: str,
        path: str | os.PathLike[str],
        *,
        slice_size: int | None,
        options: SliceFileOptions,
    ) -> TaskRecord[UploadResult]:
        """Put a file into the queue, to go in parts whatever its size; ``slice_size`` is that of a part."""
        if "part_size" in options:
            raise UsageError("slice_upload_file has no part_size; it is called slice_size here", name="part_size")
        in_parts = FileOptions(**options, part_size=slice_size)
        return self.submit_file(bucket, key, path, slice_size=0, options=in_parts, part_size_name="slice_size")

    def listen(self, event: str, listener: Callable[[TaskEvent], None]) -> None:
        """Tell ``listener`` of every change in the list."""
        _check_event(event)
        self.queue.listen(listener)

    def unlisten(self, event: str, listener: Callable[[TaskEvent], None] | None) -> None:
        """Tell it no more, or nobody where None."""
        _check_event(event)
        self.queue.unlisten(listener)

    async def aclose(self) -> None:
        """Cancel what has not ended, wait until it is cleaned up, and deliver the callbacks that are left."""
        stopping = [asyncio.wrap_future(future) for future in self.queue.cancel_all()]
        if stopping:
            await asyncio.wait(stopping, timeout=CLEAN_UP_SECONDS)
        left = self.queue.dispatcher.delivered()
        if left is not None:
            await asyncio.wait([asyncio.wrap_future(left)], timeout=DELIVERY_SECONDS)
        self.queue.dispatcher.close()


def _check_event(event: str) -> None:
    if event != "list-update":
        raise UsageError(f'there is no event {event!r}; there is "list-update"', name="event", value=event)


def size_of(path: str | os.PathLike[str]) -> int:
    """The size of a file before it is opened; 0 where that cannot be told, as the upload itself will say."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 (path may be anything)
    except (OSError, ValueError):
        return 0


def watch_of(options: FileOptions) -> Watch | None:
    """The task's own callbacks, if it has any."""
    on_hash_progress, on_progress = options.get("on_hash_progress"), options.get("on_progress")
    return Watch(on_hash_progress, on_progress) if on_hash_progress or on_progress else None
