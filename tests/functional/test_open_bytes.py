"""What the requests in flight have moved: the scheduler takes it off what is left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.errors import CosxferError
from cosxfer.limits import MIB
from cosxfer.server import RunningServer
from tests.functional.peer_raw import until

SIZE = 6 * MIB
Work = Callable[[cosxfer.AsyncClient, str, Path], Awaitable[object]]


def upload_at_once(client: cosxfer.AsyncClient, bucket: str, path: Path) -> Awaitable[object]:
    path.write_bytes(bytes(MIB))
    return client.upload_file(bucket, "put", path)


def upload_in_parts(client: cosxfer.AsyncClient, bucket: str, path: Path) -> Awaitable[object]:
    path.write_bytes(bytes(SIZE))
    return client.upload_file(bucket, "parts", path, part_size=MIB)


def download(client: cosxfer.AsyncClient, bucket: str, path: Path) -> Awaitable[object]:
    return client.download_file(bucket, "there", path, part_size=MIB)


async def download_small_files(client: cosxfer.AsyncClient, bucket: str, path: Path) -> None:
    for result in await client.download_directory(bucket, "small", path):
        if result.error is not None:
            raise result.error


WORKS: dict[Work, tuple[str, str, int]] = {
    upload_at_once: ("put_object", "put", MIB),
    upload_in_parts: ("multipart_upload", "parts", SIZE),
    download: ("get_object", "there", SIZE),
    download_small_files: ("get_object", "small/*", MIB),
}
"""The operation that a fault of the server stands for, the key, and the bytes that are moved."""


class Run:
    """One piece of work by a client of its own, and the counters that it leaves."""

    def __init__(self, server: RunningServer, path: Path, work: Work, *, transport: str, **settings: Any) -> None:
        self._server, self._path, self._work = server, path, work
        self._settings = {"transport": transport, "endpoint_memory": False, "journal": None, **settings}
        self.most = self.sent = self.open = 0
        self.error: CosxferError | None = None
        asyncio.run(self._main())

    async def _main(self) -> None:
        server = self._server
        async with cosxfer.AsyncClient(
            endpoint=server.endpoint, credentials=server.credentials, **self._settings
        ) as client:
            traffic = client._session.traffic
            working = asyncio.ensure_future(self._work(client, server.bucket, self._path))
            while not working.done():
                assert 0 <= traffic.open_bytes <= traffic.sent_bytes
                self.most = max(self.most, traffic.open_bytes)
                await asyncio.sleep(0)
            try:
                await working
            except CosxferError as error:
                self.error = error
        self.sent, self.open = traffic.sent_bytes, traffic.open_bytes


@pytest.fixture
def there(server: RunningServer, no_faults: None) -> None:
    """Objects to download."""
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
        client.put_object(server.bucket, "there", bytes(SIZE))
        for name in ("a", "b"):
            client.put_object(server.bucket, f"small/{name}", bytes(MIB // 2))


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("transport", ["native", "httpx"])
def test_nothing_is_open_when_all_has_ended(
    server: RunningServer, there: None, tmp_path: Path, work: Work, transport: str
) -> None:
    run = Run(server, tmp_path / "file", work, transport=transport)
    assert run.error is None
    assert (run.sent, run.open) == (WORKS[work][2], 0)
    assert run.most <= SIZE


@pytest.mark.parametrize("how", [{"do": "reset"}, {"do": "error", "status": 503, "code": "SlowDown"}], ids=str)
@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("transport", ["native", "httpx"])
def test_a_request_that_fails_takes_its_bytes_back(
    server: RunningServer, there: None, tmp_path: Path, work: Work, transport: str, how: dict[str, Any]
) -> None:
    operation, key, _ = WORKS[work]
    server.set_faults([{"operation": operation, "key": key, "at": "answer", **how}])
    run = Run(server, tmp_path / "file", work, transport=transport, max_attempts=2, retry_for_seconds=0)
    assert run.error is not None
    assert (run.sent, run.open) == (0, 0)


@pytest.mark.parametrize("transport", ["native", "httpx"])
def test_what_is_cancelled_is_no_longer_open(
    server: RunningServer, there: None, tmp_path: Path, transport: str
) -> None:
    server.set_faults([{"operation": "multipart_upload", "key": "parts", "do": "stall", "at": "answer"}])

    async def cancel(client: cosxfer.AsyncClient, bucket: str, path: Path) -> None:
        working = asyncio.ensure_future(upload_in_parts(client, bucket, path))
        await until(lambda: client._session.traffic.open_bytes)
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working

    run = Run(server, tmp_path / "file", cancel, transport=transport)
    assert run.most > 0
    assert (run.sent, run.open) == (0, 0)
