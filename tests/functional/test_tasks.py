"""The task queue against the embedded server over real sockets, and at the end of a process."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import cosxfer
from cosxfer.config import HttpVersion
from cosxfer.limits import KIB, MIB
from cosxfer.server import RunningServer, running
from tests.unit.tasks.slots import Slots
from tests.waiting import until

VERSIONS: tuple[HttpVersion, ...] = ("1.1", "2")


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningServer]:
    with running() as server:
        yield server


@pytest.fixture
def server(shared: RunningServer) -> Iterator[RunningServer]:
    shared.requests(clear=True)
    yield shared
    shared.set_faults([])


def settings(server: RunningServer, **more: object) -> dict[str, object]:
    return {"endpoint": server.endpoint, "credentials": server.credentials, **more}


def blocking(server: RunningServer, **more: object) -> cosxfer.Client:
    return cosxfer.Client(**settings(server, **more))  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "f"
    path.write_bytes(random.Random(5).randbytes(12 * MIB + 345))
    return path


def parts(server: RunningServer, status: int = 200) -> list[int]:
    asked = server.requests()
    return sorted(r["part"] for r in asked if r["operation"] == "multipart_upload" and r["status"] == status)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_pause_stops_the_traffic_and_a_restart_sends_what_is_missing(
    server: RunningServer, path: Path, version: HttpVersion
) -> None:
    bucket = server.bucket
    server.set_faults([{"operation": "multipart_upload", "part": [6, 7], "do": "delay", "seconds": 60}])
    with blocking(server, http_version=version) as client:
        task = client.submit_slice_upload_file(bucket, f"pause-{version}", path, slice_size=MIB, async_limit=2)
        until(lambda: len(parts(server)) == 5)
        began = time.monotonic()
        assert task.pause()
        assert time.monotonic() - began < 20
        assert task.state == "paused"
        [upload] = client.multipart_list(bucket).uploads
        listed = client.multipart_list_part(bucket, f"pause-{version}", upload_id=upload.upload_id).parts
        assert [part.part_number for part in listed] == [1, 2, 3, 4, 5]
        # The responses to the last two parts may not have arrived, although the server has the parts.
        assert task.loaded // MIB >= 3
        server.set_faults([])
        assert task.restart()
        result = task.result(60)
        assert result.verified
        assert parts(server) == list(range(1, 14))
        assert client.get_object(bucket, f"pause-{version}").body == path.read_bytes()
        assert not client.multipart_list(bucket).uploads


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cancel_leaves_nothing_or_keeps_the_parts(server: RunningServer, path: Path, version: HttpVersion) -> None:
    bucket = server.bucket
    server.set_faults([{"operation": "multipart_upload", "part": 4, "do": "delay", "seconds": 60}])
    with blocking(server, http_version=version) as client:
        for abort in (True, False):
            task = client.submit_slice_upload_file(bucket, "cancelled", path, slice_size=MIB, async_limit=1)
            until(lambda: len(parts(server)) == 3)
            assert task.cancel(abort=abort)
            with pytest.raises(cosxfer.TaskCanceledError) as caught:
                task.result()
            assert len(client.multipart_list(bucket).uploads) == (not abort)
            server.requests(clear=True)
        client.multipart_abort(bucket, "cancelled", upload_id=caught.value.upload_id)
        with pytest.raises(cosxfer.NotFoundError):
            client.head_object(bucket, "cancelled")


def test_a_failed_upload_resumes_from_the_kept_parts(server: RunningServer, path: Path) -> None:
    bucket = server.bucket
    server.set_faults(
        [{"operation": "multipart_upload", "part": 9, "do": "error", "status": 403, "code": "AccessDenied"}]
    )
    with blocking(server) as client:
        task = client.submit_slice_upload_file(
            bucket, "failed", path, slice_size=MIB, async_limit=2, abort_on_failure=False
        )
        with pytest.raises(cosxfer.UploadError, match="AccessDenied"):
            task.result(60)
        before = Counter(parts(server))
        server.set_faults([])
        assert client.restart_task(task.task_id)
        assert task.result(60).verified
        again = set(Counter(parts(server)) - before)
        assert again >= set(range(1, 14)) - set(before)
        # Another part may have been in flight when part 9 failed. It is sent again if its response was lost.
        assert len(again & set(before) - {9}) <= 1
        assert client.get_object(bucket, "failed").body == path.read_bytes()


def test_cancelling_an_asyncio_task_cancels_the_upload(server: RunningServer, path: Path) -> None:
    server.set_faults([{"operation": "multipart_upload", "part": 4, "do": "delay", "seconds": 60}])

    async def main() -> None:
        async with cosxfer.AsyncClient(**settings(server)) as client:  # type: ignore[arg-type]
            call = asyncio.ensure_future(
                client.slice_upload_file(server.bucket, "asyncio", path, slice_size=MIB, async_limit=1)
            )
            await asyncio.to_thread(until, lambda: len(parts(server)) == 3)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert not (await client.multipart_list(server.bucket)).uploads

    asyncio.run(main())


def test_a_tree_with_an_unreadable_file_is_uploaded_without_it(server: RunningServer, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    (root / "deep").mkdir(parents=True)
    contents = {"a b+c%.txt": b"", "deep/ü?#.bin": b"x" * (2 * MIB), "deep/..b": b"y" * 17}
    for name, content in contents.items():
        (root / name).write_bytes(content)
    (root / "deep" / "broken").symlink_to("nowhere")
    reports: list[cosxfer.Progress] = []
    with blocking(server) as client:
        results = client.upload_directory(server.bucket, "tree/", root, part_size=MIB, on_progress=reports.append)
        assert [result.options["key"] for result in results if result.error] == ["tree/deep/broken"]
        for name, content in contents.items():
            assert client.get_object(server.bucket, f"tree/{name}").body == content
    assert reports[-1].loaded == sum(map(len, contents.values()))


@pytest.mark.parametrize(
    ("count", "slots"),
    [(300, 3), *(pytest.param(*case, marks=pytest.mark.deep) for case in ((1000, 1), (1000, 3), (10_000, 3)))],
)
def test_many_small_files_all_arrive_in_the_order_of_their_slots(
    server: RunningServer, tmp_path: Path, count: int, slots: int
) -> None:
    path = tmp_path / "small"
    path.write_bytes(random.Random(7).randbytes(4 * KIB))
    seen = Slots(slots)
    with blocking(server, file_parallel_limit=slots) as client:
        client.on("list-update", seen)
        keys = [f"many/{number:05}" for number in range(count)]
        results = client.upload_files([{"bucket": server.bucket, "key": key, "path": path} for key in keys])
    seen.check(keys)
    assert [result.options["key"] for result in results] == keys
    assert [result.error for result in results] == count * [None]
    put = Counter(r["key"] for r in server.requests() if r["operation"] == "put_object")
    assert put == Counter(keys)


def test_random_pauses_restarts_and_cancels_from_many_threads_lose_no_task(server: RunningServer, path: Path) -> None:
    chance = random.Random(11)
    content = path.read_bytes()
    with blocking(server) as client:
        tasks = [
            client.submit_slice_upload_file(server.bucket, f"random/{number}", path, slice_size=MIB, async_limit=3)
            for number in range(12)
        ]

        def disturb(seed: int) -> None:
            own = random.Random(seed)
            for _ in range(40):
                task = own.choice(tasks)
                own.choice([task.pause, task.restart, task.pause, task.restart, lambda: client.get_task_list()])()

        threads = [threading.Thread(target=disturb, args=(chance.random(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        tasks[5].cancel()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        for number, task in enumerate(tasks):
            if number == 5:
                assert task.state in ("canceled", "success")
                continue
            task.restart()
            assert task.result(60).verified
            assert client.get_object(server.bucket, f"random/{number}").body == content
        assert not client.multipart_list(server.bucket, prefix="random/").uploads


# -- the end of a process ---------------------------------------------------------------------------------------------


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)


BEGIN = """
    import asyncio, sys, threading
    import cosxfer
    from cosxfer.credentials import Credentials
    endpoint, secret_id, secret_key, bucket, path = sys.argv[1:]
    made = dict(endpoint=endpoint, credentials=Credentials(secret_id=secret_id, secret_key=secret_key))
"""

ENDS = {
    "a task under way": """
        client = cosxfer.Client(**made)
        begun = threading.Event()
        task = client.submit_slice_upload_file(
            bucket, "exit", path, slice_size=1 << 20, on_progress=lambda p: begun.set()
        )
        begun.wait(30)
    """,
    "many tasks, a listener that prints, and a paused one": """
        client = cosxfer.Client(**made)
        begun = threading.Event()
        client.on("list-update", lambda event: print(event.task.state, flush=True))
        tasks = [
            client.submit_slice_upload_file(
                bucket, f"exit/{n}", path, slice_size=1 << 20, on_progress=lambda p: begun.set()
            )
            for n in range(50)
        ]
        begun.wait(30)
        tasks[0].pause()
    """,
    "a listener that never comes back": """
        client = cosxfer.Client(**made)
        stuck = threading.Event()
        client.on("list-update", lambda event: (stuck.set(), threading.Event().wait()))
        client.submit_slice_upload_file(bucket, "exit", path, slice_size=1 << 20)
        stuck.wait(30)
    """,
    "a forked child": """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of a fork beside threads
        client = cosxfer.Client(**made)
        begun = threading.Event()
        client.on("list-update", lambda event: print(event.task.state, flush=True))
        task = client.submit_slice_upload_file(
            bucket, "exit", path, slice_size=1 << 20, on_progress=lambda p: begun.set()
        )
        begun.wait(30)
        child = os.fork()
        if child == 0:
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert task.state == "uploading"
    """,
    "an asynchronous client that was not closed": """
        async def main():
            client = cosxfer.AsyncClient(**made)
            all_begun = asyncio.Event()
            loop = asyncio.get_running_loop()
            begun = set()

            def sends(n):
                begun.add(n)
                if len(begun) == 3:  # as many as have a slot: none of them is in the middle of its Initiate
                    loop.call_soon_threadsafe(all_begun.set)

            for n in range(10):
                client.submit_slice_upload_file(
                    bucket, f"exit/{n}", path, slice_size=1 << 20, on_progress=lambda p, n=n: sends(n)
                )
            await all_begun.wait()
        asyncio.run(main())
    """,
    "a client in a with block that an error leaves": """
        try:
            with cosxfer.Client(**made) as client:
                client.submit_slice_upload_file(bucket, "exit", path, slice_size=1 << 20)
                raise ValueError
        except ValueError:
            pass
    """,
}


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(work, id=name, marks=[pytest.mark.deep] * ("many" in name or "forked" in name))
        for name, work in ENDS.items()
    ],
)
def test_a_process_that_ends_with_work_in_flight_ends_quietly(server: RunningServer, path: Path, work: str) -> None:
    server.set_faults([{"operation": "multipart_upload", "part": [3, 5], "do": "delay", "seconds": 60}])
    key = server.credentials
    code = textwrap.dedent(BEGIN) + textwrap.dedent(work)
    began = time.monotonic()
    ended = python(code, server.endpoint, key.secret_id, key.secret_key, server.bucket, str(path))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert time.monotonic() - began < 30
    with blocking(server) as client:
        assert not client.multipart_list(server.bucket, prefix="exit").uploads
