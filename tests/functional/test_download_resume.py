"""Downloads that go on with the temporary file of an earlier call: another process, or another client."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.engine.download.download_file import DownloadJob
from cosxfer.engine.download.state import DownloadState
from cosxfer.journal import Journal
from cosxfer.journal_downloads import DownloadJournal
from cosxfer.limits import MIB
from tests.functional.object_peer import Get, ServedObject
from tests.functional.peer_raw import in_loop, serving
from tests.functional.test_download import BUCKET, CONTENT, OTHER, HeldBack, names

SIZE = len(CONTENT)
KEPT = 3 * MIB
"""What `HeldBack` lets through, with one range at a time."""

CHILD = """
import sys, cosxfer
journal = None if sys.argv[3] == "-" else sys.argv[3]
with cosxfer.Client(
    endpoint=sys.argv[1], anonymous=True, part_size=1 << 20, endpoint_memory=False, journal=journal, concurrency=1,
    max_finished_tasks=int(sys.argv[4]),
) as client:
    client.download_file("examplebucket-1250000000", "k", sys.argv[2])
"""


class Peer(ServedObject):
    """Also answers HEAD, and counts it."""

    def __init__(self, content: bytes, do: Callable[[Get], Any] | None = None) -> None:
        super().__init__(content, do)
        self.heads = 0
        self.head_status = "200 OK"

    async def __call__(self, peer: Any) -> None:
        say, read = peer.say, peer.head

        async def head() -> bytes:
            while True:
                text: bytes = await read()
                if not text.startswith(b"HEAD "):
                    return text
                self.heads += 1
                if self.head_status != "200 OK":
                    await say(f"HTTP/1.1 {self.head_status}\r\nx-cos-request-id: r\r\n\r\n".encode())
                    continue
                whole = Get(self, peer, 0, 0, len(self.content) - 1, "").response(b"", content_range="")
                await say(whole.replace(b"206 Partial Content", b"200 OK"))

        peer.head = head
        await super().__call__(peer)


@asynccontextmanager
async def client_of(server: Any, journal: Path | None, **more: Any) -> AsyncIterator[cosxfer.AsyncClient]:
    async with cosxfer.AsyncClient(
        endpoint=f"http://127.0.0.1:{server.port}",
        anonymous=True,
        part_size=MIB,
        endpoint_memory=False,
        journal=None if journal is None else str(journal),
        **more,
    ) as client:
        yield client


async def killed(
    server: Any, held: HeldBack, target: Path, journal: Path | None, *, number: int = signal.SIGKILL
) -> int:
    """Let a process download until `HeldBack` holds it, then end it by a signal. Returns its exit code."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CHILD,
        f"http://127.0.0.1:{server.port}",
        str(target),
        "-" if journal is None else str(journal),
        "10",
        stderr=asyncio.subprocess.DEVNULL,
    )
    await held.held.wait()
    await asyncio.sleep(0.2)  # the journal has written: 10 ms
    child.send_signal(number)
    code = await child.wait()
    held.release.set()
    return code


class Held(HeldBack):
    """Sends nothing of the ranges that it holds."""

    async def __call__(self, get: Get) -> bool:
        if get.number < 3 or self.release.is_set():
            return False
        self.held.set()
        await self.release.wait()
        get.peer.writer.close()
        return True


async def left(server: Any, held: HeldBack, target: Path, journal: Path | None) -> None:
    """Let a client download until `Held` holds it, then close it. It costs a tenth of a process."""
    async with client_of(server, journal) as client:
        client.submit_download_file(BUCKET, "k", target, async_limit=1)
        await held.held.wait()
    held.release.set()


def missing(served: ServedObject, before: int) -> list[tuple[int, int]]:
    """Return the ranges that were requested since."""
    return sorted(served.ranges[before:])


async def rows(journal: Path) -> int:
    opened = Journal(journal, may_replace=False)
    try:
        return len(await asyncio.wrap_future(DownloadJournal(opened).unfinished()))
    finally:
        opened.close()


@in_loop
async def test_a_killed_process_is_continued_with_what_is_missing(tmp_path: Path) -> None:
    held, journal, folder = HeldBack(), tmp_path / "j", tmp_path / "to"
    folder.mkdir()
    served = Peer(CONTENT, held)
    async with serving(served) as server:
        await killed(server, held, folder / "f", journal)
        (temporary,) = names(folder)
        inode = (folder / temporary).stat().st_ino
        assert await rows(journal) == 1
        before = len(served.gets)
        async with client_of(server, journal) as client:
            result = await client.download_file(BUCKET, "k", folder / "f")
        assert await rows(journal) == 0
    assert missing(served, before) == [(at, min(at + MIB, SIZE) - 1) for at in range(KEPT, SIZE, MIB)]
    assert all("if-match: " in get.head for get in served.gets[before:])
    assert served.heads == 1
    assert (folder / "f").read_bytes() == CONTENT
    assert (folder / "f").stat().st_ino == inode
    assert (result.resumed_bytes, result.verified_by, result.size) == (KEPT, "crc64", SIZE)
    assert names(folder) == ["f"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@in_loop
async def test_an_interrupted_process_is_continued(number: int, tmp_path: Path) -> None:
    held, journal, folder = HeldBack(), tmp_path / "j", tmp_path / "to"
    folder.mkdir()
    served = Peer(CONTENT, held)
    async with serving(served) as server:
        assert await killed(server, held, folder / "f", journal, number=number) != 0
        before = len(served.gets)
        async with client_of(server, journal) as client:
            result = await client.download_file(BUCKET, "k", folder / "f")
    # A process that ends in order also writes how far the range in flight has come.
    assert result.resumed_bytes == (KEPT + 1000 if number == signal.SIGINT else KEPT)
    assert missing(served, before)[0][0] == result.resumed_bytes
    assert (folder / "f").read_bytes() == CONTENT
    assert names(folder) == ["f"]


@in_loop
async def test_an_error_leaves_the_file_for_the_same_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken, journal, folder = True, tmp_path / "j", tmp_path / "to"
    folder.mkdir()

    async def do(get: Get) -> bool:
        return broken and get.number >= 3 and await get.refuse("503 Slow Down", "SlowDown")

    served = Peer(CONTENT, do)
    async with serving(served) as server, client_of(server, journal, max_attempts=1, retry_for_seconds=0) as client:
        with pytest.raises(cosxfer.ThrottledError) as raised:
            await client.download_file(BUCKET, "k", folder / "f", async_limit=1)
        (note,) = [note for note in raised.value.__notes__ if "temporary" in note]
        (temporary,) = names(folder)
        assert note.startswith(f"The temporary file {folder / temporary} with 3.0 MiB of 5.0 MiB was kept")
        assert note.endswith("the same call goes on with it")
        broken, before = False, len(served.gets)
        result = await client.download_file(BUCKET, "k", folder / "f")
    assert result.resumed_bytes == KEPT
    assert missing(served, before)[0][0] == KEPT
    assert (folder / "f").read_bytes() == CONTENT
    assert names(folder) == ["f"]


@in_loop
async def test_a_failed_task_can_be_restarted_or_cancelled(tmp_path: Path) -> None:
    broken, journal, folder = True, tmp_path / "j", tmp_path / "to"
    folder.mkdir()

    async def do(get: Get) -> bool:
        return broken and get.number >= 3 and await get.refuse("503 Slow Down", "SlowDown")

    served = Peer(CONTENT, do)
    async with serving(served) as server, client_of(server, journal, max_attempts=1, retry_for_seconds=0) as client:
        tasks = [client.submit_download_file(BUCKET, "k", folder / name, async_limit=1) for name in ("f", "g")]
        for task in tasks:
            with pytest.raises(cosxfer.ThrottledError):
                await task.result()
        assert [task.info.upload_id for task in tasks] == sorted(str(folder / name) for name in names(folder))
        assert await tasks[1].cancel()
        assert len(names(folder)) == 1
        broken, before = False, len(served.gets)
        assert await tasks[0].restart()
        result = await tasks[0].result()
    assert await rows(journal) == 0
    assert result.resumed_bytes == tasks[0].info.total - sum(last - first + 1 for first, last in served.ranges[before:])
    assert names(folder) == ["f"]
    assert (folder / "f").read_bytes() == CONTENT


@pytest.mark.parametrize("how", ["close", "close while paused", "interrupt"])
@in_loop
async def test_a_client_that_ends_leaves_the_file_for_the_next(how: str, tmp_path: Path) -> None:
    held, journal, folder = HeldBack(), tmp_path / "j", tmp_path / "to"
    folder.mkdir()
    served = Peer(CONTENT, held)
    async with serving(served) as server:
        async with client_of(server, journal) as client:
            if how == "interrupt":
                call = asyncio.ensure_future(client.download_file(BUCKET, "k", folder / "f", async_limit=1))
                await held.held.wait()
                call.cancel()
                with pytest.raises(asyncio.CancelledError) as raised:
                    await call
                assert "was kept; the same call goes on with it" in str(getattr(raised.value, "__notes__", ""))
            else:
                task = client.submit_download_file(BUCKET, "k", folder / "f", async_limit=1)
                await held.held.wait()
                if "paused" in how:
                    await task.pause()
        assert len(names(folder)) == 1
        held.release.set()
        before = len(served.gets)
        async with client_of(server, journal) as client:
            result = await client.download_file(BUCKET, "k", folder / "f")
    assert KEPT <= result.resumed_bytes < KEPT + MIB
    assert missing(served, before)[0][0] == result.resumed_bytes
    assert (folder / "f").read_bytes() == CONTENT
    assert names(folder) == ["f"]


@in_loop
async def test_cancel_removes_the_file_and_its_row(tmp_path: Path) -> None:
    held, journal, folder = HeldBack(), tmp_path / "j", tmp_path / "to"
    folder.mkdir()
    async with serving(Peer(CONTENT, held)) as server, client_of(server, journal) as client:
        task = client.submit_download_file(BUCKET, "k", folder / "f", async_limit=1)
        await held.held.wait()
        await task.cancel()
        assert names(folder) == []
    assert await rows(journal) == 0


@pytest.mark.parametrize("how", ["restart", "cancel", "close", "interrupt"])
@in_loop
async def test_an_interruption_while_the_file_gets_its_name_leaves_it_complete(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release, commit = threading.Event(), threading.Event(), DownloadJob._commit

    def slowly(job: DownloadJob, state: DownloadState, verified_by: str) -> str:
        begun.set()
        assert release.wait(60)
        return commit(job, state, verified_by)

    monkeypatch.setattr(DownloadJob, "_commit", slowly)
    journal, folder = tmp_path / "j", tmp_path / "to"
    folder.mkdir()
    served = Peer(CONTENT)
    async with serving(served) as server, client_of(server, journal) as client:
        progress: list[cosxfer.Progress] = []
        call = asyncio.ensure_future(client.download_file(BUCKET, "k", folder / "f", on_progress=progress.append))
        assert await asyncio.to_thread(begun.wait, 60)
        ((task_id, state),) = [(info.task_id, info.state) for info in client.get_task_list()]
        assert state == "uploading"
        ending: asyncio.Future[Any] = call
        if how == "interrupt":
            call.cancel()
        else:
            ending = asyncio.ensure_future(client.aclose() if how == "close" else client.pause_task(task_id))
        for _ in range(20):  # until the run is cancelled
            await asyncio.sleep(0)
        release.set()
        await asyncio.wait([ending])
        asked = len(served.gets)
        if how == "restart":
            assert client.get_task_list()[0].loaded == SIZE
            assert await client.restart_task(task_id)
            assert (await call).verified_by == "crc64"
            assert progress[-1].loaded == progress[-1].total == SIZE
        elif how == "cancel":
            assert await client.cancel_task(task_id)
        if how != "restart":
            with pytest.raises(asyncio.CancelledError if how == "interrupt" else cosxfer.TaskCanceledError) as raised:
                await call
            assert how == "interrupt" or "No temporary file was left" in str(raised.value)
            assert "kept" not in str(getattr(raised.value, "__notes__", ""))
    assert len(served.gets) == asked
    assert (folder / "f").read_bytes() == CONTENT
    assert names(folder) == ["f"]
    assert await rows(journal) == 0


# -- what is not trusted ----------------------------------------------------------------------------------------------


@in_loop
async def test_an_object_that_was_replaced_starts_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    held, journal, folder = Held(), tmp_path / "j", tmp_path / "to"
    folder.mkdir()
    served = Peer(CONTENT, held)
    async with serving(served) as server:
        await left(server, held, folder / "f", journal)
        served.replace(OTHER)
        async with client_of(server, journal) as client:
            result = await client.download_file(BUCKET, "k", folder / "f")
    assert (folder / "f").read_bytes() == OTHER
    assert result.resumed_bytes == 0
    assert "starts over: the object was replaced since the last run" in caplog.text
    assert names(folder) == ["f"]


@in_loop
async def test_another_version_with_the_same_etag_starts_over(tmp_path: Path) -> None:
    held, journal, folder = Held(), tmp_path / "j", tmp_path / "to"
    folder.mkdir()
    served = Peer(CONTENT, held)
    served.headers = {"x-cos-version-id": "one"}
    async with serving(served) as server:
        await left(server, held, folder / "f", journal)
        served.headers = {"x-cos-version-id": "two"}
        async with client_of(server, journal) as client:
            result = await client.download_file(BUCKET, "k", folder / "f")
    assert (result.resumed_bytes, result.version_id) == (0, "two")


@in_loop
async def test_an_object_that_was_deleted_leaves_nothing(tmp_path: Path) -> None:
    held, journal, folder = Held(), tmp_path / "j", tmp_path / "to"
    folder.mkdir()
    gone = False

    async def do(get: Get) -> bool:
        return await get.refuse("404 Not Found", "NoSuchKey") if gone else await held(get)

    served = Peer(CONTENT, do)
    async with serving(served) as server:
        await left(server, held, folder / "f", journal)
        gone, served.head_status = True, "404 Not Found"
        async with client_of(server, journal) as client:
            with pytest.raises(cosxfer.NotFoundError):
                await client.download_file(BUCKET, "k", folder / "f")
        assert await rows(journal) == 0
    assert names(folder) == []


@in_loop
async def test_keys_that_may_not_use_head_go_on_too(tmp_path: Path) -> None:
    held, journal, folder = Held(), tmp_path / "j", tmp_path / "to"
    folder.mkdir()
    served = Peer(CONTENT, held)
    async with serving(served) as server:
        await left(server, held, folder / "f", journal)
        served.head_status = "403 Forbidden"
        before = len(served.gets)
        async with client_of(server, journal) as client:
            result = await client.download_file(BUCKET, "k", folder / "f")
    assert result.resumed_bytes == KEPT
    # The first request shows the version, and brings the first MiB again.
    assert [first for first, _ in missing(served, before)] == [0, 3 * MIB, 4 * MIB, 5 * MIB]
    assert (folder / "f").read_bytes() == CONTENT
    assert names(folder) == ["f"]


@in_loop
async def test_a_flipped_byte_is_found_and_only_its_range_is_fetched_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held, journal, folder = Held(), tmp_path / "j", tmp_path / "to"
    folder.mkdir()
    served = Peer(CONTENT, held)
    async with serving(served) as server:
        await left(server, held, folder / "f", journal)
        (temporary,) = folder.iterdir()
        with temporary.open("r+b") as file:
            file.seek(MIB + 4711)
            file.write(bytes([CONTENT[MIB + 4711] ^ 1]))
        before = len(served.gets)
        async with client_of(server, journal) as client:
            result = await client.download_file(BUCKET, "k", folder / "f")
    assert [first for first, _ in missing(served, before)] == [MIB, 3 * MIB, 4 * MIB, 5 * MIB]
    assert (folder / "f").read_bytes() == CONTENT
    assert result.resumed_bytes == 2 * MIB
    assert "1.0 MiB of the temporary file are not what was written there" in caplog.text


@pytest.mark.parametrize("damage", ["deleted", "replaced", "truncated", "link"])
@in_loop
async def test_a_temporary_file_that_is_another_one_is_not_used(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held, journal, folder = Held(), tmp_path / "j", tmp_path / "to"
    folder.mkdir()
    served = Peer(CONTENT, held)
    async with serving(served) as server:
        await left(server, held, folder / "f", journal)
        (temporary,) = folder.iterdir()
        content = temporary.read_bytes()
        if damage == "deleted":
            temporary.unlink()
        elif damage == "truncated":
            os.truncate(temporary, 2 * MIB)
        else:
            temporary.rename(tmp_path / "moved")
            if damage == "link":
                temporary.symlink_to(tmp_path / "moved")
            else:
                temporary.write_bytes(content)
        before = len(served.gets)
        async with client_of(server, journal) as client:
            result = await client.download_file(BUCKET, "k", folder / "f")
        assert await rows(journal) == 0
    assert result.resumed_bytes == 0
    assert missing(served, before)[0][0] == 0
    assert (folder / "f").read_bytes() == CONTENT
    assert "starts over: its temporary file" in caplog.text
    if damage in ("replaced", "link"):
        assert (tmp_path / "moved").read_bytes() == content


@pytest.mark.parametrize("damage", ["deleted", "garbage", "rows", "a directory"])
@in_loop
async def test_a_journal_that_cannot_be_used_costs_the_bytes_alone(damage: str, tmp_path: Path) -> None:
    held, journal, folder = Held(), tmp_path / "state" / "j", tmp_path / "to"
    folder.mkdir()
    served = Peer(CONTENT, held)
    async with serving(served) as server:
        await left(server, held, folder / "f", journal)
        if damage == "deleted":
            for path in journal.parent.iterdir():
                if path.is_file():
                    path.unlink()
        elif damage == "garbage":
            with journal.open("r+b") as file:
                file.write(b"x" * 8192)
        elif damage == "rows":
            with sqlite3.connect(journal) as connection:
                connection.execute("UPDATE ranges SET data = zeroblob(24)")
        else:
            journal.unlink()
            journal.mkdir()
        before = len(served.gets)
        async with client_of(server, journal) as client:
            result = await client.download_file(BUCKET, "k", folder / "f")
    assert result.resumed_bytes == 0
    assert missing(served, before)[0][0] == 0
    assert (folder / "f").read_bytes() == CONTENT
    assert names(folder) == ["f"]


@in_loop
async def test_without_a_journal_nothing_is_continued(tmp_path: Path) -> None:
    held, folder = Held(), tmp_path / "to"
    folder.mkdir()
    served = Peer(CONTENT, held)
    async with serving(served) as server:
        await left(server, held, folder / "f", None)
        before = len(served.gets)
        async with client_of(server, None) as client:
            result = await client.download_file(BUCKET, "k", folder / "f")
            assert (result.resumed_bytes, missing(served, before)[0][0]) == (0, 0)
        held.release.clear()
        held.held.clear()
        async with client_of(server, None) as client:
            call = asyncio.ensure_future(client.download_file(BUCKET, "k", folder / "g", async_limit=1))
            await asyncio.sleep(0)
            await held.held.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
    assert names(folder) == ["f"]


@in_loop
async def test_another_object_at_the_same_path_replaces_what_was_begun(tmp_path: Path) -> None:
    held, journal, folder = Held(), tmp_path / "j", tmp_path / "to"
    folder.mkdir()
    served = Peer(CONTENT, held)
    async with serving(served) as server:
        await left(server, held, folder / "f", journal)
        before = len(served.gets)
        async with client_of(server, journal) as client:
            result = await client.download_file(BUCKET, "other", folder / "f")
        assert await rows(journal) == 0
    assert (result.resumed_bytes, missing(served, before)[0][0]) == (0, 0)
    assert names(folder) == ["f"]


# -- several at a time ------------------------------------------------------------------------------------------------


@in_loop
async def test_two_clients_that_download_to_the_same_path_do_not_share_a_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal, folder, held, release = tmp_path / "j", tmp_path / "to", asyncio.Event(), asyncio.Event()
    folder.mkdir()

    async def do(get: Get) -> bool:
        if get.number == 3:
            held.set()
            await release.wait()
        return False

    served = Peer(CONTENT, do)
    async with (
        serving(served) as server,
        client_of(server, journal) as first,
        client_of(server, journal) as second,
    ):
        slow = asyncio.ensure_future(first.download_file(BUCKET, "k", folder / "f", async_limit=1))
        await held.wait()
        while not await rows(journal):  # noqa: ASYNC110 # the first one's note waits some milliseconds for more
            await asyncio.sleep(0.001)
        before = len(served.gets)
        assert (await second.download_file(BUCKET, "k", folder / "f")).resumed_bytes == 0
        assert "is running already, in another process or task" in caplog.text
        assert missing(served, before)[0][0] == 0
        assert (folder / "f").read_bytes() == CONTENT
        release.set()
        assert (await slow).verified
    assert (folder / "f").read_bytes() == CONTENT
    assert names(folder) == ["f"]


@in_loop
async def test_only_one_of_several_calls_takes_what_was_left(tmp_path: Path) -> None:
    held, journal, folder = Held(), tmp_path / "j", tmp_path / "to"
    folder.mkdir()
    served = Peer(CONTENT, held)
    async with serving(served) as server:
        await left(server, held, folder / "f", journal)
        async with client_of(server, journal) as first, client_of(server, journal) as second:
            results = await asyncio.gather(
                *(client.download_file(BUCKET, "k", folder / "f") for client in (first, second, first))
            )
    assert sorted(result.resumed_bytes for result in results)[:2] == [0, 0]
    assert max(result.resumed_bytes for result in results) in (0, KEPT)
    assert (folder / "f").read_bytes() == CONTENT
    assert names(folder) == ["f"]


@in_loop
async def test_a_directory_goes_on_with_each_file(tmp_path: Path) -> None:
    """A batch is made of the same jobs, so one interrupted file shows that they get the journal."""
    held, journal, folder = Held(), tmp_path / "j", tmp_path / "to"
    folder.mkdir()
    served = Peer(CONTENT, held)
    files: Any = [{"bucket": BUCKET, "key": "k", "path": folder / "f", "async_limit": 1}]
    async with serving(served) as server:
        async with client_of(server, journal) as client:
            call = asyncio.ensure_future(client.download_files(files))
            await held.held.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        held.release.set()
        async with client_of(server, journal) as client:
            (outcome,) = await client.download_files(files)
    assert outcome.result is not None
    assert KEPT <= outcome.result.resumed_bytes < KEPT + MIB
    assert (folder / "f").read_bytes() == CONTENT


@in_loop
async def test_an_old_journal_gets_the_tables_of_downloads(tmp_path: Path) -> None:
    held, journal, folder = Held(), tmp_path / "j", tmp_path / "to"
    folder.mkdir()
    await rows(journal)
    with sqlite3.connect(journal) as connection:
        for statement in ("DROP TABLE downloads", "DROP TABLE ranges"):
            connection.execute(statement)
    assert await rows(journal) == 0
    assert not any(name.startswith("j.damaged") for name in names(tmp_path))
    served = Peer(CONTENT, held)
    async with serving(served) as server:
        await left(server, held, folder / "f", journal)
    assert await rows(journal) == 1


@in_loop
async def test_a_short_object_in_a_single_range_is_not_kept(tmp_path: Path) -> None:
    held, journal, folder = asyncio.Event(), tmp_path / "j", tmp_path / "to"
    folder.mkdir()

    async def do(get: Get) -> bool:
        if get.number:
            held.set()
            await asyncio.sleep(60)
        return False

    async with serving(Peer(CONTENT, do)) as server, client_of(server, journal) as client:
        call = asyncio.ensure_future(client.download_file(BUCKET, "k", folder / "f", part_size=8 * MIB))
        await held.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert names(folder) == []
    assert await rows(journal) == 0
