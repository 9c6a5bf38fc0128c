"""Tasks against an in-memory COS: submitting, callbacks, events, bodies, loops, threads and processes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.tasks import downloads
from tests.unit.fake_cos import BUCKET, FakeCos, lose_response
from tests.unit.files import content_of, write
from tests.unit.tasks.gate import Gate
from tests.unit.tasks.uploads import SIZE, run, submit

# -- submit ------------------------------------------------------------------------------------------------------------


def test_submitting_returns_at_once_with_the_result_to_follow(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, times=2)

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, path)
            assert (task.state, task.loaded, task.total) == ("waiting", 0, 0)  # the loop does not read the file's size
            assert not cos.calls
            await gate.come(2)
            assert task.state == "uploading"
            gate.open()
            result = await task
            assert result.verified
            assert (task.state, task.loaded, task.total, task.hash_loaded) == ("success", SIZE, SIZE, SIZE)
            assert await task.result() is result

    run(main())
    assert cos.objects["k"].content == content_of(SIZE)


def test_waiting_for_a_result_can_time_out_and_be_repeated(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, times=9)

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, path)
            with pytest.raises(TimeoutError):
                await task.result(timeout=0.01)
            gate.open()
            assert (await task.result(timeout=30)).verified
            assert (await task.result(timeout=float("inf"))).verified

    run(main())


def test_a_timeout_names_the_task_and_its_progress(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, part=2)

    async def main() -> None:
        async with cos.client() as client:
            task = client.submit_upload_file(BUCKET, "k", path, part_size=MIB, async_limit=1)
            await gate.come()
            with pytest.raises(cosxfer.TaskTimeoutError) as caught:
                await task.result(timeout=0)
            assert caught.value.unfinished == {task.task_id: "uploading"}
            assert str(caught.value) == (
                f"the transfer of {path} to {BUCKET}/k (task {task.task_id}) has not ended in 0 s: "
                f"it is uploading, with {task.loaded} of {SIZE} bytes done. It goes on"
            )
            assert caught.value.__suppress_context__
            gate.open()
            assert (await task).verified

    run(main())
    for expected in (TimeoutError, concurrent.futures.TimeoutError, asyncio.TimeoutError, cosxfer.CosxferError):
        assert issubclass(cosxfer.TaskTimeoutError, expected)


def test_a_timeout_of_many_files_says_how_many_are_unfinished(cos: FakeCos, tmp_path: Path, gate: Gate) -> None:
    cos.fault("put_object", gate, times=99)
    files: list[cosxfer.FileUpload] = [
        {"bucket": BUCKET, "key": key, "path": write(tmp_path / key, 5)} for key in "abcde"
    ]
    message = "5 of 5 files have not ended in 0 s: 3 uploading, 2 waiting. They go on"
    with cos.blocking_client(file_parallel_limit=3) as client:
        batch = client.submit_upload_files(files)
        for _ in range(3):
            gate.wait()
        with pytest.raises(cosxfer.TaskTimeoutError) as caught:
            batch.result(timeout=0)
        assert str(caught.value) == message
        assert list(caught.value.unfinished) == [task.task_id for task in batch.tasks]
        gate.open()
        assert all(result.error is None for result in batch.result(float("inf")))

    async def main() -> None:
        async with cos.client(file_parallel_limit=3) as client:
            batch = client.submit_upload_files(files)
            await gate.come(3)
            with pytest.raises(cosxfer.TaskTimeoutError) as caught:
                await batch.result(timeout=0)
            assert str(caught.value) == message
            gate.open()
            await batch.result()

    gate = Gate()
    cos.faults.clear()
    cos.fault("put_object", gate, times=99)
    run(main())


@pytest.mark.parametrize("timeout", ["1", True, b"1", [1], float("nan")])
def test_a_timeout_that_is_no_number_is_refused(cos: FakeCos, path: Path, timeout: Any) -> None:
    with cos.blocking_client() as client:
        task = client.submit_upload_file(BUCKET, "k", path)
        batch = client.submit_upload_files([])
        for wait in (task.result, batch.result):
            with pytest.raises(cosxfer.UsageError, match="it must be a number of seconds, or None"):
                wait(timeout)
        task.result()


def test_repeated_timeouts_leave_no_waiter_behind(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, times=9)
    with cos.blocking_client() as client:
        task = client.submit_upload_file(BUCKET, "k", path, part_size=MIB)
        for _ in range(50):
            with pytest.raises(TimeoutError):
                task.result(timeout=0)
        assert len(task._record.waiters or ()) == 1
        gate.open()
        assert task.result(timeout=30).verified


def test_cancelling_the_wait_for_a_result_does_not_cancel_the_task(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, times=9)

    async def main() -> None:
        async with cos.client() as client:
            task = submit(client, path)
            waiting = asyncio.ensure_future(task.result())
            await gate.come()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            gate.open()
            assert (await task).verified

    run(main())


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda c, p: c.submit_upload_file("nonsense", "k", p), "bucket"),
        (lambda c, p: c.submit_upload_file(BUCKET, "", p), "key"),
        (lambda c, p: c.submit_upload_file(BUCKET, "k", None), "path"),
        (lambda c, p: c.submit_upload_file(BUCKET, "k", p, slice_size=-1), "slice_size"),
        (lambda c, p: c.submit_upload_file(BUCKET, "k", p, part_size=5), "part_size"),
        (lambda c, p: c.submit_upload_file(BUCKET, "k", p, async_limit=0), "async_limit"),
        (lambda c, p: c.submit_upload_file(BUCKET, "k", p, nonsense=0), "nonsense"),
        (lambda c, p: c.submit_slice_upload_file(BUCKET, "k", p, slice_size=5), "slice_size"),
        (lambda c, p: c.submit_slice_upload_file(BUCKET, "k", p, part_size=MIB), "part_size"),
        (lambda c, p: c.submit_put_object(BUCKET, "k", p, content_md5="no"), "content_md5"),
        (lambda c, p: c.on("list-updates", print), "event"),
        (lambda c, p: c.off("list-updates", print), "event"),
    ],
)
def test_an_invalid_call_is_refused_at_once_and_creates_no_task(cos: FakeCos, path: Path, call: Any, name: str) -> None:
    with cos.blocking_client() as client:
        with pytest.raises(cosxfer.UsageError) as caught:
            call(client, path)
        assert caught.value.name == name
        assert client.get_task_list() == []
    assert not cos.calls


def test_the_list_shows_every_task_in_the_order_of_submission(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, times=99)
    with cos.blocking_client(file_parallel_limit=1) as client:
        ids = [client.submit_upload_file(BUCKET, f"k{n}", path, part_size=MIB).task_id for n in range(5)]
        gate.wait()
        infos = client.get_task_list()
        assert [info.task_id for info in infos] == ids
        assert [info.state for info in infos] == ["uploading"] + 4 * ["waiting"]
        assert (infos[1].bucket, infos[1].key, infos[1].path, infos[1].total) == (BUCKET, "k1", str(path), SIZE)
        gate.open()


def test_tasks_that_have_ended_leave_the_list_and_keep_their_result(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "f", 10)
    with cos.blocking_client(max_finished_tasks=3, file_parallel_limit=1) as client:
        tasks = [client.submit_upload_file(BUCKET, f"k{n}", path) for n in range(8)]
        assert all(task.result().verified for task in tasks)
        assert [info.key for info in client.get_task_list()] == ["k5", "k6", "k7"]
        with pytest.raises(cosxfer.UsageError, match="there is no task"):
            client.pause_task(tasks[0].task_id)
        assert client.clear_finished_tasks() == 3
        assert client.get_task_list() == []
        assert tasks[0].result().verified


def test_files_and_parts_in_flight_are_bounded_by_the_product_of_both_limits(cos: FakeCos, path: Path) -> None:
    gate = Gate()
    cos.fault("multipart_upload", gate, times=999)

    async def main() -> None:
        async with cos.client(file_parallel_limit=3, concurrency=2) as client:
            tasks = [client.submit_upload_file(BUCKET, f"k{n}", path, part_size=MIB) for n in range(10)]
            await gate.come(6)
            # As many as allowed are running and wait at the gate; no other request is being sent.
            assert [task.state for task in tasks] == 3 * ["uploading"] + 7 * ["waiting"]
            assert gate.inside == 6
            gate.open()
            for task in tasks:
                await task

    run(main())
    assert gate.most == 6


# -- callbacks and events ----------------------------------------------------------------------------------------------


def test_the_id_can_be_used_in_on_task_ready_before_anything_is_sent(cos: FakeCos, path: Path) -> None:
    with cos.blocking_client() as client:

        def hold(task_id: str) -> None:
            assert not cos.calls
            assert client.pause_task(task_id)

        task = client.submit_upload_file(BUCKET, "k", path, on_task_ready=hold)
        assert task.state == "paused"
        assert not cos.calls
        task.restart()
        assert task.result().verified

        with pytest.raises(cosxfer.TaskCanceledError):
            client.upload_file(BUCKET, "other", path, on_task_ready=client.cancel_task)
    assert "other" not in cos.objects


def test_on_task_ready_is_called_in_the_callers_own_thread(cos: FakeCos, path: Path) -> None:
    seen: list[threading.Thread] = []
    with cos.blocking_client() as client:
        client.upload_file(BUCKET, "k", path, on_task_ready=lambda _: seen.append(threading.current_thread()))
    assert seen == [threading.current_thread()]


def test_events_report_every_change_in_order(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, part=3)
    events: list[cosxfer.TaskEvent] = []
    with cos.blocking_client(max_finished_tasks=0) as client:
        client.on("list-update", events.append)
        task = client.submit_upload_file(BUCKET, "k", path, part_size=MIB, async_limit=1)
        gate.wait()
        task.pause()
        task.restart()
        task.result()
    numbers = [event.sequence for event in events]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {event.task.task_id for event in events} == {task.task_id}
    steps = [(event.change, event.previous, event.task.state) for event in events if event.change != "progress"]
    assert steps == [
        ("added", None, "waiting"),
        ("state", "waiting", "checking"),
        ("state", "checking", "uploading"),
        ("state", "uploading", "paused"),
        ("state", "paused", "waiting"),
        ("state", "waiting", "checking"),
        ("state", "checking", "uploading"),
        ("state", "uploading", "success"),
        ("removed", None, "success"),
    ]
    last = events[-1].task
    assert (last.loaded, last.total, last.percent, last.hash_percent, last.error) == (SIZE, SIZE, 1.0, 1.0, None)


def test_after_off_a_listener_is_not_called(cos: FakeCos, path: Path) -> None:
    first: list[object] = []
    second: list[object] = []
    with cos.blocking_client() as client:
        client.on("list-update", first.append)
        client.on("list-update", second.append)
        client.off("list-update", first.append)
        client.upload_file(BUCKET, "k", path)
        client.off("list-update")
        told = client._client._transfers.queue.dispatcher.delivered()
        if told is not None:
            told.result(30)
        count = len(second)
        client.upload_file(BUCKET, "k", path)
    assert not first
    assert count == len(second) > 0


def test_events_before_off_are_still_delivered(cos: FakeCos, path: Path) -> None:
    go_on, told = threading.Event(), threading.Event()

    def slow(event: cosxfer.TaskEvent) -> None:
        assert go_on.wait(30)
        if event.task.state == "success":
            told.set()

    with cos.blocking_client() as client:
        client.on("list-update", slow)
        client.upload_file(BUCKET, "k", path)
        client.off("list-update", slow)
        go_on.set()
        assert told.wait(30)


def test_a_callback_that_never_returns_stalls_no_transfer(
    cos: FakeCos, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cosxfer.tasks.task.DELIVERY_SECONDS", 0.05)
    monkeypatch.setattr("cosxfer.tasks.transfers.DELIVERY_SECONDS", 0.05)
    stuck = threading.Event()
    with cos.blocking_client() as client:
        client.on("list-update", lambda _: stuck.wait())
        for number in range(10):
            key = f"k{number}"
            assert client.upload_file(BUCKET, key, path, part_size=MIB, on_progress=lambda _: None).verified
    stuck.set()


def test_a_raising_listener_stops_neither_uploads_nor_other_listeners(
    cos: FakeCos, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[cosxfer.TaskEvent] = []

    def broken(_: object) -> None:
        raise ValueError("mine")

    with cos.blocking_client() as client:
        client.on("list-update", broken)
        client.on("list-update", seen.append)
        assert client.upload_file(BUCKET, "k", path).verified
    assert seen[-1].task.state == "success"
    assert "mine" in caplog.text


def test_the_last_report_is_delivered_before_the_result(cos: FakeCos, path: Path) -> None:
    sending: list[cosxfer.Progress] = []
    hashing: list[cosxfer.Progress] = []
    with cos.blocking_client() as client:
        client.upload_file(BUCKET, "k", path, on_progress=sending.append, on_hash_progress=hashing.append)
        assert (sending[0].loaded, sending[-1].loaded) == (0, SIZE)
        assert (hashing[0].loaded, hashing[-1].loaded) == (0, SIZE)


def test_progress_after_a_restart_begins_with_the_kept_parts(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, part=4)
    reports: list[cosxfer.Progress] = []
    with cos.blocking_client() as client:
        task = client.submit_upload_file(BUCKET, "k", path, part_size=MIB, async_limit=1, on_progress=reports.append)
        gate.wait()
        task.pause()
        told = client._client._transfers.queue.dispatcher.delivered()
        if told is not None:
            told.result(30)
        before = len(reports)
        task.restart()
        task.result()
    assert reports[before].loaded == 3 * MIB
    assert reports[-1].loaded == SIZE


# -- bodies ------------------------------------------------------------------------------------------------------------


def test_putting_a_path_is_a_task(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "f", 1000)
    ids: list[str] = []
    with cos.blocking_client() as client:
        result = client.put_object(BUCKET, "k", path, on_task_ready=ids.append)
        [info] = client.get_task_list()
        assert (info.task_id, info.state, info.path, info.loaded) == (ids[0], "success", str(path), 1000)
        client.put_object(BUCKET, "other", b"abc")
        assert len(client.get_task_list()) == 2
        assert client.submit_put_object(BUCKET, "third", "text").result().etag
    assert result.etag == cos.objects["k"].etag
    assert cos.objects["third"].content == b"text"


def test_a_body_that_can_be_read_only_once_cannot_be_paused(cos: FakeCos, gate: Gate) -> None:
    cos.fault("put_object", gate)
    with cos.blocking_client() as client:
        task = client.submit_put_object(BUCKET, "k", iter([b"abc", b"def"]))
        gate.wait()
        with pytest.raises(cosxfer.UsageError, match="only once"):
            task.pause()
        assert task.state == "uploading"
        gate.open()
        task.result()
    assert cos.objects["k"].content == b"abcdef"


# -- loops, threads, processes -----------------------------------------------------------------------------------------


def test_a_client_on_another_event_loop_is_an_error(cos: FakeCos, path: Path) -> None:
    client = cos.client()

    async def use() -> None:
        await client.put_object(BUCKET, "k", b"x")

    async def again() -> None:
        for call in (lambda: client.head_object(BUCKET, "k"), lambda: client.upload_file(BUCKET, "k", path)):
            with pytest.raises(cosxfer.CosxferError, match="another event loop"):
                await call()
        with pytest.raises(cosxfer.CosxferError, match="another event loop"):
            client.submit_upload_file(BUCKET, "k", path)

    run(use())
    run(again())
    run(client.aclose())
    assert len(cos.calls) == 1


def test_an_async_client_without_an_event_loop_is_an_error(cos: FakeCos, path: Path) -> None:
    with pytest.raises(cosxfer.CosxferError, match="from its event loop only"):
        cos.client().submit_upload_file(BUCKET, "k", path)


def test_each_event_loop_may_have_its_own_client(cos: FakeCos, path: Path) -> None:
    def work(number: int) -> None:
        async def main() -> None:
            async with FakeCos.client(cos) as client:
                assert (await client.upload_file(BUCKET, f"k{number}", path, part_size=MIB)).verified

        run(main())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(cos.objects) == {f"k{number}" for number in range(4)}


def test_the_blocking_client_works_while_an_event_loop_runs_in_this_thread(cos: FakeCos, path: Path) -> None:
    async def cell() -> None:
        with cos.blocking_client() as client:
            assert client.upload_file(BUCKET, "k", path, part_size=MIB).verified

    run(cell())


def test_after_a_fork_every_call_of_the_queue_raises_and_none_hangs(cos: FakeCos, path: Path, gate: Gate) -> None:
    cos.fault("multipart_upload", gate, times=9)
    client = cos.blocking_client()
    task = client.submit_upload_file(BUCKET, "k", path, part_size=MIB)
    gate.wait()
    calls = [
        lambda: client.submit_upload_file(BUCKET, "k", path),
        lambda: client.upload_file(BUCKET, "k", path),
        lambda: client.upload_files([]),
        client.get_task_list,
        client.clear_finished_tasks,
        lambda: client.pause_task(task.task_id),
        lambda: client.on("list-update", print),
        lambda: client.head_object(BUCKET, "k"),
        task.result,
        task.pause,
        task.restart,
        task.cancel,
    ]
    reading, writing = os.pipe()
    # Simulate a fork while another thread holds these locks; nothing releases them in the child.
    locks = [client._client._transfers.queue._board.lock, client._loop._lock]
    for lock in locks:
        lock.acquire()
    child = os.fork()
    if child == 0:
        told = 0
        try:
            for call in calls:
                try:
                    call()
                except cosxfer.CosxferError as error:
                    told += "forked" in str(error)
            client.close()
        finally:
            os.write(writing, str(told).encode())
            os._exit(0)
    for lock in locks:
        lock.release()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == str(len(calls)).encode()
    os.waitpid(child, 0)
    gate.open()
    assert task.result(30).verified
    client.close()


def test_a_task_continues_if_its_client_is_unreferenced(cos: FakeCos, path: Path) -> None:
    task = cos.blocking_client().submit_upload_file(BUCKET, "k", path, part_size=MIB)
    assert task.result(30).verified


def test_a_lost_response_to_complete_is_still_resolved(cos: FakeCos, path: Path) -> None:
    cos.fault("multipart_complete", lose_response)
    with cos.blocking_client() as client:
        assert client.submit_upload_file(BUCKET, "k", path, part_size=MIB).result().verified


def test_threads_that_ask_for_the_downloads_at_once_get_the_same(cos: FakeCos, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[downloads.Downloads] = []

    class Slow(downloads.Downloads):
        def __init__(self, *given: Any) -> None:
            made.append(self)
            time.sleep(0.2)  # another thread would get here now
            super().__init__(*given)

    monkeypatch.setattr(downloads, "Downloads", Slow)
    transfers = cos.client()._transfers
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: transfers.downloads, range(4)))
    assert found == made * 4
