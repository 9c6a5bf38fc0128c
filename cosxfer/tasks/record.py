"""What is known of one task. Kept small: a queue may hold a hundred thousand of them."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from cosxfer.address import ObjectAddress
from cosxfer.errors import CosxferError, TaskCanceledError
from cosxfer.models import Progress, TaskInfo
from cosxfer.states import TaskState
from cosxfer.tasks.states import ENDED

if TYPE_CHECKING:
    from cosxfer.tasks.dispatcher import Delivery

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Report = Callable[[Progress], None]


class Job(Protocol[R_co]):
    """The work of a task. It may be cancelled and run again, and goes on from what it has done."""

    @property
    def abort_on_failure(self) -> bool:
        """Whether nothing of it is to stay on the server when it is given up."""
        ...

    @property
    def holds_parts(self) -> bool:
        """Whether a failed run leaves its parts on the server, to be deleted when it cannot be restarted any more."""
        ...

    @property
    def repeatable(self) -> bool:
        """Whether it can be run again at all: not where its body can be read only once."""
        ...

    @property
    def upload_id(self) -> str:
        """The multipart upload that it has on the server, or empty."""
        ...

    @property
    def loaded(self) -> int:
        """The bytes that the server has and that a further run will not send again."""
        ...

    def demand(self, total: int) -> int:
        """Return how many requests at a time it can use if it sends ``total`` bytes."""
        ...

    async def run(self, *, on_hash_progress: Report | None, on_progress: Report | None) -> R_co:
        """Do it. The first call of ``on_progress`` says that sending begins. Cancelling keeps what is on the server."""
        ...

    async def abort(self) -> tuple[bool, str]:
        """Delete what is on the server; returns whether it is gone, and a sentence about it. Takes 15 s at most."""
        ...


class BodyJob(Job[R_co], Protocol[R_co]):
    """The sending of one body or stream."""

    address: ObjectAddress
    path: str
    """The file, or empty for a body that is none."""
    size: int
    """Bytes of a body in memory, else 0."""


class Watch:
    """A task's own callbacks, and the last report to each that may still be replaced by a newer one."""

    __slots__ = ("hashed", "on_hash_progress", "on_progress", "sent")

    def __init__(self, on_hash_progress: Report | None, on_progress: Report | None) -> None:
        self.on_hash_progress = on_hash_progress
        self.on_progress = on_progress
        self.hashed: Delivery | None = None
        self.sent: Delivery | None = None


class TaskRecord(Generic[R]):
    """One task. Its fields are the queue's, under the queue's lock; others read them."""

    __slots__ = (
        "__weakref__",
        "aborted",
        "address",
        "asked_to_abort",
        "cleaning",
        "cut",
        "demand",
        "error",
        "event",
        "hash_loaded",
        "held",
        "interrupted",
        "job",
        "left",
        "loaded",
        "number",
        "on_end",
        "on_report",
        "path",
        "queued",
        "raised",
        "result",
        "speed",
        "state",
        "task_id",
        "total",
        "trace",
        "upload_id",
        "waiters",
        "watch",
        "work",
    )

    def __init__(
        self,
        job: Job[R],
        *,
        number: int,
        task_id: str,
        address: ObjectAddress,
        path: str,
        total: int,
        watch: Watch | None,
        on_report: Callable[[int, int], None] | None,
        on_end: Callable[[TaskRecord[R]], None] | None,
    ) -> None:
        self.demand = 1
        self.number = number
        self.task_id = task_id
        self.job: Job[R] | None = job
        self.address = address
        self.path = path
        self.state: TaskState = "waiting"
        self.loaded = 0
        self.total = total
        self.speed = 0.0
        self.hash_loaded = 0
        self.result: R | None = None
        self.error: Exception | None = None
        self.trace: TracebackType | None = None
        """Where the error came from, without the callers to whom it was raised."""
        self.raised: weakref.ref[Exception] | None = None
        """The copy of the error that a caller may still hold."""
        self.watch = watch
        self.on_report = on_report
        """Gets by how many bytes ``loaded`` and ``total`` have changed."""
        self.on_end = on_end
        """Called when the task has an outcome, each time."""
        self.held = True
        """Not to be started yet: its id is just being announced."""
        self.queued = False
        """It has an entry in the queue of waiting ones."""
        self.work: asyncio.Task[Any] | None = None
        """What runs for it on the loop, also while it is winding down."""
        self.interrupted = False
        """``work`` is to be cancelled by the queue, which knows why."""
        self.cut = False
        """``work`` has been cancelled by the queue."""
        self.cleaning = False
        """Its parts are being deleted from the server; ``work`` does it."""
        self.asked_to_abort = False
        self.aborted = True
        self.left = ""
        """What is left on the server of a cancelled task, as a sentence, where its parts were to be deleted."""
        self.upload_id = ""
        self.waiters: list[tuple[bool, Future[None]]] | None = None
        """Who waits for the outcome (True), or for the work to have stopped (False)."""
        self.event: Delivery | None = None
        """The last event of progress, if nothing else was told of this task since."""

    @property
    def quiet(self) -> bool:
        """Whether nothing runs for it."""
        return self.work is None and not self.cleaning

    @property
    def ended(self) -> bool:
        """Whether there is an outcome, with everything cleaned up."""
        return self.state in ENDED and self.quiet

    def outcome(self) -> R:
        """The result of a task that has ended; raises its error."""
        if self.state == "success":
            return self.result  # type: ignore[return-value]  # set before the state
        if self.state == "error":
            assert self.error is not None
            error = self.shown_error()
            if error is self.error:
                error = copied(error)
                self.was_raised(error)
            assert error is not None
            raise error.with_traceback(self.trace)
        if self.state == "canceled":
            raise self.canceled() from self.error
        raise CosxferError(f"task {self.task_id} has not ended: it is {self.state}")

    def shown_error(self) -> Exception | None:
        """The error, as the very object that a caller was raised if that still holds it."""
        raised = None if self.raised is None else self.raised()
        return self.error if self.error is None or raised is None else raised

    def was_raised(self, error: Exception) -> None:
        """``error``, a copy of the task's own, is on its way to a caller."""
        with suppress(TypeError):  # of a class without weak references
            self.raised = weakref.ref(error)

    def canceled(self) -> TaskCanceledError:
        """The error of a task that was cancelled."""
        left = self.left or f"The multipart upload {self.upload_id} was kept on the server"
        if not self.upload_id:
            left = "Nothing was left on the server"
        why = "" if self.error is None else f" because {self.error}"
        return TaskCanceledError(
            f"{self.what} was cancelled{why}. {left}",
            task_id=self.task_id,
            upload_id=self.upload_id,
            aborted=self.aborted,
        )

    @property
    def what(self) -> str:
        """What it is, for messages."""
        return f"the transfer of {self.path or 'a body'} to {self.address}"

    def info(self) -> TaskInfo:
        """The task as it is now."""
        done = 1.0 if self.state == "success" else 0.0
        job = self.job
        left = "" if self.aborted else self.upload_id
        return TaskInfo(
            task_id=self.task_id,
            bucket=self.address.bucket,
            key=self.address.shown_key,
            path=self.path,
            region=self.address.region or "",
            state=self.state,
            loaded=self.loaded,
            total=self.total,
            speed=self.speed,
            percent=self.loaded / self.total if self.total else done,
            hash_percent=self.hash_loaded / self.total if self.total else done,
            error=self.shown_error(),
            upload_id=left if job is None else job.upload_id,
        )


def copied(error: Exception) -> Exception:
    """The error, to be raised to a caller.

    What is raised holds the frames of those whom it passes, and with them the client, which nobody could collect as
    long as the task is in its list.
    """
    try:
        raised = copy(error)
    except Exception:
        return error  # of a class of its own that cannot be copied
    raised.__cause__, raised.__context__ = error.__cause__, error.__context__
    raised.__suppress_context__ = error.__suppress_context__
    vars(raised).update(vars(error))
    if notes := getattr(error, "__notes__", None):
        raised.__notes__ = list(notes)
    return raised if type(raised) is type(error) and raised.args == error.args else error
