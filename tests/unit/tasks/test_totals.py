"""Sizes of files that are submitted on an event loop, which must not call the file system."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.tasks.sizes import size_of, sizes_of
from cosxfer.tasks.transfers import Transfers
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


def test_the_sizes_of_many_files_are_those_of_each(tmp_path: Path) -> None:
    deep = tmp_path
    folder = os.open(tmp_path, os.O_RDONLY)
    while len(str(deep)) < 5_000:  # longer than a system call takes
        os.mkdir("n" * 200, dir_fd=folder)
        folder, last = os.open("n" * 200, os.O_RDONLY, dir_fd=folder), folder
        os.close(last)
        deep /= "n" * 200
    file = os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=folder)
    os.write(file, b"deep")
    os.close(file)
    os.close(folder)
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d")
    paths: list[Any] = [deep / "f", tmp_path, tmp_path / "none", "n" * 300, "nul\0", "\ud800", str(deep / "g")]
    for number in range(600):
        path = tmp_path / "d" / f"é{number}"
        path.write_bytes(bytes(number))
        paths += [path, str(path), bytes(path), tmp_path / "link" / path.name]
    sizes = sizes_of(paths)
    assert sizes == [size_of(path) for path in paths]
    assert sizes[:7] == [4, 0, 0, 0, 0, 0, 0]
    assert sizes[-4:] == [599] * 4

    async def on_a_loop() -> list[int]:
        return sizes_of(paths)

    assert asyncio.run(on_a_loop()) == [0] * len(paths)


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
