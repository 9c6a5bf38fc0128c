"""Puts the files of one call into the queue."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import PurePath
from typing import Protocol

from cosxfer.address import ObjectAddress
from cosxfer.cos.identifiers import check_key
from cosxfer.engine.upload.options import FileUpload
from cosxfer.errors import UsageError
from cosxfer.models import UploadResult
from cosxfer.tasks.batch import BatchRecord
from cosxfer.tasks.later import LaterJobs
from cosxfer.tasks.queue import TaskQueue
from cosxfer.tasks.record import Place, TaskRecord

SUBMITTED_AT_ONCE = 100
"""Files that are put into the queue before an event loop has another turn."""

Record = TaskRecord[UploadResult]


class Submit(Protocol):
    """Puts one file into the queue. ``problem`` is why it cannot be sent."""

    def __call__(
        self,
        file: FileUpload,
        *,
        size: int,
        problem: Exception | None,
        batch: int,
        on_report: Callable[[int, int], None] | None,
        on_end: Callable[[Record], None],
        index: int,
    ) -> Record: ...


def submit_some(
    batch: BatchRecord,
    queue: TaskQueue,
    *,
    keep: int,
    jobs: LaterJobs[UploadResult],
    check: Callable[[str], object],
    submit: Submit,
) -> bool:
    """Put the next of the files into the queue; returns whether there are more.

    The list of tasks keeps ``keep`` tasks that have ended. ``jobs`` are those of files with bucket, key and path alone.
    ``check`` raises if the client cannot send to a bucket. ``submit`` puts any file in.
    """
    if not batch.submitted:
        batch.begin()
    if queue.listened:
        keep = len(batch.files)
    last = min(batch.submitted + SUBMITTED_AT_ONCE, len(batch.files))
    done, on_end = batch.unfinished.done, batch.task_ended
    while batch.submitted < last:
        first = batch.submitted
        if done and (passed := batch.end_of_done(first, keep=keep)) > first:
            queue.pass_over(partial(batch.pass_over, first, passed))
            continue
        if first in done:
            records = [_submit_done(batch, queue, first)]
        elif not (records := _submit_plain(batch, queue, first, last, jobs, check)):
            records = [
                submit(
                    batch.files[first],
                    size=batch.sizes[first],
                    problem=batch.problems.get(first),
                    batch=batch.unfinished.number,
                    on_report=batch.on_report,
                    on_end=on_end,
                    index=first,
                )
            ]
        batch.records += records
        batch.submitted += len(records)
    return batch.submitted < len(batch.files)


def _submit_plain(
    batch: BatchRecord,
    queue: TaskQueue,
    first: int,
    last: int,
    jobs: LaterJobs[UploadResult],
    check: Callable[[str], object],
) -> list[Record]:
    """Put in the files from ``first`` on, up to one that is refused, or has more than bucket, key and path."""
    files, sizes, done, problems = batch.files, batch.sizes, batch.unfinished.done, batch.problems
    plain: list[tuple[Place, str, int]] = []
    checked = ""
    for index in range(first, last):
        entry = files[index]
        if len(entry) > 3 or index in done or index in problems or type(path := _text(entry["path"])) is not str:
            break
        bucket = entry["bucket"]
        try:
            key = check_key(entry["key"])
            if bucket != checked:
                check(bucket)
                checked = bucket
        except UsageError:
            break
        plain.append(((bucket, key, None), path, sizes[index]))
    if not plain:
        return []
    return queue.submit_each(jobs, plain, on_report=batch.on_report, on_end=batch.task_ended, first=first)


def _text(path: object) -> object:
    """Return the text of a path that is one of `pathlib`."""
    return str(path) if isinstance(path, PurePath) else path


def _submit_done(batch: BatchRecord, queue: TaskQueue, index: int) -> Record:
    """Put in a file that an interrupted run has sent."""
    assert batch.unfinished.files is not None
    result = batch.unfinished.files.result(index)
    entry = batch.files[index]
    return queue.submit_done(
        result,
        address=ObjectAddress(result.bucket, result.key.removeprefix("/"), entry.get("region")),
        path=str(entry["path"]),
        total=batch.sizes[index],
        on_report=batch.on_report,
        on_end=batch.task_ended,
        index=index,
    )
