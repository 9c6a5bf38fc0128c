"""The jobs of files that wait: each is made when it is needed, so that a file that waits costs little."""

from __future__ import annotations

from typing import Generic, TypeVar

from cosxfer.tasks.record import Job, Report, Shortcut, TaskRecord

R = TypeVar("R")


class LaterJobs(Generic[R]):
    """Stands for the jobs of many tasks that have not begun. One object is the ``job`` of all their records.

    A subclass says how to make them.
    """

    abort_on_failure = True
    holds_parts = False
    must_leave = False
    kept = ""
    loaded = 0
    repeatable = True
    upload_id = ""

    def job_of(self, record: TaskRecord[R]) -> Job[R]:
        """Make the job of a task."""
        raise NotImplementedError

    def shortcut_of(self, record: TaskRecord[R]) -> Shortcut | None:
        """Return the shortcut of that job; None if it has none."""
        raise NotImplementedError

    def demand(self, total: int) -> int:
        """Return how many requests at a time a job can use if it sends ``total`` bytes."""
        raise NotImplementedError

    async def run(self, *, on_hash_progress: Report | None, on_progress: Report | None) -> R:
        """It is not run: the runner makes the job of a task before that."""
        raise NotImplementedError

    async def leave(self) -> tuple[bool, str]:
        """Nothing is open."""
        return True, ""

    async def abort(self) -> tuple[bool, str]:
        """Nothing is on the server."""
        return True, "nothing was left on the server"


def made(record: TaskRecord[R]) -> Job[R] | None:
    """Return the job of a task, which is made if it is to be made later."""
    job = record.job
    return job.job_of(record) if isinstance(job, LaterJobs) else job
