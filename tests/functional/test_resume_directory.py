"""`upload_directory` as a whole: what an interrupted call has sent is not sent, and not asked for, again."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.engine.upload.recall import finished_content, finished_target
from cosxfer.journal import journal_of
from cosxfer.journal_database import Database
from cosxfer.journal_rows import FinishedObject, fingerprint
from cosxfer.limits import MIB
from cosxfer.server import RunningServer
from cosxfer.sources import SourceIdentity

FILES = 30


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for number in range(FILES):
        path = root / f"d{number % 3}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number * 100)
    (root / "large").write_bytes(os.urandom(3 * MIB))
    return root


@pytest.fixture(autouse=True)
def _clean(server: RunningServer, no_faults: None) -> None:
    server.requests(clear=True)


def upload(server: RunningServer, tree: Path, prefix: str, **options: object) -> list[cosxfer.FileResult]:
    with cosxfer.Client(
        endpoint=server.endpoint, credentials=server.credentials, journal=tree.parent / "journal"
    ) as client:
        return client.upload_directory(server.bucket, prefix, tree, **options)  # type: ignore[arg-type]


def sent(server: RunningServer) -> Counter[str]:
    return Counter(request["key"] for request in server.requests(clear=True))


def with_failures(server: RunningServer, tree: Path, prefix: str, failing: str) -> None:
    server.set_faults(
        [{"operation": "put_object", "key": failing, "do": "error", "status": 403, "code": "AccessDenied"}]
    )
    results = upload(server, tree, prefix)
    assert sum(result.error is not None for result in results) == FILES // 3
    server.set_faults([])
    server.requests(clear=True)


def test_only_what_is_not_done_is_sent(server: RunningServer, tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    with_failures(server, tree, "a", "a/d1/*")
    finished: list[cosxfer.UploadResult] = []
    progress: list[cosxfer.Progress] = []
    with caplog.at_level(logging.INFO, "cosxfer.resume"):
        results = upload(
            server,
            tree,
            "a",
            on_file_finish=lambda error, result, options: result and finished.append(result),
            on_progress=progress.append,
        )
    assert f"resumed: 21 of {FILES + 1} files" in caplog.text
    assert all(key.startswith("a/d1/") for key in sent(server))
    assert len(results) == len(finished) == FILES + 1
    assert all(result.result is not None and result.result.verified for result in results)
    known = {result.result.key: result.result for result in results if result.result is not None}
    assert known["a/large"].resumed_bytes == known["a/large"].size == 3 * MIB
    assert known["a/d1/f1"].resumed_bytes == 0
    assert progress[-1].loaded == progress[-1].total == sum(result.size for result in known.values())
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
        for key, result in known.items():
            head = client.head_object(server.bucket, key)
            assert (head.etag, head.crc64, head.size) == (result.etag, result.crc64, result.size)


@pytest.mark.parametrize(("keep", "listening"), [(0, False), (5, False), (5, True), (1000, False)])
@pytest.mark.parametrize("callback", [True, False])
def test_files_that_were_done_are_in_the_results_the_list_and_the_callbacks(
    server: RunningServer, tree: Path, monkeypatch: pytest.MonkeyPatch, keep: int, listening: bool, callback: bool
) -> None:
    prefix = f"i{keep}{listening}{callback}"
    with_failures(server, tree, prefix, f"{prefix}/d1/*")
    events: list[cosxfer.TaskEvent] = []
    finished: list[cosxfer.UploadResult | None] = []
    with cosxfer.Client(
        endpoint=server.endpoint,
        credentials=server.credentials,
        journal=tree.parent / "journal",
        max_finished_tasks=keep,
    ) as client:
        if listening:
            client.on("list-update", events.append)
        if not keep:
            monkeypatch.delattr("cosxfer.tasks.queue.TaskQueue.submit_done")  # a task that nobody sees is not made
        results = client.upload_directory(
            server.bucket,
            prefix,
            tree,
            on_file_finish=(lambda error, result, _: finished.append(result)) if callback else None,
        )
        listed = client.get_task_list()
    before = [result.result for result in results if result.result is not None and result.result.resumed_bytes]
    done = sorted(path for path in tree.rglob("*") if path.is_file() and path.parent.name != "d1")
    assert [result.key for result in before] == [f"{prefix}/{path.relative_to(tree)}" for path in done]
    assert [result.size for result in before] == [path.stat().st_size for path in done]
    assert all(type(result) is cosxfer.UploadResult and result.headers == {} and result.verified for result in before)
    assert before[0].headers is not before[1].headers
    assert len(results) == FILES + 1
    assert len(listed) == min(keep, FILES + 1)
    assert {task.state for task in listed} <= {"success"}
    if callback:
        assert [result for result in finished if result is not None and result.resumed_bytes] == before
        assert len(finished) == FILES + 1
    assert sum(event.change == "added" for event in events) == (FILES + 1 if listening else 0)


@pytest.mark.parametrize("keep", [0, 3, 1000])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_call_whose_files_are_all_done_ends_without_a_request(
    server: RunningServer, tree: Path, keep: int, asynchronous: bool
) -> None:
    prefix = f"o{keep}{asynchronous}"
    with_failures(server, tree, prefix, f"{prefix}/d1/*")
    shutil.rmtree(tree / "d1")
    progress: list[cosxfer.Progress] = []
    settings: dict[str, Any] = {
        "endpoint": server.endpoint,
        "credentials": server.credentials,
        "journal": tree.parent / "journal",
        "max_finished_tasks": keep,
    }

    async def call() -> list[cosxfer.FileResult]:
        async with cosxfer.AsyncClient(**settings) as client:
            return await client.upload_directory(server.bucket, prefix, tree, on_progress=progress.append)

    if asynchronous:
        results = asyncio.run(call())
    else:
        with cosxfer.Client(**settings) as client:
            results = client.upload_directory(server.bucket, prefix, tree, on_progress=progress.append)
    assert len(results) == FILES + 1 - FILES // 3
    assert all(result.result is not None and result.result.resumed_bytes == result.result.size for result in results)
    assert (progress[-1].loaded, progress[-1].percent) == (progress[-1].total, 1.0)
    assert not sent(server)
    upload(server, tree, prefix)
    assert len(sent(server)) == len(results)


def test_after_all_files_are_done_the_next_call_sends_all(server: RunningServer, tree: Path) -> None:
    with_failures(server, tree, "b", "b/d1/*")
    upload(server, tree, "b")
    server.requests(clear=True)
    results = upload(server, tree, "b")
    assert all(result.result is not None and not result.result.resumed_bytes for result in results)
    assert len(sent(server)) == FILES + 1


def test_a_file_that_cannot_be_read_does_not_keep_the_batch_open(server: RunningServer, tree: Path) -> None:
    (tree / "broken").symlink_to("nothing")
    for _ in range(2):
        server.requests(clear=True)
        results = upload(server, tree, "h")
        assert sum(result.error is not None for result in results) == 1
        assert len(sent(server)) == FILES + 1


def test_what_changed_meanwhile_is_sent(server: RunningServer, tree: Path) -> None:
    with_failures(server, tree, "c", "c/d1/*")
    (tree / "d0" / "f0").write_bytes(b"new")
    (tree / "d0" / "more").write_bytes(b"more")
    (tree / "d2" / "f2").unlink()
    upload(server, tree, "c")
    assert {"c/d0/f0", "c/d0/more"} == {key for key in sent(server) if not key.startswith("c/d1/")}


@pytest.mark.parametrize("options", [{"metadata": {"a": "b"}}, {"storage_class": "STANDARD_IA"}])
def test_other_headers_send_all(server: RunningServer, tree: Path, options: dict[str, object]) -> None:
    prefix = f"d{len(options)}{next(iter(options))}"
    with_failures(server, tree, prefix, f"{prefix}/d1/*")
    upload(server, tree, prefix, **options)
    assert len(sent(server)) == FILES + 1


def test_another_prefix_or_directory_sends_all(server: RunningServer, tree: Path) -> None:
    with_failures(server, tree, "e", "e/d1/*")
    upload(server, tree, "other")
    assert len(sent(server)) == FILES + 1
    moved = tree.rename(tree.with_name("moved"))
    upload(server, moved, "e")
    assert len(sent(server)) == FILES + 1


def test_an_object_that_another_file_has_replaced_since_is_sent(server: RunningServer, tree: Path) -> None:
    with_failures(server, tree, "f", "f/d1/*")
    with cosxfer.Client(
        endpoint=server.endpoint, credentials=server.credentials, journal=tree.parent / "journal"
    ) as client:
        client.upload_file(server.bucket, "f/d0/f0", tree / "large")
    server.requests(clear=True)
    upload(server, tree, "f")
    assert sent(server)["f/d0/f0"] == 1


def test_a_cancelled_call_goes_on(server: RunningServer, tree: Path) -> None:
    server.set_faults([{"operation": "put_object", "key": "g/d2/*", "do": "stall"}])
    with cosxfer.Client(
        endpoint=server.endpoint, credentials=server.credentials, journal=tree.parent / "journal"
    ) as client:
        files: list[cosxfer.FileUpload] = []
        import threading

        ended = threading.Event()
        count = 0

        def finished(*_: object) -> None:
            nonlocal count
            count += 1
            if count == 2 * FILES // 3 + 1:
                ended.set()

        caller = threading.Thread(
            target=lambda: files.extend(
                result.options for result in client.upload_directory(server.bucket, "g", tree, on_file_finish=finished)
            )
        )
        caller.start()
        assert ended.wait(60)
        for task in client.get_task_list():
            client.cancel_task(task.task_id)
        caller.join()
    server.set_faults([])
    server.requests(clear=True)
    upload(server, tree, "g")
    assert sent(server).keys() == {f"g/d2/f{number}" for number in range(2, FILES, 3)}


def objects_are_the_files(server: RunningServer, tree: Path, prefix: str) -> None:
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
        for path in tree.rglob("*"):
            if path.is_file():
                body = client.get_object(server.bucket, f"{prefix}/{path.relative_to(tree)}").body
                assert body == path.read_bytes()


def test_a_disk_that_fills_during_a_batch_loses_nothing_but_memory(
    server: RunningServer, tree: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "large").unlink()  # its upload in parts has a row of its own
    known = []
    add_objects = Database.add_objects

    def add_some(self: Database, found: list[tuple[bytes, FinishedObject]]) -> None:
        if known:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        known.extend(target for target, _ in found)
        add_objects(self, found)

    # Two at a time, so that they take several groups of the journal, however fast the machine is.
    server.set_faults([{"operation": "put_object", "do": "delay", "seconds": 0.05}])
    keys, journal = server.credentials, tree.parent / "journal"
    with (
        monkeypatch.context() as patch,
        cosxfer.Client(endpoint=server.endpoint, credentials=keys, journal=journal, file_parallel_limit=2) as client,
    ):
        patch.setattr(Database, "add_objects", add_some)
        results = client.upload_directory(server.bucket, "j", tree)
    server.set_faults([])
    assert all(result.error is None for result in results)
    assert caplog.text.count("the disk may be full") == 1
    assert 0 < len(known) < FILES
    objects_are_the_files(server, tree, "j")
    server.requests(clear=True)
    # The journal does not know that all were sent, so the batch goes on with those that it knows.
    results = upload(server, tree, "j")
    assert sum(bool(result.result and result.result.resumed_bytes) for result in results) == len(known)
    assert len(sent(server)) == FILES - len(known)
    server.requests(clear=True)
    upload(server, tree, "j")
    assert len(sent(server)) == FILES


def test_a_journal_that_vanishes_during_a_batch_is_a_warning(
    server: RunningServer, tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tree.parent / "state"
    with cosxfer.Client(
        endpoint=server.endpoint, credentials=server.credentials, journal=folder / "journal", file_parallel_limit=2
    ) as client:
        results = client.upload_directory(
            server.bucket, "k", tree, on_file_finish=lambda *_: shutil.rmtree(folder, ignore_errors=True)
        )
    assert all(result.result is not None and result.result.verified for result in results)
    assert caplog.text.count("cannot be used") == 1
    assert not folder.exists()
    objects_are_the_files(server, tree, "k")


def test_two_clients_that_send_the_same_tree_with_one_journal_do_not_disturb_each_other(
    server: RunningServer, tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.set_faults([{"operation": "put_object", "do": "delay", "seconds": 0.02}])
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(upload, server, tree, "l") for _ in range(3)]
    server.set_faults([])
    for call in calls:
        assert all(result.result is not None and result.result.verified for result in call.result())
    assert "another process or client uploads" in caplog.text
    assert "cannot be used" not in caplog.text
    objects_are_the_files(server, tree, "l")
    server.requests(clear=True)
    upload(server, tree, "l")
    assert len(sent(server)) == FILES + 1


def test_two_calls_of_one_client_send_the_same_tree(server: RunningServer, tree: Path) -> None:
    with cosxfer.Client(
        endpoint=server.endpoint, credentials=server.credentials, journal=tree.parent / "journal"
    ) as client:
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(client.upload_directory, server.bucket, "m", tree) for _ in range(2)]
        for call in calls:
            assert all(result.result is not None and result.result.verified for result in call.result())
        server.requests(clear=True)
        client.upload_directory(server.bucket, "m", tree)
    assert len(sent(server)) == FILES + 1
    objects_are_the_files(server, tree, "m")


SENDER = """
import sys, cosxfer
endpoint, secret_id, secret_key, bucket, tree, journal = sys.argv[1:]
with cosxfer.Client(endpoint=endpoint, secret_id=secret_id, secret_key=secret_key, journal=journal) as client:
    client.upload_directory(bucket, "n", tree)
"""


def test_a_second_process_sends_the_same_tree_and_the_first_goes_on_after_its_kill(
    server: RunningServer, tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stalled = {"operation": "put_object", "key": "n/d2/*", "do": "stall"}
    server.set_faults([stalled])
    keys, journal = server.credentials, tree.parent / "journal"
    process = subprocess.Popen(
        [sys.executable, "-c", SENDER, server.endpoint, keys.secret_id, keys.secret_key, server.bucket, tree, journal]
    )
    try:
        finished = Counter[str]()
        while len(finished) < 2 * FILES // 3 + 1:
            assert process.poll() is None
            time.sleep(0.05)
            finished = Counter(
                request["key"]
                for request in server.requests()
                if request["status"] == 200 and request["operation"] in ("put_object", "multipart_complete")
            )
        server.set_faults([])
        results = upload(server, tree, "n")
        assert "another process or client uploads" in caplog.text
        assert all(result.result is not None and not result.result.resumed_bytes for result in results)
    finally:
        process.kill()
        process.wait()
    server.requests(clear=True)
    results = upload(server, tree, "n")
    assert all(result.result is not None and result.result.verified for result in results)
    objects_are_the_files(server, tree, "n")
    server.requests(clear=True)
    upload(server, tree, "n")
    assert len(sent(server)) == FILES + 1


@pytest.mark.deep
def test_many_files_of_which_nearly_all_are_done_cost_no_requests(server: RunningServer, tmp_path: Path) -> None:
    resume_many(server, tmp_path, files=2_000, missing=50)


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_a_hundred_thousand_files(server: RunningServer, tmp_path: Path) -> None:
    resume_many(server, tmp_path, files=100_000, missing=1_000)


def resume_many(server: RunningServer, tmp_path: Path, *, files: int, missing: int) -> None:
    root = tmp_path / "many"
    for folder in range(0, files, 1000):
        (root / f"{folder:06}").mkdir(parents=True)
        for number in range(folder, min(folder + 1000, files)):
            (root / f"{folder:06}" / f"{number}").write_bytes(b"x")
    with cosxfer.Client(
        endpoint=server.endpoint, credentials=server.credentials, journal=tmp_path / "journal"
    ) as client:
        # What an interrupted call leaves: an open batch, and the finished objects.
        session = client._client._session
        journal = journal_of(client.config)
        assert journal is not None
        name = fingerprint("directory", session.config.endpoint, "", server.bucket, "many", str(root))
        number = journal.open_batch(name).result().number
        done = sorted(path for path in root.rglob("*") if path.is_file())[missing:]
        for path in done:
            key = f"many/{path.relative_to(root)}"
            content = finished_content(
                str(path),
                SourceIdentity.of(path.stat()),
                {"content-type": "application/octet-stream"},
                add_md5=False,
            )
            found = FinishedObject(content=content, batch=number, size=1, crc64=1, etag="")
            journal.finished(finished_target(session, session.address(server.bucket, key, None)), found)
        journal.close()
        server.requests(clear=True)
        results = client.upload_directory(server.bucket, "many", root)
        assert sum(result.result is not None and result.result.resumed_bytes == 1 for result in results) == len(done)
        assert len(results) == files
    assert len(server.requests()) == missing
