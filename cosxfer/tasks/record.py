"""The data of one task. It is small, because a queue may hold a hundred thousand tasks."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from cosxfer.address import ObjectAddress
from cosxfer.engine.shortcut import ShortEnd, ShortProgress
from cosxfer.engine.upload.short_result import full
from cosxfer.errors import CosxferError, TaskCanceledError
from cosxfer.models import Progress, TaskInfo
from cosxfer.states import TaskState
from cosxfer.tasks.states import ENDED

if TYPE_CHECKING:
    from cosxfer.tasks.dispatcher import Delivery

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Report = Callable[[Progress], None]
Place = tuple[str, str, str | None]
"""Bucket, key and region of an object, as `ObjectAddress` has them."""


class Job(Protocol[R_co]):
    """The work of a task. It may be cancelled and run again; the next run resumes where the last one stopped."""

    @property
    def abort_on_failure(self) -> bool:
        """Whether its parts on the server are deleted when it fails for good or is abandoned."""
        ...

    @property
    def holds_parts(self) -> bool:
        """Whether a failed run leaves parts on the server that must be deleted when it can no longer be restarted."""
        ...

    @property
    def kept(self) -> str:
        """A sentence about the parts that it leaves on the server if they are not deleted; empty if it has none."""
        ...

    @property
    def must_leave(self) -> bool:
        """Whether `leave` has to be called if it is given up and not aborted."""
        ...

    @property
    def repeatable(self) -> bool:
        """Whether it can be run again. False if its body can be read only once."""
        ...

    @property
    def upload_id(self) -> str:
        """The ID of its multipart upload on the server; empty if there is none."""
        ...

    @property
    def loaded(self) -> int:
        """Bytes that the server has, which the next run does not send again."""
        ...

    def demand(self, total: int) -> int:
        """Return how many requests at a time it can use if it sends ``total`` bytes."""
        ...

    async def run(self, *, on_hash_progress: Report | None, on_progress: Report | None) -> R_co:
        """Do the work. The first call of ``on_progress`` means that sending begins. Cancelling keeps the parts."""
        ...

    async def abort(self) -> tuple[bool, str]:
        """Delete the parts on the server. Returns whether they are gone, and a sentence about it, within 15 s."""
        ...

    async def leave(self) -> tuple[bool, str]:
        """Close what it has open, and keep it for a later call. Returns as `abort` does."""
        ...


class Work(Protocol):
    """What runs for a task."""

    def cancel(self) -> object:
        """End it at once. It says itself when it has ended."""
        ...


class Shortcut(Work, Protocol):
    """A way of doing a job without an asyncio task, that not every job has (its method ``shortcut``)."""

    def start(self, record: Any, on_progress: ShortProgress, then: ShortEnd) -> None:
        """Begin, on the event loop. ``then`` gets ``record`` and the result; or a `Rest`, which ``run`` of the job goes
        on with; or None if it was cancelled."""
        ...


class BodyJob(Job[R_co], Protocol[R_co]):
    """The job that sends one body or stream."""

    address: ObjectAddress
    path: str
    """The path of the file; empty for other bodies."""
    size: int
    """Bytes of a body in memory; 0 for other bodies."""


class Watch:
    """A task's own callbacks, and for each the last report, which a newer one may still replace."""

    __slots__ = ("hashed", "on_hash_progress", "on_progress", "sent")

    def __init__(self, on_hash_progress: Report | None, on_progress: Report | None) -> None:
        self.on_hash_progress = on_hash_progress
        self.on_progress = on_progress
        self.hashed: Delivery | None = None
        self.sent: Delivery | None = None


class TaskRecord(Generic[R]):
    """One task. Only the queue changes its fields, under the queue's lock; others read them."""

    __slots__ = (
        "__weakref__",
        "_bucket",
        "_key",
        "_region",
        "aborted",
        "asked_to_abort",
        "cleaning",
        "cut",
        "demand",
        "download",
        "error",
        "event",
        "hash_loaded",
        "held",
        "index",
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
        job: Job[R] | None,
        *,
        number: int,
        task_id: str,
        place: Place,
        path: str,
        total: int,
        watch: Watch | None,
        on_report: Callable[[int, int], None] | None,
        on_end: Callable[[TaskRecord[R]], None] | None,
        download: bool = False,
        index: int = 0,
    ) -> None:
        """``job`` is None for a task that is done. ``index`` is that of the file in its batch."""
        self.index = index
        self.download = download
        """Whether it brings an object here. What it may leave is then a temporary file, whose path is its ID."""
        self.demand = 1
        self.number = number
        self.task_id = task_id
        self.job: Job[R] | None = job
        # Each object that the garbage collector knows costs time, and a list may have ten thousand tasks.
        self._bucket, self._key, self._region = place
        self.path = path
        self.state: TaskState = "waiting"
        self.loaded = 0
        self.total = total
        self.speed = 0.0
        self.hash_loaded = 0
        self.result: R | None = None
        self.error: Exception | None = None
        self.trace: TracebackType | None = None
        """The traceback of the error, without the frames of callers to which it was raised."""
        self.raised: weakref.ref[Exception] | None = None
        """The copy of the error that a caller may still hold."""
        self.watch = watch
        self.on_report = on_report
        """Called with the changes of ``loaded`` and ``total`` in bytes."""
        self.on_end = on_end
        """Called each time that the task has an outcome."""
        self.held = True
        """The task must not start yet, because its ID is still being announced."""
        self.queued = False
        """The task has an entry in the queue of waiting tasks."""
        self.work: Work | None = None
        """What runs for it on the loop, also while that stops: an asyncio task, or a shortcut."""
        self.interrupted = False
        """The queue is about to cancel ``work``."""
        self.cut = False
        """The queue has cancelled ``work``."""
        self.cleaning = False
        """``work`` is deleting its parts from the server."""
        self.asked_to_abort = False
        self.aborted = True
        self.left = ""
        """A sentence about the parts of a cancelled task."""
        self.upload_id = ""
        self.waiters: list[tuple[bool, Future[None]]] | None = None
        """Futures that wait for the outcome (True), or until the work has stopped (False)."""
        self.event: Delivery | None = None
        """The last progress event, if no other event of this task followed."""

    @property
    def address(self) -> ObjectAddress:
        """The object."""
        return ObjectAddress(self._bucket, self._key, self._region)

    @property
    def quiet(self) -> bool:
        """Whether nothing runs for the task."""
        return self.work is None and not self.cleaning

    @property
    def ended(self) -> bool:
        """Whether the task has an outcome and everything is cleaned up."""
        return self.state in ENDED and self.quiet

    def outcome(self) -> R:
        """Return the result of a task that has ended, or raise its error."""
        if self.state == "success":
            self.result = full(self.result)  # it was set before the state
            return cast(R, self.result)
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
        raise CosxferError(f"task {self.task_id} has not ended: it is {self.shown_state}")

    def shown_error(self) -> Exception | None:
        """Return the error: the same object that was raised to a caller, if that still exists."""
        raised = None if self.raised is None else self.raised()
        return self.error if self.error is None or raised is None else raised

    def was_raised(self, error: Exception) -> None:
        """Remember ``error``, a copy of the task's own, which is about to be raised to a caller."""
        with suppress(TypeError):  # its class has no weak references
            self.raised = weakref.ref(error)

    def canceled(self) -> TaskCanceledError:
        """Return the error of a cancelled task."""
        left = self.left or self.kept
        if not self.upload_id:
            # The file may have got its name in the moment of the cancel.
            left = "No temporary file was left" if self.download else "Nothing was left on the server"
        why = "" if self.error is None else f" because {self.error}"
        return TaskCanceledError(
            f"{self.what} was cancelled{why}. {left}",
            task_id=self.task_id,
            upload_id=self.upload_id,
            aborted=self.aborted,
        )

    @property
    def shown_state(self) -> str:
        """The state for messages. The name of the SDKs for a running transfer is that of an upload."""
        return "downloading" if self.download and self.state == "uploading" else self.state

    @property
    def what(self) -> str:
        """A description of the task for messages."""
        if self.download:
            return f"the download of {self.address} to {self.path}"
        return f"the transfer of {self.path or 'a body'} to {self.address}"

    @property
    def kept(self) -> str:
        """A sentence for messages: what a cancelled task has left behind."""
        if self.download:
            return f"The temporary file {self.upload_id} was kept"
        return f"The multipart upload {self.upload_id} was kept on the server"

    def info(self) -> TaskInfo:
        """Return a snapshot of the task."""
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
            direction="download" if self.download else "upload",
        )


def copied(error: Exception) -> Exception:
    """Return a copy of the error, to be raised to a caller.

    A raised exception keeps the frames that it passed, and with them the client. If the task kept that exception, the
    client could not be garbage-collected while the task is in its list.
    """
    try:
        raised = copy(error)
    except Exception:
        return error  # a user's class that cannot be copied
    raised.__cause__, raised.__context__ = error.__cause__, error.__context__
    raised.__suppress_context__ = error.__suppress_context__
    vars(raised).update(vars(error))
    if notes := getattr(error, "__notes__", None):
        raised.__notes__ = list(notes)
    return raised if type(raised) is type(error) and raised.args == error.args else error
