"""Very many tasks: all end, in order, in bounded memory, with complete events."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from collections import defaultdict
from pathlib import Path

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.limits import KIB
from cosxfer.tasks.states import may
from cosxfer.transport.memory import MemoryTransport
from tests.unit.fake_cos import BUCKET, REGION, SECRET_ID, SECRET_KEY
from tests.unit.files import write

STEPS = ["added", "checking", "uploading", "success"]


def test_ten_thousand_files_queued_at_once_all_end_in_order_with_complete_events(tmp_path: Path) -> None:
    count = 10_000
    path = write(tmp_path / "f", 4 * KIB)
    etag = f'"{hashlib.md5(path.read_bytes()).hexdigest()}"'
    stored: list[str] = []

    def store(request: HttpRequest, body: bytes) -> HttpResponse:
        stored.append(request.target)
        return HttpResponse(status=200, headers={"etag": etag})

    started: list[str] = []
    seen: defaultdict[str, list[str]] = defaultdict(list)
    sequence = 0

    def listen(event: cosxfer.TaskEvent) -> None:
        nonlocal sequence
        assert event.sequence == sequence + 1
        sequence = event.sequence
        steps = seen[event.task.task_id]
        if event.change == "added":
            steps.append("added")
        elif event.change == "state":
            assert event.previous is not None
            assert may(event.previous, event.task.state)
            steps.append(event.task.state)
            if event.task.state == "checking":
                started.append(event.task.key)

    with cosxfer.Client(
        region=REGION,
        secret_id=SECRET_ID,
        secret_key=SECRET_KEY,
        transport=MemoryTransport(store),
        max_finished_tasks=count,
    ) as client:
        client.on("list-update", listen)
        files: list[cosxfer.FileUpload] = [
            {"bucket": BUCKET, "key": f"{number:05}", "path": path} for number in range(count)
        ]
        batch = client.submit_upload_files(files)
        results = batch.result()
        ids = [info.task_id for info in client.get_task_list()]
    assert [result.options["key"] for result in results] == [file["key"] for file in files]
    assert all(result.result is not None and result.result.verified for result in results)
    assert sorted(stored) == [f"/{file['key']}" for file in files]
    assert started == [file["key"] for file in files]
    assert ids == [task.task_id for task in batch.tasks]
    assert all(seen[task_id] == STEPS for task_id in ids)
    assert len(seen) == count


def test_a_hundred_thousand_tasks_wait_in_bounded_memory(tmp_path: Path) -> None:
    count = 100_000
    path = write(tmp_path / "f", 4 * KIB)

    async def never(request: HttpRequest, body: bytes) -> HttpResponse:
        await asyncio.Event().wait()
        raise AssertionError

    client = cosxfer.Client(
        region=REGION,
        secret_id=SECRET_ID,
        secret_key=SECRET_KEY,
        transport=MemoryTransport(never),
        max_finished_tasks=1000,
    )
    client.submit_upload_file(BUCKET, "first", path)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(count // 10):
            client.submit_upload_file(BUCKET, f"{number:06}", path)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / (count // 10) < 1500
    # The rest without being measured, which costs most of the time.
    for number in range(count // 10, count):
        client.submit_upload_file(BUCKET, f"{number:06}", path)
    infos = client.get_task_list()
    assert len(infos) == count + 1
    # Those under way have their asyncio tasks; those that wait have none.
    loop = client._loop.started()

    async def alive() -> int:
        return len(asyncio.all_tasks())

    assert asyncio.run_coroutine_threadsafe(alive(), loop).result(30) < 20
    # In the middle, one can be paused, restarted and cancelled like any other.
    middle = infos[count // 2].task_id
    assert client.pause_task(middle)
    assert client.restart_task(middle)
    assert client.cancel_task(middle)
    client.close()
    assert len(client._client._uploads.queue._table) == 1000
