"""Pause, restart and cancel at any moment: no task is lost, done twice or hangs, and the object equals the file.

The event loop is stepped by hand and threads are replaced by calls, so that a failure can be repeated.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.limits import MIB
from cosxfer.tasks.states import ACTIVE, may
from cosxfer.threads import Workers
from cosxfer.transport.memory import MemoryTransport
from tests.unit.fake_cos import BUCKET, REGION, SECRET_ID, SECRET_KEY, FakeCos, _operation, error
from tests.unit.files import content_of

T = TypeVar("T")
SIZES = (0, 1000, MIB + 1, 3 * MIB + 5)
OPERATIONS = ("put_object", "multipart_init", "multipart_upload", "multipart_list_part", "multipart_complete")
PARALLEL = 2


class Inline(Workers):
    """An executor that runs the work in the calling thread."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as failure:
            future.set_exception(failure)
        return future


def operation_of(request: HttpRequest) -> str:
    path, _, query = request.target.partition("?")
    return _operation(request.method, path[1:], dict(parse_qsl(query, keep_blank_values=True)))


class Tasks(RuleBasedStateMachine):
    @initialize(slowness=st.lists(st.integers(0, 4), min_size=1, max_size=7))
    def begin(self, slowness: list[int]) -> None:
        self.cos = FakeCos()
        self.directory = tempfile.TemporaryDirectory()
        self.paths = [Path(self.directory.name, str(size)) for size in SIZES]
        for path, size in zip(self.paths, SIZES, strict=True):
            path.write_bytes(content_of(size))
        self.loop = asyncio.new_event_loop()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("cosxfer.threads._SHARED", Inline())
        self.failing: list[str] = []
        requests = 0

        async def handler(request: HttpRequest, body: bytes) -> HttpResponse:
            nonlocal requests
            requests += 1
            early = slowness[requests % len(slowness)]
            for _ in range(early):
                await asyncio.sleep(0)
            operation = operation_of(request)
            if operation in self.failing:
                self.failing.remove(operation)
                return error(403, "AccessDenied")
            response = self.cos(request, body)
            assert isinstance(response, HttpResponse)
            # If the task is cancelled here, the response is lost although the work is done.
            for _ in range(4 - early):
                await asyncio.sleep(0)
            return response

        self.client = cosxfer.AsyncClient(
            region=REGION,
            secret_id=SECRET_ID,
            secret_key=SECRET_KEY,
            transport=MemoryTransport(handler),
            file_parallel_limit=PARALLEL,
        )
        self.client._executor = self.client._transfers._executor = Inline()
        self.queue = self.client._transfers.queue
        self.tasks: list[cosxfer.AsyncUploadTask[cosxfer.UploadResult]] = []
        self.sizes: list[int] = []
        self.kept: set[int] = set()
        self.events: list[cosxfer.TaskEvent] = []
        self.client.on("list-update", self.events.append)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    @rule(which=st.integers(0, len(SIZES) - 1), keep=st.booleans())
    def submit(self, which: int, keep: bool) -> None:
        async def work() -> None:
            self.tasks.append(
                self.client.submit_upload_file(
                    BUCKET,
                    f"k{len(self.tasks)}",
                    self.paths[which],
                    part_size=MIB,
                    async_limit=2,
                    abort_on_failure=not keep,
                )
            )

        self.sizes.append(SIZES[which])
        self.do(work())

    @rule(ticks=st.integers(1, 40))
    def go_on(self, ticks: int) -> None:
        async def work() -> None:
            for _ in range(ticks):
                await asyncio.sleep(0)

        self.do(work())

    @rule(operation=st.sampled_from(OPERATIONS))
    def fail_once(self, operation: str) -> None:
        self.failing.append(operation)

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), wait=st.booleans())
    def pause(self, data: st.DataObject, wait: bool) -> None:
        task = data.draw(st.sampled_from(self.tasks))
        if not wait:
            self.queue.pause(task._record)
        elif self.do(task.pause()):
            assert task.state == "paused"
            assert task._record.quiet

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        self.queue.restart(data.draw(st.sampled_from(self.tasks))._record)

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), abort=st.booleans(), wait=st.booleans())
    def cancel(self, data: st.DataObject, abort: bool, wait: bool) -> None:
        number = data.draw(st.integers(0, len(self.tasks) - 1))
        task = self.tasks[number]
        if task.state not in ("canceled", "success") and not abort:
            self.kept.add(number)
        if not wait:
            self.queue.cancel(task._record, abort=abort)
        elif self.do(task.cancel(abort=abort)):
            assert task._record.ended

    @invariant()
    def no_more_run_than_may(self) -> None:
        if hasattr(self, "tasks"):
            assert sum(task.state in ACTIVE for task in self.tasks) <= PARALLEL
            assert self.queue._runner.running <= PARALLEL

    def teardown(self) -> None:
        if not hasattr(self, "tasks"):
            return
        try:
            self.do(self.finish())
        finally:
            self.loop.run_until_complete(self.client.aclose())
            self.patch.undo()
            self.loop.close()
            self.directory.cleanup()

    async def finish(self) -> None:
        """Restart all tasks; each must end in success, unless it was cancelled."""
        self.failing.clear()
        for number, task in enumerate(self.tasks):
            while task.state != "canceled":
                await task.restart()
                try:
                    result = await task.result()
                except cosxfer.CosxferError:
                    # From a failure that was injected before; there are no new ones.
                    continue
                assert result.verified
                break
            stored = self.cos.objects.get(f"k{number}")
            if task.state == "canceled":
                # The cancel was in time or too late; a partial object is never allowed.
                assert stored is None or stored.content == content_of(self.sizes[number])
                try:
                    await task
                except cosxfer.TaskCanceledError:
                    pass
                else:
                    raise AssertionError("a cancelled task has a result")
            else:
                assert task.state == "success"
                assert stored is not None
                assert stored.content == content_of(self.sizes[number])
        assert [info.task_id for info in self.client.get_task_list()] == [task.task_id for task in self.tasks]
        assert self.queue._runner.running == 0
        left = {upload.key for upload in self.cos.uploads.values()}
        assert left <= {f"k{number}" for number in self.kept}
        told = self.queue.dispatcher.delivered()
        if told is not None:
            await asyncio.wrap_future(told)
        self.check_events()

    def check_events(self) -> None:
        numbers = [event.sequence for event in self.events]
        assert numbers == list(range(1, len(numbers) + 1))
        for task in self.tasks:
            state = None
            for event in (event for event in self.events if event.task.task_id == task.task_id):
                if event.change == "added":
                    assert state is None
                elif event.change == "state":
                    assert event.previous == state
                    assert may(event.previous, event.task.state)
                else:
                    assert event.task.state == state
                state = event.task.state
            assert state == task.state


TestTasks = Tasks.TestCase
TestTasks.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
