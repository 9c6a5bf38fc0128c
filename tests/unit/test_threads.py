"""While no thread can be started, every call fails with an error: none waits for ever, and none runs later."""

from __future__ import annotations

import asyncio
import gc
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import pytest

import cosxfer
from cosxfer import threads
from cosxfer.engine.upload.bodies import BodyInput
from cosxfer.limits import MIB
from tests.unit.fake_cos import BUCKET, FakeCos
from tests.unit.files import write

WHY = r"no thread is available, can't start new thread: the process is at its limit of threads or memory"


@contextmanager
def no_more_threads() -> Iterator[None]:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        patch.setattr(threads, "_SHARED", threads.Pool(1, "test"))  # an earlier test may have left an idle thread
        yield


def test_work_that_gets_no_thread_never_runs() -> None:
    done: list[str] = []
    with ThreadPoolExecutor(1) as executor:
        with no_more_threads(), pytest.raises(cosxfer.CosxferError, match=WHY):
            threads.submit(executor, done.append, "first")
        threads.submit(executor, done.append, "second").result()
    assert done == ["second"]


def test_a_busy_thread_does_not_run_refused_work_later() -> None:
    done: list[str] = []
    go_on = threading.Event()
    with ThreadPoolExecutor(2) as executor:
        busy = threads.submit(executor, go_on.wait)
        with no_more_threads(), pytest.raises(cosxfer.CosxferError, match=WHY):
            threads.submit(executor, done.append, "first")
        go_on.set()
        assert busy.result()
    assert done == []


@pytest.mark.parametrize("own", [True, False])
def test_results_of_a_thread_are_delivered_on_the_loop(own: bool) -> None:
    word = ContextVar("word", default="none")

    def said(more: str) -> str:
        if not more:
            raise ValueError("nothing to say")
        return word.get() + more

    async def main() -> None:
        with ThreadPoolExecutor(1) as executor:
            chosen = executor if own else None
            with no_more_threads(), pytest.raises(cosxfer.CosxferError, match=WHY):
                await threads.in_thread(chosen, said, "!")
            word.set("hello")
            assert await threads.in_thread(chosen, said, "!") == "hello!"
            with pytest.raises(ValueError, match="nothing to say"):
                await threads.in_thread(chosen, said, "")

    asyncio.run(main())


def test_an_executor_that_was_shut_down_raises_an_error() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(
        cosxfer.CosxferError, match=r"no thread is available, cannot schedule new futures after shutdown$"
    ):
        threads.submit(executor, print)


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, lambda count: threads.Pool(count, "test")])
def test_waiting_work_of_an_ended_executor_raises_an_error(kind: Callable[[int], Executor]) -> None:
    async def main() -> None:
        executor = kind(1)
        begun, go_on = threading.Event(), threading.Event()
        busy = threads.submit(executor, lambda: begun.set() or go_on.wait())
        begun.wait()
        waiting = threads.in_thread(executor, print)
        cancelled = threads.in_thread(executor, print)
        cancelled.cancel()
        executor.shutdown(wait=False, cancel_futures=True)
        try:
            with pytest.raises(cosxfer.CosxferError, match="the client was closed during the call"):
                await asyncio.wait_for(waiting, timeout=10)
        finally:
            go_on.set()
        assert busy.result()

    asyncio.run(main())


def test_a_pool_starts_threads_on_demand_and_reuses_them() -> None:
    pool = threads.Pool(2, "test")
    together = threading.Barrier(3)
    both = [threads.submit(pool, together.wait) for _ in range(2)]
    together.wait(10)
    assert sorted(future.result() for future in both) != [0, 0]
    used = {threads.submit(pool, threading.current_thread).result() for _ in range(20)}
    assert {thread.name for thread in used} <= {"test_0", "test_1"}
    pool.shutdown(wait=True)
    for thread in used:
        thread.join(10)  # they have left the pool, and are about to end
        assert not thread.is_alive()


def test_the_threads_of_an_unreferenced_pool_end() -> None:
    pool = threads.Pool(1, "forgotten")
    thread = threads.submit(pool, threading.current_thread).result()
    del pool
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["a long body", "a file object", "an iterator"])
def test_a_client_that_is_closed_ends_the_calls_that_wait_for_a_thread(
    cos: FakeCos, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    bodies: dict[str, BodyInput] = {
        "a long body": bytes(MIB),
        "a file object": io.BytesIO(b"x"),
        "an iterator": iter([b"x"]),
    }

    async def main() -> None:
        client = cos.client()
        waits = asyncio.Event()
        executor = client._executor.waiting if kind == "an iterator" else client._executor
        with kept_busy(executor, monkeypatch, waits.set):
            call = asyncio.create_task(client.put_object(BUCKET, "k", bodies[kind]))
            await waits.wait()
            await client.aclose()
            with pytest.raises(cosxfer.TaskCanceledError, match="because the client was closed"):
                await asyncio.wait_for(call, timeout=10)

    asyncio.run(main())
    assert not cos.objects


def test_a_blocking_client_that_is_closed_ends_the_calls_that_wait_for_a_thread(
    cos: FakeCos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "part", 2 * MIB)
    client = cos.blocking_client()
    upload_id = client.multipart_init(BUCKET, "k").upload_id
    waits = threading.Event()
    with ThreadPoolExecutor(1) as callers, kept_busy(client._client._executor, monkeypatch, waits.set):
        call = callers.submit(client.multipart_upload, BUCKET, "k", path, upload_id=upload_id, part_number=1)
        waits.wait()
        client.close()
        with pytest.raises(cosxfer.CosxferError, match="the client was closed during the call"):
            call.result(timeout=10)


@contextmanager
def kept_busy(executor: threads.Pool, monkeypatch: pytest.MonkeyPatch, on_more: Callable[[], None]) -> Iterator[None]:
    """Keep all threads of ``executor`` busy. ``on_more()`` is called when more work has to wait."""
    go_on = threading.Event()
    submit = executor.submit
    begun = threading.Semaphore(0)
    busy = [submit(lambda: begun.release() or go_on.wait()) for _ in range(executor._max_workers)]
    for _ in busy:
        begun.acquire()  # otherwise they would be cancelled with the waiting work

    def noted(work: Callable[[], None]) -> Future[None]:
        on_more()
        return submit(work)

    with monkeypatch.context() as patch:
        patch.setattr(executor, "submit", noted)
        try:
            yield
        finally:
            go_on.set()
    assert all(work.result() for work in busy)


def test_a_client_that_gets_no_loop_thread_raises_each_time_and_works_later(cos: FakeCos) -> None:
    with cos.blocking_client() as client:
        with no_more_threads():
            for call in (client.put_object, client.put_object, client.submit_put_object):
                with pytest.raises(cosxfer.CosxferError, match=WHY):
                    call(BUCKET, "k", b"x")
        assert client.put_object(BUCKET, "k", b"x").etag
    assert cos.operations() == ["put_object"]


def test_a_client_that_never_got_a_thread_can_be_closed(cos: FakeCos) -> None:
    client = cos.blocking_client()
    with no_more_threads():
        with pytest.raises(cosxfer.CosxferError, match=WHY):
            client.head_object(BUCKET, "k")
        with pytest.raises(cosxfer.CosxferError, match=WHY):
            client.close()
    client.close()


def test_a_loop_without_a_file_descriptor_raises_an_error(cos: FakeCos, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_loop() -> asyncio.AbstractEventLoop:
        raise OSError(24, "Too many open files")

    with cos.blocking_client() as client:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "new_event_loop", no_loop)
            with pytest.raises(cosxfer.CosxferError, match="cannot create an event loop: Too many open files"):
                client.put_object(BUCKET, "k", b"x")
        assert client.put_object(BUCKET, "k", b"x").etag


Send = Callable[[cosxfer.AsyncClient, Path, Path], object]
CALLS: dict[str, Send] = {
    "a long body": lambda client, small, large: client.put_object(BUCKET, "k", bytes(MIB)),
    "an iterator": lambda client, small, large: client.put_object(BUCKET, "k", iter([b"x"])),
    "a stream": lambda client, small, large: client.put_object(BUCKET, "k", iter([b"x"]), content_length=1),
    "a path": lambda client, small, large: client.put_object(BUCKET, "k", large),
    "a file object": lambda client, small, large: client.put_object(BUCKET, "k", io.BytesIO(b"x")),
    "an append": lambda client, small, large: client.append_object(BUCKET, "a", bytes(MIB), position=0),
    "a small file": lambda client, small, large: client.upload_file(BUCKET, "k", small),
    "a large file": lambda client, small, large: client.upload_file(BUCKET, "k", large, part_size=MIB),
    "files": lambda client, small, large: client.upload_files([{"bucket": BUCKET, "key": "k", "path": small}]),
    "a directory": lambda client, small, large: client.upload_directory(BUCKET, "k", small.parent),
}


@pytest.mark.parametrize("send", CALLS.values(), ids=CALLS)
def test_a_call_that_gets_no_thread_raises_an_error_and_can_be_repeated(
    cos: FakeCos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, send: Send
) -> None:
    monkeypatch.setattr(
        "cosxfer.engine.upload.opening.FileService", None
    )  # small files need no Python thread with the native service
    small, large = write(tmp_path / "small", 5), write(tmp_path / "large", 2 * MIB)

    async def main() -> None:
        async with cos.client() as client:
            with no_more_threads(), pytest.raises(cosxfer.CosxferError, match=WHY):
                await send(client, small, large)  # type: ignore[misc]
            assert not cos.objects
            assert not cos.uploads
            assert await send(client, small, large)  # type: ignore[misc]
            assert cos.objects

    asyncio.run(main())


def test_slow_bodies_delay_no_other_call(cos: FakeCos, tmp_path: Path) -> None:
    path = write(tmp_path / "f", 5)
    go_on = threading.Event()
    begun = threading.Semaphore(0)

    def slow() -> Iterator[bytes]:
        begun.release()
        go_on.wait()
        yield b"slow"

    async def main() -> None:
        async with cos.client() as client:
            # More than the number of threads in an event loop's default executor.
            puts = [asyncio.create_task(client.put_object(BUCKET, f"slow {n}", slow())) for n in range(40)]
            try:
                async with asyncio.timeout(30):
                    await client.put_object(BUCKET, "iterator", iter([b"x"]))
                    await client.put_object(BUCKET, "stream", iter([b"x"]), content_length=1)
                    await client.put_object(BUCKET, "path", path)
                    await client.upload_files([{"bucket": BUCKET, "key": "file", "path": path}])
                    assert await asyncio.to_thread(len, "the loop has threads") == 20
                    for _ in puts:
                        await asyncio.to_thread(begun.acquire)
            finally:
                go_on.set()
            assert set(cos.objects) == {"iterator", "stream", "path", "file"}
            await asyncio.gather(*puts)

    asyncio.run(main())
    assert len(cos.objects) == 44


def test_a_body_may_download_with_the_same_client(cos: FakeCos) -> None:
    with cos.blocking_client() as client:
        for n in range(3):
            client.put_object(BUCKET, f"piece {n}", f"{n};".encode())
        client.put_object(BUCKET, "all", (client.get_object(BUCKET, f"piece {n}").body for n in range(3)))
        assert client.get_object(BUCKET, "all").body == b"0;1;2;"
