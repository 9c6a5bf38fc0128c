"""Very many tasks: all end, in order, with bounded memory and complete events."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
import zlib
from collections import deque
from pathlib import Path

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.limits import KIB
from cosxfer.transport.memory import MemoryTransport
from tests.unit.fake_cos import BUCKET, REGION, SECRET_ID, SECRET_KEY
from tests.unit.files import write
from tests.unit.tasks.slots import STEPS, Slots


@pytest.mark.parametrize(
    ("count", "slots"), [(1_000, 3), *(pytest.param(10_000, slots, marks=pytest.mark.deep) for slots in (1, 3, 16))]
)
def test_thousands_of_files_queued_at_once_all_end_in_the_order_of_their_slots(
    tmp_path: Path, count: int, slots: int
) -> None:
    path = write(tmp_path / "f", 4 * KIB)
    etag = f'"{hashlib.md5(path.read_bytes()).hexdigest()}"'
    stored: list[str] = []

    seen = Slots(slots)
    keys = [f"{number:05}" for number in range(count)]

    async def store(request: HttpRequest, body: bytes) -> HttpResponse:
        # Some take longer. Each hundredth waits for the next to end, so that it is certainly overtaken.
        for _ in range(zlib.crc32(request.target.encode()) % 5):
            await asyncio.sleep(0)
        number = int(request.target[1:])
        if slots > 1 and number % 100 == 0:
            while seen.steps[keys[number + 1]] != STEPS:  # noqa: ASYNC110  (the listener runs on another thread)
                await asyncio.sleep(0.001)
        stored.append(request.target)
        return HttpResponse(status=200, headers={"etag": etag})

    with cosxfer.Client(
        region=REGION,
        secret_id=SECRET_ID,
        secret_key=SECRET_KEY,
        transport=MemoryTransport(store),
        max_finished_tasks=count,
        file_parallel_limit=slots,
        # A fixed number, because the tuner may decide for one request at a time.
        concurrency=slots,
    ) as client:
        client.on("list-update", seen)
        batch = client.submit_upload_files([{"bucket": BUCKET, "key": key, "path": path} for key in keys])
        results = batch.result()
        infos = client.get_task_list()
    seen.check(keys)
    assert all(seen.on_slot)
    assert (seen.ended != keys) == (slots > 1)
    assert [result.options["key"] for result in results] == keys
    assert all(result.result is not None and result.result.verified for result in results)
    assert [(info.key, info.state, info.loaded) for info in infos] == [(key, "success", 4 * KIB) for key in keys]
    assert sorted(stored) == [f"/{key}" for key in keys]


@pytest.mark.deep
def test_a_directory_of_many_files_takes_a_few_kilobytes_for_each(tmp_path: Path) -> None:
    count = 2000
    for number in range(count):
        (tmp_path / f"some-file-{number:05}.bin").write_bytes(b"x")
    headers = {"etag": f'"{hashlib.md5(b"x").hexdigest()}"', "x-cos-request-id": "NjU0MzIxX2FiY2RlZg=="}
    transport = MemoryTransport(lambda request, body: HttpResponse(status=200, headers=dict(headers)))
    with cosxfer.Client(region=REGION, secret_id=SECRET_ID, secret_key=SECRET_KEY, transport=transport) as client:
        client.put_object(BUCKET, "k", b"x")
        # Do not keep the requests, which would take most of the memory.
        transport.requests = deque(maxlen=1)  # type: ignore[assignment]
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            results = client.upload_directory(BUCKET, "tree", tmp_path)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert [result.error for result in results] == [None] * count
    assert (peak - before) / count < 4000


@pytest.mark.deep
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
        file_parallel_limit=3,
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
    # The rest runs without measuring, which is slow.
    for number in range(count // 10, count):
        client.submit_upload_file(BUCKET, f"{number:06}", path)
    infos = client.get_task_list()
    assert len(infos) == count + 1
    # Only running tasks have asyncio tasks; waiting ones have none.
    loop = client._loop.started()

    async def alive() -> int:
        return len(asyncio.all_tasks())

    assert asyncio.run_coroutine_threadsafe(alive(), loop).result(30) < 20
    # Any task in the middle can be paused, restarted and cancelled.
    middle = infos[count // 2].task_id
    assert client.pause_task(middle)
    assert client.restart_task(middle)
    assert client.cancel_task(middle)
    client.close()
    assert len(client._client._transfers.queue._board.table) == 1000
