"""The short way of small objects in a batch: when it is taken, and that it ends as the usual way does."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer._native import FileService
from cosxfer.engine.download.download_file import DownloadJob
from cosxfer.engine.download.writes import Writes
from cosxfer.limits import MIB
from cosxfer.ops.traffic import SMALL_BYTES
from cosxfer.server import RunningServer, running
from cosxfer.targets import new_file_name

pytestmark = pytest.mark.skipif(FileService is None, reason="the native file service is not built")

CONTENT = {
    "empty": b"",
    "small": b"small" * 1000,
    "limit": bytes(SMALL_BYTES),
    "beyond": bytes(SMALL_BYTES + 1),
    "ranges": bytes(range(256)) * 8192 + b"end",
}
SHORT = ("small", "limit")
"""The server refuses each range of an empty object, which the usual way handles."""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running() as server, cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
        for name, content in CONTENT.items():
            client.put_object(server.bucket, f"in/{name}", content, metadata={"mtime": "1234567890.5"})
        yield server


@pytest.fixture
def client(server: RunningServer, tmp_path: Path) -> Iterator[cosxfer.Client]:
    """A client with idle connections: without one, the first requests are made in the usual way."""
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials, part_size=MIB) as client:
        warm = tmp_path / "warm"
        warm.mkdir()
        assert_all_done(download(client, server, warm, list(CONTENT)))
        yield client
    server.set_faults([])


@pytest.fixture
def usual(client: cosxfer.Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the objects that are downloaded in the usual way, from its beginning or from some point on."""
    names: list[str] = []
    run = DownloadJob.run

    async def noted(self: DownloadJob, **given: Any) -> cosxfer.DownloadResult:
        names.append(self.address.key.removeprefix("in/"))
        return await run(self, **given)

    monkeypatch.setattr(DownloadJob, "run", noted)
    return names


def download(
    client: cosxfer.Client, server: RunningServer, folder: Path, names: list[str], **options: Any
) -> dict[str, cosxfer.DownloadedFile]:
    results = client.download_files(
        [{"bucket": server.bucket, "key": f"in/{name}", "path": folder / name, **options} for name in names]
    )
    return dict(zip(names, results, strict=True))


def assert_all_done(results: dict[str, cosxfer.DownloadedFile]) -> None:
    for name, file in results.items():
        assert file.error is None
        assert file.result is not None
        assert (file.result.verified_by, file.result.size) == ("crc64", len(CONTENT[name]))
        assert Path(file.result.path).read_bytes() == CONTENT[name]


def one(results: dict[str, cosxfer.DownloadedFile]) -> cosxfer.DownloadResult:
    assert_all_done(results)
    (file,) = results.values()
    assert file.result is not None
    return file.result


def test_it_is_for_small_objects_and_new_files(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path, usual: list[str]
) -> None:
    results = download(client, server, tmp_path, list(CONTENT), preserve_mtime=True)
    assert_all_done(results)
    assert sorted(usual) == sorted(set(CONTENT) - set(SHORT))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*CONTENT, "warm"])
    for name, file in results.items():
        assert (tmp_path / name).stat().st_mtime_ns == 1_234_567_890_500_000_000
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~current_umask()
        assert file.result is not None
        assert (file.result.retries, file.result.resumed_bytes) == (0, 0)
        assert file.result.parts == (3 if name == "ranges" else 1)
        assert file.result.metadata == {"mtime": "1234567890.5"}
        assert file.result.path == str(tmp_path / name)


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_both_ways_have_the_same_result(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path, usual: list[str]
) -> None:
    short = one(download(client, server, tmp_path, ["small"]))
    assert usual == []
    other = client.download_file(server.bucket, "in/small", tmp_path / "small")
    assert usual == ["small"]
    different = {name for name, value in vars(short).items() if value != vars(other)[name]}
    assert different <= {"seconds", "headers", "request_id"}


def test_what_was_received_is_not_requested_again(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path, usual: list[str]
) -> None:
    for name in ("beyond", "ranges"):
        server.set_faults([{"operation": "get_object", "attempt": 4, "do": "error", "status": 400}])
        one(download(client, server, tmp_path, [name]))
    assert usual == ["beyond", "ranges"]


@pytest.mark.parametrize(
    "fault",
    [
        {"do": "error", "status": 503, "code": "SlowDown"},
        {"do": "truncate", "after_bytes": 100},
        {"do": "reset"},
        {"do": "wrong_crc64"},
    ],
    ids=lambda fault: fault["do"],
)
def test_a_failed_attempt_counts_as_the_first_one(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path, usual: list[str], fault: dict[str, Any]
) -> None:
    server.set_faults([{"operation": "get_object", "attempt": 1, **fault}])
    result = one(download(client, server, tmp_path, ["small"]))
    assert usual == ["small"]
    assert result.retries == 1


def test_an_error_is_that_of_the_usual_way(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path, usual: list[str]
) -> None:
    (file,) = download(client, server, tmp_path, ["missing"]).values()
    assert isinstance(file.error, cosxfer.NotFoundError)
    assert not (tmp_path / "missing").exists()


def test_a_request_that_always_fails_is_sent_as_often_as_usual(server: RunningServer, tmp_path: Path) -> None:
    with cosxfer.Client(
        endpoint=server.endpoint, credentials=server.credentials, max_attempts=2, retry_for_seconds=0
    ) as client:
        download(client, server, tmp_path, ["small"])
        server.set_faults([{"operation": "get_object", "do": "error", "status": 503, "code": "SlowDown"}])
        try:
            (file,) = download(client, server, tmp_path / "x", ["small"]).values()
        finally:
            server.set_faults([])
    assert isinstance(file.error, cosxfer.ThrottledError)
    assert "sent 2 times" in "".join(getattr(file.error, "__notes__", ()))


def test_a_file_that_is_replaced_keeps_its_permissions(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path, usual: list[str]
) -> None:
    (tmp_path / "small").write_bytes(b"old")
    (tmp_path / "small").chmod(0o640)
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "empty").symlink_to(tmp_path / "target")
    assert_all_done(download(client, server, tmp_path, ["small", "empty"]))
    assert sorted(usual) == ["empty", "small"]
    assert (tmp_path / "small").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "empty").is_symlink()
    assert (tmp_path / "target").read_bytes() == b""


def test_a_file_that_a_killed_process_left_is_replaced(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path, usual: list[str]
) -> None:

    left = new_file_name(str(tmp_path / "small"))
    assert left is not None
    Path(left).write_bytes(b"half")
    one(download(client, server, tmp_path, ["small"]))
    assert usual == ["small"]
    assert not Path(left).exists()


def test_two_downloads_into_one_path_leave_one_whole_file(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path
) -> None:
    path = tmp_path / "same"
    results = client.download_files(
        [{"bucket": server.bucket, "key": f"in/{name}", "path": path} for name in ("small", "limit") * 4]
    )
    assert [file.error for file in results] == [None] * 8
    assert path.read_bytes() in (CONTENT["small"], CONTENT["limit"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["same", "warm"]


@pytest.mark.parametrize("where", ["folder", "file"])
def test_no_link_is_followed_below_a_folder(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path, where: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    if where == "folder":
        (root / "in").symlink_to(outside)
    else:
        (root / "in").mkdir()
        (root / "in" / "small").symlink_to(outside / "small")
    client.put_object(server.bucket, "link/in/small", b"content")
    (file,) = client.download_directory(server.bucket, "link", root)
    assert isinstance(file.error, cosxfer.TargetError)
    assert "link" in str(file.error)
    assert list(outside.iterdir()) == []


def test_folders_are_created_once_and_used_then(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path, usual: list[str]
) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    assert all(file.error is None for file in client.download_directory(server.bucket, "", root, include=["in/small"]))
    assert usual == []
    other = tmp_path / "other"
    assert all(file.error is None for file in client.download_directory(server.bucket, "", other, include=["in/small"]))
    assert usual == ["small"]
    assert (other / "in" / "small").read_bytes() == (root / "in" / "small").read_bytes() == CONTENT["small"]


def test_a_folder_that_is_missing_is_an_error(client: cosxfer.Client, server: RunningServer, tmp_path: Path) -> None:
    (file,) = download(client, server, tmp_path / "missing", ["small"]).values()
    assert isinstance(file.error, cosxfer.TargetError)
    assert file.error.errno == errno.ENOENT


def test_a_full_disk_is_an_error_and_leaves_nothing(server: RunningServer, tmp_path: Path) -> None:
    code = f"""
import resource, signal, cosxfer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with cosxfer.Client(endpoint={server.endpoint!r}, secret_id={server.credentials.secret_id!r},
                    secret_key={server.credentials.secret_key!r}, endpoint_memory=False) as client:
    def file(name):
        return [{{"bucket": {server.bucket!r}, "key": "in/small", "path": {str(tmp_path)!r} + "/" + name}}]
    assert client.download_files(file("first"))[0].error is None
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    (result,) = client.download_files(file("second"))
    print(type(result.error).__name__, result.error.errno)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["TargetError", str(errno.EFBIG)], done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


@pytest.mark.parametrize("how", ["cancel", "pause"])
def test_a_request_in_flight_can_be_ended(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path, usual: list[str], how: str
) -> None:
    server.set_faults([{"operation": "get_object", "attempt": 1, "do": "stall", "at": "answer"}])
    results: list[cosxfer.DownloadedFile] = []
    thread = threading.Thread(target=lambda: results.extend(download(client, server, tmp_path, ["small"]).values()))
    known = {task.task_id for task in client.get_task_list()}
    thread.start()
    task_id = next(iter(wait_for(lambda: {t.task_id for t in client.get_task_list() if t.state == "checking"} - known)))
    if how == "cancel":
        assert client.cancel_task(task_id)
    else:
        assert client.pause_task(task_id)
        assert {task.task_id: task.state for task in client.get_task_list()}[task_id] == "paused"
        server.set_faults([])  # the first request may have been ended before the server has seen it
        assert client.restart_task(task_id)
    thread.join(20)
    assert not thread.is_alive()
    (file,) = results
    if how == "cancel":
        assert isinstance(file.error, cosxfer.TaskCanceledError)
        assert [path.name for path in tmp_path.iterdir()] == ["warm"]
    else:
        assert file.error is None
        assert (tmp_path / "small").read_bytes() == CONTENT["small"]
    server.set_faults([])  # the server may not have seen the first request
    # The slot and the connections are free again.
    assert_all_done(download(client, server, tmp_path / "warm", ["small"]))


def test_closing_the_client_ends_it(server: RunningServer, tmp_path: Path) -> None:
    client = cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials)
    download(client, server, tmp_path, ["small"])
    server.set_faults([{"operation": "get_object", "do": "stall", "at": "answer"}])
    try:
        errors: list[BaseException | None] = []

        def run() -> None:
            try:
                (file,) = download(client, server, tmp_path, ["empty"]).values()
                errors.append(file.error)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        wait_for(lambda: [task for task in client.get_task_list() if task.state == "checking"])
        client.close()
        thread.join(20)
        assert not thread.is_alive()
        assert isinstance(errors[0], cosxfer.CosxferError)
    finally:
        server.set_faults([])
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_an_unforeseen_error_leads_to_the_usual_way(
    client: cosxfer.Client, server: RunningServer, tmp_path: Path, usual: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(Writes, "write", broken)
    one(download(client, server, tmp_path, ["small"]))
    assert usual == ["small"]


def wait_for(look: Any) -> Any:

    until = time.monotonic() + 20
    while not (found := look()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


def test_cancelling_the_call_cancels_the_files(server: RunningServer, tmp_path: Path) -> None:
    files: list[cosxfer.FileDownload] = [
        {"bucket": server.bucket, "key": f"in/{name}", "path": tmp_path / name} for name in SHORT
    ]

    async def main() -> None:
        async with cosxfer.AsyncClient(endpoint=server.endpoint, credentials=server.credentials) as client:
            assert [file.error for file in await client.download_files(files)] == [None, None]
            remove_all(tmp_path)
            server.set_faults([{"operation": "get_object", "do": "stall", "at": "answer"}])
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.download_files(files), 0.5)
            server.set_faults([])
            assert [task.state for task in client.get_task_list()] == ["success"] * 2 + ["canceled"] * 2
            assert remove_all(tmp_path) == 0
            assert [file.error for file in await client.download_files(files)] == [None, None]

    try:
        asyncio.run(main())
    finally:
        server.set_faults([])


def remove_all(folder: Path) -> int:
    """Remove the files of a folder; returns how many there were."""
    return len([path.unlink() for path in folder.iterdir()])
