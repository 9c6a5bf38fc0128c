"""pytest-benchmark over the list of tasks, the limiter, and files on their whole way through the client.

The transport responds at once. Asserts nothing about time.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.engine.limiter import Limiter
from cosxfer.tasks.record import TaskRecord
from cosxfer.tasks.table import TaskTable
from cosxfer.transport.memory import MemoryTransport

BUCKET = "examplebucket-1250000000"
TASKS = 1000
FILES = 200


def record(table: TaskTable) -> TaskRecord[object]:
    number = table.next_number()
    return TaskRecord(
        None,
        number=number,
        task_id=f"t{number}",
        place=(BUCKET, "folder/object", None),
        path="/folder/object",
        total=16 << 10,
        watch=None,
        on_report=None,
        on_end=None,
    )


def test_1000_tasks_wait_run_and_leave_the_list(benchmark: BenchmarkFixture) -> None:
    def once() -> int:
        table = TaskTable(keep=100)
        for _ in range(TASKS):
            task = record(table)
            table.add(task)
            table.enqueue(task)
        left = 0
        while (task := table.next_waiting()) is not None:
            left += len(table.finished(task))
        return left

    assert benchmark(once) == TASKS - 100


class _Waiter:
    def done(self) -> bool:
        return False

    def set_result(self, result: None, /) -> None:
        pass


def test_1000_requests_get_slots(benchmark: BenchmarkFixture) -> None:
    def once() -> int:
        limiter = Limiter(tasks=8, slots=16, max_bytes=256 << 20)
        waiter = _Waiter()
        for _ in range(TASKS):
            limiter.single.queue(16 << 10, waiter)
        for _ in range(TASKS):
            limiter.single.release(16 << 10)
        return limiter.single.in_flight

    assert benchmark(once) == 0


def test_200_files_through_the_client(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(16 << 10))
    headers = {"etag": f'"{hashlib.md5(path.read_bytes()).hexdigest()}"'}

    def respond(request: HttpRequest, body: bytes) -> HttpResponse:
        return HttpResponse(status=200, headers=headers)

    transport = MemoryTransport(respond)
    with cosxfer.Client(
        region="ap-guangzhou",
        secret_id="id",
        secret_key="key",
        transport=transport,
        concurrency=16,
        file_parallel_limit=16,
        journal=None,
    ) as client:
        files = [{"bucket": BUCKET, "key": f"folder/object-{number}", "path": path} for number in range(FILES)]

        def once() -> int:
            transport.requests.clear()
            return sum(found.error is None for found in client.upload_files(files))

        assert benchmark(once) == FILES
