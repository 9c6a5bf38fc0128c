"""Runs a task at once, in the asyncio task of its caller. It is in the list like other tasks, but needs no slot.

Pausing or cancelling it cancels the caller's asyncio task, as `asyncio.timeout` does. The cancellation is undone here.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from cosxfer.tasks.leftovers import CLEAN_UP_SECONDS
from cosxfer.tasks.queue import TaskQueue
from cosxfer.tasks.record import TaskRecord
from cosxfer.tasks.task import AsyncUploadTask, delivered

R = TypeVar("R")


async def run_at_once(queue: TaskQueue, record: TaskRecord[R], *, keep: bool) -> R:
    """Run the task and return its result. Raises its error, or `TaskCanceledError` if it is cancelled.

    If it is paused, this waits until it is restarted, which puts it into the queue. ``keep`` says whether it can be
    restarted after an error.
    """
    caller = asyncio.current_task()
    assert caller is not None
    before = caller.cancelling()
    job = queue.begin(record, caller)
    if job is None:
        return await AsyncUploadTask(queue, record)._finish()
    on_hash_progress, on_progress = queue.reports(record)
    try:
        result = await job.run(on_hash_progress=on_hash_progress, on_progress=on_progress)
    except asyncio.CancelledError:
        if _take_back(record, caller) > before or not record.cut:
            queue.given_up(record)
            await _cleaned_up(queue, record)
            raise
        queue.cut_off(record)
    except BaseException as error:
        _take_back(record, caller)
        if queue.failed(record, error, keep=keep):
            await delivered(queue, record)
            raise
    else:
        _take_back(record, caller)
        if queue.done(record, result):
            if record.watch is not None:
                await delivered(queue, record)
            return result
    return await AsyncUploadTask(queue, record)._finish()


async def _cleaned_up(queue: TaskQueue, record: TaskRecord[Any]) -> None:
    """Wait until the parts of a cancelled stream are deleted, before the caller continues."""
    stopped = queue.stopped(record)
    if stopped is not None:
        await asyncio.wait([asyncio.wrap_future(stopped)], timeout=CLEAN_UP_SECONDS)


def _take_back(record: TaskRecord[Any], caller: asyncio.Task[Any]) -> int:
    """Undo the queue's own cancellation of ``caller``, if there was one. Returns the number of other cancellations."""
    return caller.uncancel() if record.cut else caller.cancelling()
