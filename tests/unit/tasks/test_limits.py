"""The limiter of a client decides how many tasks run, and how many of their parts are in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.limits import MIB
from tests.unit.fake_cos import BUCKET, FakeCos
from tests.unit.files import write

PARTS = 6


class Held:
    """Blocks and counts the parts."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0
        self.go_on = asyncio.Event()

    async def __call__(self, request: HttpRequest, proceed: Callable[[], HttpResponse]) -> HttpResponse:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.go_on.wait()
        self.now -= 1
        return proceed()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 # there is nothing to wait for
            await asyncio.sleep(0.001)


def submit(client: cosxfer.AsyncClient, path: Path, count: int) -> list[cosxfer.AsyncUploadTask[cosxfer.UploadResult]]:
    return [client.submit_upload_file(BUCKET, f"k{number}", path, part_size=MIB) for number in range(count)]


def test_more_tasks_start_when_the_limiter_allows_more(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "f", PARTS * MIB)

    async def main() -> None:
        held = Held()
        cos.fault("multipart_upload", held, times=99)  # type: ignore[arg-type]
        async with cos.client(concurrency=2, file_parallel_limit=1) as client:
            limiter = client._transfers.limiter
            tasks = submit(client, path, 3)
            await until(lambda: held.now == 2)
            assert [task.state for task in tasks].count("waiting") == 2
            limiter.resize(tasks=3)
            await until(lambda: [task.state for task in tasks].count("waiting") == 0)
            assert held.now == 2, "there are no more slots for parts"
            limiter.resize(slots=6)
            await until(lambda: held.now == 6)
            held.go_on.set()
            for task in tasks:
                await task.result()
            assert (limiter.in_flight, limiter.bytes_in_flight) == (0, 0)

    asyncio.run(main())


def test_a_call_with_a_larger_async_limit_has_as_many_parts_in_flight(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "f", PARTS * MIB)

    async def main() -> None:
        held = Held()
        cos.fault("multipart_upload", held, times=99)  # type: ignore[arg-type]
        async with cos.client(concurrency=1, file_parallel_limit=1) as client:
            task = client.submit_upload_file(BUCKET, "k", path, part_size=MIB, async_limit=PARTS)
            await until(lambda: held.now == PARTS)
            held.go_on.set()
            await task.result()
            assert client._transfers.limiter.slots == 1

    asyncio.run(main())


def test_no_more_bytes_are_in_flight_than_the_limiter_allows(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "f", PARTS * MIB)

    async def main() -> None:
        held = Held()
        held.go_on.set()
        cos.fault("multipart_upload", held, times=99)  # type: ignore[arg-type]
        async with cos.client(concurrency=4, file_parallel_limit=2) as client:
            client._transfers.limiter.resize(max_bytes=2 * MIB)
            for task in submit(client, path, 2):
                await task.result()
        assert held.most <= 2

    asyncio.run(main())
