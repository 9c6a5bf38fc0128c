"""The short way of small files in a batch: when it is taken, and that it ends as the usual way does."""

from __future__ import annotations

import gc
import os
import pickle
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer._native import FileService, hashing
from cosxfer.engine.upload.digests import SMALL_BYTES
from cosxfer.engine.upload.short import ShortUpload, ShortUploads
from cosxfer.engine.upload.upload_file import FileJob
from cosxfer.server import RunningServer, running
from cosxfer.sources import SourceIdentity

pytestmark = pytest.mark.skipif(FileService is None, reason="the native file service is not built")

CONTENT = {
    "empty": b"",
    "small": b"small" * 1000,
    "limit": bytes(SMALL_BYTES),
    "beyond": bytes(SMALL_BYTES + 1),
    "parts": bytes(range(256)) * 8192 + b"end",
}
SHORT = ("small", "limit")


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running() as server:
        yield server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
        old = time.time_ns() - 10**9  # a file that was written a moment ago is compared after it was sent
        os.utime(tmp_path / name, ns=(old, old))
    time.sleep(0.05)
    return tmp_path


@pytest.fixture
def client(server: RunningServer, source: Path) -> Iterator[cosxfer.Client]:
    """A client with idle connections: without one, the first requests are made in the usual way."""
    with cosxfer.Client(
        endpoint=server.endpoint, credentials=server.credentials, journal=None, retry_for_seconds=0
    ) as client:
        assert all(file.error is None for file in upload(client, server, source, [*CONTENT] * 3).values())
        yield client
    server.set_faults([])


@pytest.fixture
def usual(client: cosxfer.Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are uploaded in the usual way, from the beginning or from some point on."""
    names: list[str] = []
    run = FileJob.run

    async def noted(self: FileJob, **given: Any) -> cosxfer.UploadResult:
        names.append(self.address.key.removeprefix("out/"))
        return await run(self, **given)

    monkeypatch.setattr(FileJob, "run", noted)
    return names


def upload(
    client: cosxfer.Client, server: RunningServer, folder: Path, names: list[str], **options: Any
) -> dict[str, cosxfer.FileResult]:
    results = client.upload_files(
        [{"bucket": server.bucket, "key": f"out/{name}", "path": folder / name, **options} for name in names]
    )
    return dict(zip(names, results, strict=True))


def one(results: dict[str, cosxfer.FileResult]) -> cosxfer.UploadResult:
    (file,) = results.values()
    assert file.error is None
    assert file.result is not None
    return file.result


def test_it_is_for_small_files(client: cosxfer.Client, server: RunningServer, source: Path, usual: list[str]) -> None:
    results = upload(client, server, source, list(CONTENT))
    assert sorted(usual) == sorted(set(CONTENT) - set(SHORT))
    for name, file in results.items():
        result = one({name: file})
        assert (result.verified_by, result.size, result.retries) == ("crc64", len(CONTENT[name]), 0)
        assert result.crc64 == hashing.crc64(CONTENT[name])
        assert client.get_object(server.bucket, f"out/{name}").body == CONTENT[name]


def test_both_ways_have_the_same_result(
    client: cosxfer.Client, server: RunningServer, source: Path, usual: list[str]
) -> None:
    short = one(upload(client, server, source, ["small"], content_type="text/x-short"))
    assert usual == []
    other = client.upload_file(server.bucket, "out/small", source / "small", content_type="text/x-short")
    assert usual == ["small"]
    different = {name for name, value in vars(short).items() if value != vars(other)[name]}
    assert different <= {"seconds", "send_seconds", "headers", "request_id"}
    assert client.head_object(server.bucket, "out/small").content_type == "text/x-short"


def test_a_result_that_is_made_later_is_the_same(
    client: cosxfer.Client, server: RunningServer, source: Path, usual: list[str]
) -> None:
    (file,) = upload(client, server, source, ["small"]).values()
    assert usual == []
    assert (file.size, file.sent_before, file.options["key"]) == (5000, False, "out/small")  # without the result
    (other,) = upload(client, server, source, ["small"]).values()
    again = pickle.loads(pickle.dumps(other))  # it is our own
    assert again == other
    assert type(again) is cosxfer.FileResult
    assert file.result is not None
    assert type(file) is cosxfer.FileResult
    assert file.result is file.result
    tasks = {task.key: task for task in client.get_task_list()}
    assert (tasks["out/small"].state, tasks["out/small"].total) == ("success", 5000)


def test_the_list_of_tasks_does_not_keep_the_files_of_a_call(
    client: cosxfer.Client, server: RunningServer, source: Path, usual: list[str]
) -> None:
    class Named:
        """A path that can be looked for afterwards."""

        def __fspath__(self) -> str:
            return str(source / "small")

    path = Named()
    gone = weakref.ref(path)
    results = client.upload_files([{"bucket": server.bucket, "key": "out/kept", "path": path}])
    assert results[0].error is None
    assert usual == []
    del path, results
    gc.collect()
    assert gone() is None
    assert "out/kept" in {task.key for task in client.get_task_list()}


def test_the_result_of_a_task_is_made_later(
    client: cosxfer.Client, server: RunningServer, source: Path, usual: list[str]
) -> None:
    batch = client.submit_upload_files([{"bucket": server.bucket, "key": "out/small", "path": source / "small"}])
    (file,) = batch.result()
    assert usual == []
    assert batch.tasks[0].result() == file.result


@pytest.mark.parametrize(
    "options", [{"upload_add_meta_md5": True}, {"content_length": 5000}, {"expect": "100-continue"}]
)
def test_options_that_need_more_steps_take_the_usual_way(
    client: cosxfer.Client, server: RunningServer, source: Path, usual: list[str], options: dict[str, Any]
) -> None:
    one(upload(client, server, source, ["small"], **options))
    assert usual == ["small"]


@pytest.mark.parametrize(
    "fault",
    [
        {"do": "error", "status": 503, "code": "SlowDown"},
        {"do": "reset"},
        {"do": "reset", "at": "answer"},
        {"do": "wrong_crc64"},
    ],
    ids=["refused", "reset", "lost", "damaged"],
)
def test_a_failed_attempt_counts_as_the_first_one(
    client: cosxfer.Client, server: RunningServer, source: Path, usual: list[str], fault: dict[str, Any]
) -> None:
    server.set_faults([{"operation": "put_object", "attempt": 1, **fault}])
    result = one(upload(client, server, source, ["small"]))
    assert usual == ["small"]
    assert result.retries == 1
    assert client.get_object(server.bucket, "out/small").body == CONTENT["small"]


def test_a_request_that_always_fails_is_sent_as_often_as_usual(
    client: cosxfer.Client, server: RunningServer, source: Path
) -> None:
    server.set_faults([{"operation": "put_object", "do": "error", "status": 500, "code": "InternalError"}])
    (file,) = upload(client, server, source, ["small"]).values()
    assert isinstance(file.error, cosxfer.UploadError)
    assert "sent 5 times" in "".join(getattr(file.error, "__notes__", ()))


def test_the_own_object_is_no_conflict_after_a_lost_response(
    client: cosxfer.Client, server: RunningServer, source: Path, usual: list[str]
) -> None:
    client.delete_object(server.bucket, "out/small")
    server.set_faults([{"operation": "put_object", "attempt": 1, "do": "reset", "at": "answer"}])
    one(upload(client, server, source, ["small"], forbid_overwrite=True))
    assert usual == ["small"]
    (file,) = upload(client, server, source, ["small"], forbid_overwrite=True).values()
    assert isinstance(file.error, cosxfer.UploadError)
    assert file.error.code == "FileAlreadyExists"


def test_a_missing_file_is_the_error_of_the_usual_way(
    client: cosxfer.Client, server: RunningServer, source: Path, usual: list[str]
) -> None:
    (file,) = upload(client, server, source, ["missing"]).values()
    assert isinstance(file.error, cosxfer.SourceError)
    assert usual == ["missing"]


def changing(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    """Make a change after the response to a file, before the file is looked at again."""

    def changing_before(responded: Callable[[ShortUpload, Any], None]) -> Callable[[ShortUpload, Any], None]:
        def then(self: ShortUpload, told: Any) -> None:
            change()
            responded(self, told)

        return then

    for name in ("has_stored", "has_not_stored"):
        monkeypatch.setattr(ShortUpload, name, changing_before(getattr(ShortUpload, name)))


def test_a_file_that_changes_while_it_is_sent_is_an_error(
    client: cosxfer.Client, server: RunningServer, source: Path, usual: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changing(monkeypatch, lambda: (source / "small").write_bytes(b"other"))
    (file,) = upload(client, server, source, ["small"]).values()
    assert isinstance(file.error, cosxfer.SourceChangedError)
    assert "already stored" in "".join(file.error.__notes__)
    assert usual == ["small"]


def test_a_file_whose_content_is_the_same_is_no_error(
    client: cosxfer.Client, server: RunningServer, source: Path, usual: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.requests(clear=True)
    changing(monkeypatch, lambda: (source / "small").chmod(0o600))
    assert one(upload(client, server, source, ["small"])).verified
    assert usual == ["small"]
    assert [request["operation"] for request in server.requests()] == ["put_object"]


def test_a_file_that_changes_before_a_retry_is_not_sent_again(
    client: cosxfer.Client, server: RunningServer, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.requests(clear=True)
    server.set_faults([{"operation": "put_object", "attempt": 1, "do": "error", "status": 500}])
    changing(monkeypatch, lambda: (source / "small").write_bytes(b"other" * 1000))
    (file,) = upload(client, server, source, ["small"]).values()
    assert isinstance(file.error, cosxfer.SourceChangedError)
    assert [request["status"] for request in server.requests()] == [500]


def test_a_fault_of_the_short_way_itself_costs_only_time(
    client: cosxfer.Client, server: RunningServer, source: Path, usual: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in ("_open", "_begin", "_finish"):

        def broken(self: ShortUpload, *_: SourceIdentity) -> bool:
            raise RuntimeError("a bug")

        with monkeypatch.context() as patch:
            patch.setattr(ShortUpload, step, broken)
            one(upload(client, server, source, ["small"]))
    assert usual == ["small"] * 3


def test_a_short_way_that_cannot_be_made_is_no_error(
    client: cosxfer.Client, server: RunningServer, source: Path, usual: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(ShortUploads, "upload", broken)
    one(upload(client, server, source, ["small"]))
    assert usual == ["small"]


def test_no_objects_are_left_for_the_garbage_collector(
    client: cosxfer.Client, server: RunningServer, source: Path, usual: list[str]
) -> None:
    left: list[tuple[int, int]] = []
    while (0, 0) not in left[-1:]:  # the files that make the connections take the usual way
        gc.collect()
        gc.disable()
        usual.clear()
        try:
            upload(client, server, source, ["small"] * 100)
            left.append((len(usual), gc.collect()))
        finally:
            gc.enable()
        assert len(left) < 20, left


def test_what_was_sent_in_the_short_way_is_in_the_journal(
    client: cosxfer.Client, server: RunningServer, source: Path, usual: list[str]
) -> None:
    tree = source / "tree"
    tree.mkdir()
    for number in range(50):
        (tree / f"{number:02}").write_bytes(b"%d" % number)
    time.sleep(0.05)  # a file that was written a moment ago is compared after it was sent
    server.set_faults(
        [{"operation": "put_object", "key": "tree/49", "do": "error", "status": 403, "code": "AccessDenied"}]
    )
    again: list[int] = []
    for _ in range(2):
        with cosxfer.Client(
            endpoint=server.endpoint, credentials=server.credentials, journal=source / "journal"
        ) as other:
            # Without idle connections all would take the usual way.
            assert all(file.error is None for file in upload(other, server, source, [*CONTENT] * 3).values())
            usual.clear()
            results = other.upload_directory(server.bucket, "tree", tree)
            again.append(sum(file.sent_before for file in results))
            if len(again) == 1:
                assert len(usual) < 50, "no file took the short way"
    assert again == [0, 49]


@pytest.mark.parametrize("how", ["cancel", "pause"])
def test_a_request_in_flight_can_be_ended(
    client: cosxfer.Client, server: RunningServer, source: Path, how: str
) -> None:
    server.set_faults([{"operation": "put_object", "attempt": 1, "do": "stall", "at": "answer"}])
    results: list[cosxfer.FileResult] = []
    known = {task.task_id for task in client.get_task_list()}
    thread = threading.Thread(target=lambda: results.extend(upload(client, server, source, ["small"]).values()))
    thread.start()

    def running_task() -> set[str]:
        tasks = client.get_task_list()
        return {task.task_id for task in tasks if task.state in ("checking", "uploading")} - known

    deadline = time.monotonic() + 20
    while not (found := running_task()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    task_id = found.pop()
    time.sleep(0.2)  # let it send
    if how == "cancel":
        assert client.cancel_task(task_id)
    else:
        assert client.pause_task(task_id)
        server.set_faults([])  # the first request may have been ended before the server has seen it
        assert client.restart_task(task_id)
    thread.join(20)
    assert not thread.is_alive()
    (file,) = results
    if how == "cancel":
        assert isinstance(file.error, cosxfer.TaskCanceledError)
    else:
        assert file.error is None
    # The slot and the connections are free again.
    server.set_faults([])
    assert all(file.error is None for file in upload(client, server, source, [*CONTENT] * 3).values())
