"""put_object always creates a task and always sends at once."""

from __future__ import annotations

import asyncio
import gc
import io
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.engine.upload.digests import SMALL_BYTES
from tests.unit.fake_cos import BUCKET, FakeCos, refuse
from tests.unit.files import write
from tests.unit.tasks.gate import Gate
from tests.unit.tasks.uploads import run

COUNT = 10


@pytest.fixture(params=["bytes", "long", "text", "path", "file", "iterator", "asynchronous"])
def body(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"

    path = write(tmp_path / "body", 3)
    bodies: dict[str, Callable[[], Any]] = {
        "bytes": lambda: b"abc",
        "long": lambda: bytes(SMALL_BYTES + 1),
        "text": lambda: "abc",
        "path": lambda: path,
        "file": lambda: io.BytesIO(b"abc"),
        "iterator": lambda: iter([b"abc"]),
        "asynchronous": pieces,
    }
    return bodies[request.param]


OPTIONS: list[dict[str, Any]] = [
    {},
    {"on_task_ready": lambda task_id: None},
    {"on_progress": lambda progress: None},
    {"content_length": 3},
    {"metadata": {"a": "b"}},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options), "none"))
def test_all_calls_send_at_once_and_each_is_a_task(
    cos: FakeCos, gate: Gate, body: Callable[[], Any], options: dict[str, Any]
) -> None:
    if "content_length" in options:
        options = {"content_length": len(bytes(body()))} if isinstance(body(), bytes) else options
    cos.fault("put_object", gate, times=COUNT)
    changes: list[tuple[str, str]] = []

    async def main() -> None:
        async with cos.client(file_parallel_limit=1) as client:
            client.on("list-update", lambda event: changes.append((event.task.task_id, event.task.state)))
            calls = [asyncio.create_task(client.put_object(BUCKET, f"k{n}", body(), **options)) for n in range(COUNT)]
            await gate.come(COUNT)
            infos = client.get_task_list()
            assert [info.state for info in infos] == ["uploading"] * COUNT
            assert {info.key for info in infos} == {f"k{n}" for n in range(COUNT)}
            gate.open()
            await asyncio.gather(*calls)
            infos = client.get_task_list()
            assert [(info.state, info.loaded, info.percent) for info in infos] == [
                ("success", infos[0].total, 1.0)
            ] * 10
            assert infos[0].total == len(cos.objects["k0"].content)

    run(main())
    for task_id in {task_id for task_id, _ in changes}:
        states = [state for changed, state in changes if changed == task_id]
        assert list(dict.fromkeys(states)) == ["waiting", "checking", "uploading", "success"]
    assert len({task_id for task_id, _ in changes}) == COUNT


@pytest.mark.parametrize("announced", [True, False])
def test_calls_from_threads_do_not_wait_either(cos: FakeCos, gate: Gate, announced: bool) -> None:
    cos.fault("put_object", gate, times=COUNT)
    ids: list[tuple[int, str]] = []
    with cos.blocking_client() as client:

        def put(number: int) -> None:
            options: dict[str, Any] = {}
            if announced:
                options["on_task_ready"] = lambda task_id: ids.append((threading.get_ident(), task_id))
            client.put_object(BUCKET, f"k{number}", b"abc", **options)

        threads = [threading.Thread(target=put, args=(number,)) for number in range(COUNT)]
        for thread in threads:
            thread.start()
        for _ in threads:
            gate.wait()
        listed = client.get_task_list()
        assert [info.state for info in listed] == ["uploading"] * COUNT
        if announced:
            assert {ident for ident, _ in ids} == {thread.ident for thread in threads}
            assert {task_id for _, task_id in ids} == {info.task_id for info in listed}
        gate.open()
        for thread in threads:
            thread.join()


def test_submit_put_object_waits_for_a_slot(cos: FakeCos, gate: Gate) -> None:
    cos.fault("put_object", gate, times=COUNT)

    async def main() -> None:
        async with cos.client(file_parallel_limit=2) as client:
            tasks = [client.submit_put_object(BUCKET, f"k{n}", b"abc") for n in range(COUNT)]
            await gate.come(2)
            assert [task.state for task in tasks] == ["uploading"] * 2 + ["waiting"] * (COUNT - 2)
            gate.open()
            for task in tasks:
                await task

    run(main())
    assert gate.most == 2


def test_put_object_inside_another_upload_needs_no_slot(cos: FakeCos) -> None:
    """A body that uploads another object would deadlock in a queue."""
    with cos.blocking_client(file_parallel_limit=1) as client:

        def pieces() -> Iterator[bytes]:
            client.put_object(BUCKET, "first", b"abc")
            yield b"def"

        client.submit_put_object(BUCKET, "second", pieces()).result(60)
        done = threading.Event()

        def report(progress: cosxfer.Progress) -> None:
            client.put_object(BUCKET, "from a callback", b"ghi")
            done.set()

        client.put_object(BUCKET, "third", b"abc", on_progress=report)
        assert done.wait(60)
    assert set(cos.objects) == {"first", "second", "third", "from a callback"}


# -- paused and cancelled ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocking", [True, False])
def test_a_paused_put_waits_until_it_is_restarted(cos: FakeCos, gate: Gate, blocking: bool) -> None:
    cos.fault("put_object", gate)
    with cos.blocking_client() as client:
        results: list[cosxfer.PutObjectResult] = []
        ids: list[str] = []
        options: dict[str, Any] = {"on_task_ready": ids.append} if blocking else {}
        thread = threading.Thread(target=lambda: results.append(client.put_object(BUCKET, "k", b"abc", **options)))
        thread.start()
        gate.wait()
        [info] = client.get_task_list()
        assert client.pause_task(info.task_id)
        assert gate.cut == 1
        assert client.get_task_list()[0].state == "paused"
        thread.join(0.05)
        assert thread.is_alive()
        assert client.restart_task(info.task_id)
        thread.join(60)
        assert results[0].etag
        assert client.get_task_list()[0].state == "success"


def test_a_cancelled_put_raises(cos: FakeCos, gate: Gate) -> None:
    cos.fault("put_object", gate)

    async def main() -> None:
        async with cos.client() as client:
            call = asyncio.create_task(client.put_object(BUCKET, "k", b"abc"))
            await gate.come()
            [info] = client.get_task_list()
            assert await client.cancel_task(info.task_id)
            with pytest.raises(cosxfer.TaskCanceledError):
                await call
            assert call.cancelling() == 0

    run(main())
    assert not cos.objects


def test_cancelling_the_caller_cancels_the_task(cos: FakeCos, gate: Gate) -> None:
    cos.fault("put_object", gate, times=2)

    async def main() -> None:
        async with cos.client() as client:
            call = asyncio.create_task(client.put_object(BUCKET, "k", b"abc"))
            await gate.come()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await client.put_object(BUCKET, "k", b"abc")
            assert [info.state for info in client.get_task_list()] == ["canceled", "canceled"]

    run(main())


def test_cancelling_both_caller_and_task_is_not_lost(cos: FakeCos, gate: Gate) -> None:
    cos.fault("put_object", gate)

    async def main() -> None:
        async with cos.client() as client:
            call = asyncio.create_task(client.put_object(BUCKET, "k", b"abc"))
            await gate.come()
            [info] = client.get_task_list()
            client._transfers.queue.pause(client._transfers.queue.get(info.task_id))
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    run(main())


def test_a_late_pause_does_not_cancel_the_callers_next_step(cos: FakeCos) -> None:
    async def main() -> None:
        async with cos.client() as client:
            queue = client._transfers.queue
            record = None

            def too_late(request: Any, proceed: Any) -> Any:
                nonlocal record
                [info] = client.get_task_list()
                record = queue.get(info.task_id)
                response = proceed()
                assert queue.pause(record)  # its step on the loop runs after the job has finished
                return response

            cos.fault("put_object", too_late)

            async def call() -> int:
                await client.put_object(BUCKET, "k", b"abc")
                for _ in range(10):
                    await asyncio.sleep(0)
                return 1

            calling = asyncio.create_task(call())
            while record is None or not record.quiet:  # noqa: ASYNC110 (nothing tells of it)
                await asyncio.sleep(0)
            assert record.state == "paused"
            assert queue.restart(record)
            assert await calling == 1

    run(main())


def test_on_task_ready_may_pause_the_task_before_it_begins(cos: FakeCos) -> None:
    with cos.blocking_client() as client:
        ids: list[str] = []

        def ready(task_id: str) -> None:
            ids.append(task_id)
            client.pause_task(task_id)

        thread = threading.Thread(target=lambda: client.put_object(BUCKET, "k", b"abc", on_task_ready=ready))
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
        assert not cos.calls
        client.restart_task(ids[0])
        thread.join(60)
    assert cos.objects["k"].content == b"abc"


# -- errors ------------------------------------------------------------------------------------------------------------


def test_an_error_is_raised_and_kept_in_the_list(cos: FakeCos, body: Callable[[], Any]) -> None:
    cos.fault("put_object", refuse(403, "AccessDenied"))
    with cos.blocking_client() as client:
        with pytest.raises(cosxfer.AccessDeniedError) as caught:
            client.put_object(BUCKET, "k", body())
        [info] = client.get_task_list()
        assert info.state == "error"
        assert str(info.error) == str(caught.value)
        assert client.cancel_task(info.task_id)


def test_a_body_in_memory_is_kept_only_if_the_caller_has_the_task_id(cos: FakeCos, tmp_path: Path) -> None:
    cos.fault("put_object", refuse(403, "AccessDenied"), times=3)
    with cos.blocking_client() as client:
        for body, options in (
            (b"abc", {}),
            (b"abc", {"on_task_ready": lambda task_id: None}),
            (write(tmp_path / "f", 3), {}),
        ):
            with pytest.raises(cosxfer.AccessDeniedError):
                client.put_object(BUCKET, "k", body, **options)  # type: ignore[arg-type]
        first, *others = client.get_task_list()
        with pytest.raises(cosxfer.UsageError, match="does not keep a body in memory"):
            client.restart_task(first.task_id)
        for info in others:
            assert client.restart_task(info.task_id)
            client._task(info.task_id).result(60)


def test_a_finished_put_keeps_only_its_record(cos: FakeCos) -> None:
    class Body(bytearray):
        pass

    async def main() -> None:
        async with cos.client() as client:
            for failing in (False, True):
                if failing:
                    cos.fault("put_object", refuse(403, "AccessDenied"))
                body = Body(b"abc")
                held = weakref.ref(body)
                try:
                    await client.put_object(BUCKET, "k", body)
                except cosxfer.AccessDeniedError:
                    assert failing
                del body
                cos.calls.clear()
                client._session.transport.requests.clear()  # type: ignore[attr-defined]
                gc.collect()
                assert held() is None
            assert not [each for each in gc.get_objects() if isinstance(each, cosxfer.PutObjectResult)]
            assert [info.state for info in client.get_task_list()] == ["success", "error"]

    run(main())
