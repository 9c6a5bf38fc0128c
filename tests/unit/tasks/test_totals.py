"""Sizes of files that are submitted on an event loop, which must not call the file system."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import cosxfer
from cosxfer.tasks.transfers import Transfers, size_of
from tests.unit.fake_cos import BUCKET, FakeCos
from tests.unit.tasks.gate import Gate


def test_a_size_is_looked_up_unless_the_thread_runs_a_loop(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"12345")

    async def on_a_loop() -> int:
        return size_of(path)

    assert size_of(path) == 5
    assert asyncio.run(on_a_loop()) == 0
    assert size_of(tmp_path) == size_of(tmp_path / "none") == size_of(None) == 0


def test_the_blocking_client_knows_the_size_at_once(cos: FakeCos, tmp_path: Path, gate: Gate) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    cos.fault("put_object", gate, times=9)
    with cos.blocking_client() as client:
        task = client.submit_upload_file(BUCKET, "k", tmp_path / "f")
        assert task.total == 5
        task.cancel()


def test_a_batch_that_a_loop_submits_is_measured_by_a_thread(
    cos: FakeCos, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = asyncio.Event()
    measure = Transfers.measure
    seen: list[cosxfer.Progress] = []
    cos.fault("put_object", gate, times=9)
    files: list[cosxfer.FileUpload] = []
    for number in range(5):
        path = tmp_path / f"{number}"
        path.write_bytes(b"12345")
        files.append({"bucket": BUCKET, "key": f"{number}", "path": path})

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def announced(transfers: Transfers, batch: object) -> None:
            measure(transfers, batch)  # type: ignore[arg-type]
            loop.call_soon_threadsafe(measured.set)

        monkeypatch.setattr(Transfers, "measure", announced)
        async with cos.client(file_parallel_limit=1) as client:
            batch = client.submit_upload_files(files, on_progress=seen.append)
            assert batch.total == 0
            await gate.come()
            await measured.wait()
            assert batch.total == 25  # also of waiting tasks
            gate.open()
            assert [result.error for result in await batch.result()] == [None] * 5

    asyncio.run(main())
    assert (seen[-1].loaded, seen[-1].total, seen[-1].percent) == (25, 25, 1.0)
