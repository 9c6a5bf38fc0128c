"""Downloads of a folder that go on: what an interrupted call has completed is proven, and not requested."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from tests.functional.peer_raw import in_loop

CONTENT = {f"{n}": bytes([n]) * (1000 + n) for n in range(8)} | {"large": bytes(range(256)) * 8192 + b"end"}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running() as server:
        with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
            for name, content in CONTENT.items():
                client.put_object(server.bucket, f"in/{name}", content, metadata={"mtime": "1234567890.5"})
        yield server


@pytest.fixture(autouse=True)
def no_faults(server: RunningServer) -> Iterator[None]:
    yield
    server.set_faults([])


Fetch = Callable[..., list[cosxfer.DownloadedFile]]


@pytest.fixture
def fetch(server: RunningServer, tmp_path: Path) -> Fetch:
    def call(folder: Path, **options: Any) -> list[cosxfer.DownloadedFile]:
        with cosxfer.Client(
            endpoint=server.endpoint,
            credentials=server.credentials,
            journal=tmp_path / "journal.sqlite",
            part_size=MIB,
            max_attempts=1,
            retry_for_seconds=0,
        ) as client:
            return client.download_directory(server.bucket, "in", folder, **options)

    return call


def requested(server: RunningServer) -> list[str]:
    """The names of the objects that were requested since the last call, once for each object."""
    seen = {request["key"] for request in server.requests(clear=True) if request["operation"] == "get_object"}
    return sorted(str(key).removeprefix("in/") for key in seen)


def fail_for(server: RunningServer, *names: str) -> None:
    server.set_faults(
        [{"operation": "get_object", "key": f"in/{name}", "do": "error", "status": 500} for name in names]
    )


def interrupted(fetch: Fetch, server: RunningServer, folder: Path, *names: str, **options: Any) -> None:
    """A run that does not get these objects."""
    fail_for(server, *names)
    results = fetch(folder, **options)
    assert sorted(each.options["key"] for each in results if each.error is not None) == [f"in/{n}" for n in names]
    server.set_faults([])
    server.requests(clear=True)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_only_what_is_missing_is_requested(fetch: Fetch, server: RunningServer, tmp_path: Path) -> None:
    folder = tmp_path / "below"
    interrupted(fetch, server, folder, "3", "5", preserve_mtime=True)
    results = fetch(folder, preserve_mtime=True)
    assert requested(server) == ["3", "5"]
    assert content(folder) == CONTENT
    assert all((folder / name).stat().st_mtime_ns == 1_234_567_890_500_000_000 for name in CONTENT)
    by_key = {each.options["key"]: each.result for each in results}
    for name, expected in CONTENT.items():
        result = by_key[f"in/{name}"]
        assert result is not None
        assert (result.verified_by, result.size, result.path) == ("crc64", len(expected), str(folder / name))
        kept = name not in ("3", "5")
        assert (result.resumed_bytes, result.parts == 0) == (len(expected) if kept else 0, kept)
    fetch(folder, preserve_mtime=True)
    assert len(requested(server)) == len(CONTENT)  # that run had done all, so this one begins anew


@pytest.mark.parametrize("change", ["content", "gone", "link", "shorter", "folder"])
def test_a_file_that_is_not_the_object_any_more_is_fetched(
    fetch: Fetch, server: RunningServer, tmp_path: Path, change: str
) -> None:
    folder, other = tmp_path / "below", tmp_path / "other"
    interrupted(fetch, server, folder, "3")
    file = folder / "1"
    kept = file.stat()
    other.write_bytes(CONTENT["1"])
    if change == "content":
        file.write_bytes(b"x" * len(CONTENT["1"]))
        os.utime(file, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    elif change == "shorter":
        os.truncate(file, 10)
    else:
        file.unlink()
        if change == "link":
            file.symlink_to(other)
        elif change == "folder":
            file.mkdir()
    results = fetch(folder)
    assert requested(server) == ["1", "3"]
    if change in ("link", "folder"):
        (failed,) = [each for each in results if each.error is not None]
        assert isinstance(failed.error, cosxfer.TargetError | cosxfer.UsageError)
    else:
        assert content(folder) == CONTENT
    assert other.read_bytes() == CONTENT["1"]


def test_an_object_that_was_replaced_is_fetched(fetch: Fetch, server: RunningServer, tmp_path: Path) -> None:
    folder = tmp_path / "below"
    interrupted(fetch, server, folder, "3")
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
        client.put_object(server.bucket, "in/1", b"y" * len(CONTENT["1"]))
        try:
            fetch(folder)
            assert requested(server) == ["1", "3"]
            assert (folder / "1").read_bytes() == b"y" * len(CONTENT["1"])
        finally:
            client.put_object(server.bucket, "in/1", CONTENT["1"], metadata={"mtime": "1234567890.5"})


def test_other_options_or_another_folder_begin_anew(fetch: Fetch, server: RunningServer, tmp_path: Path) -> None:
    interrupted(fetch, server, tmp_path / "below", "3")
    fetch(tmp_path / "below", preserve_mtime=True)
    assert len(requested(server)) == len(CONTENT)
    interrupted(fetch, server, tmp_path / "below", "3")
    fetch(tmp_path / "another")
    assert len(requested(server)) == len(CONTENT)


def test_a_key_without_a_path_does_not_keep_the_batch_open(fetch: Fetch, server: RunningServer, tmp_path: Path) -> None:
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
        client.put_object(server.bucket, "in/../out", b"")
        try:
            for _ in range(2):
                results = fetch(tmp_path / "below")
                assert [str(each.options["key"]) for each in results if each.error is not None] == ["in/../out"]
                assert len(requested(server)) == len(CONTENT)
        finally:
            client.delete_object(server.bucket, "in/../out")


def test_a_folder_is_submitted_as_tasks(server: RunningServer, tmp_path: Path) -> None:
    seen: list[cosxfer.Progress] = []
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials, part_size=MIB) as client:
        server.set_faults([{"operation": "get_object", "do": "stall", "seconds": 600}])
        batch = client.submit_download_directory(server.bucket, "in", tmp_path / "below", on_progress=seen.append)
        assert {task.info.direction for task in batch.tasks} == {"download"}
        assert batch.total == sum(map(len, CONTENT.values()))
        assert all(task.pause() for task in batch.tasks)
        server.set_faults([])
        assert all(task.restart() for task in batch.tasks)
        assert [each.error for each in batch.result(60)] == [None] * len(CONTENT)
        assert seen[-1].loaded == batch.total
        assert content(tmp_path / "below") == CONTENT
        with pytest.raises(cosxfer.CosxferError, match="no object"):
            client.submit_download_directory(server.bucket, "missing", tmp_path / "below")
        server.set_faults([{"operation": "get_object", "do": "stall", "seconds": 600}])
        batch = client.submit_download_directory(server.bucket, "in", tmp_path / "other")
        batch.cancel()
        assert all(isinstance(each.error, cosxfer.TaskCanceledError) for each in batch.result(60))
        assert content(tmp_path / "other") == {}


@in_loop
async def test_the_asynchronous_client_submits_a_folder(server: RunningServer, tmp_path: Path) -> None:
    async with cosxfer.AsyncClient(endpoint=server.endpoint, credentials=server.credentials) as client:
        batch = await client.submit_download_directory(server.bucket, "in", tmp_path / "below", include=["1", "2"])
        assert [each.error for each in await batch.result(60)] == [None, None]
    assert content(tmp_path / "below") == {name: CONTENT[name] for name in "12"}


def test_every_file_of_a_folder_can_be_sparse(server: RunningServer, tmp_path: Path) -> None:
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials, part_size=MIB) as client:
        client.put_object(server.bucket, "holes/image", bytes(8 * MIB))
        client.download_directory(server.bucket, "holes", tmp_path / "below", sparse=True)
    found = (tmp_path / "below" / "image").stat()
    assert (found.st_size, found.st_blocks * 512 < 2 * MIB) == (8 * MIB, True)
