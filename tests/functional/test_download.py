"""Downloads into files, against the embedded server and against servers that fail as a test says."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from tests.functional.object_peer import Get, ServedObject, forever
from tests.functional.peer_raw import in_loop, serving

BUCKET = "examplebucket-1250000000"
CONTENT = random.Random(5).randbytes(5 * MIB + 77)
OTHER = random.Random(6).randbytes(4 * MIB + 5)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- the embedded server, over each transport and protocol ----------------------------------------------------------


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, RunningServer]]:
    with running() as plain, running(tls=True) as tls:
        yield {"plain": plain, "tls": tls}


@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("scheme", ["plain", "tls"])
@pytest.mark.parametrize("transport", ["native", "httpx"])
@in_loop
async def test_objects_of_any_size_are_downloaded(
    servers: dict[str, RunningServer], transport: Any, scheme: str, version: Any, tmp_path: Path
) -> None:
    server = servers[scheme]
    async with cosxfer.AsyncClient(
        endpoint=server.endpoint,
        credentials=server.credentials,
        transport=transport,
        http_version=version,
        verify=str(server.ca_file) if server.ca_file else True,
    ) as client:
        for size in (0, 1, 16384, MIB, MIB + 1, 2 * MIB, len(CONTENT)):
            reports: list[cosxfer.Progress] = []
            await client.put_object(server.bucket, f"object-{size}", CONTENT[:size])
            path = tmp_path / f"file-{size}"
            result = await client.download_file(
                server.bucket, f"object-{size}", path, part_size=MIB, on_progress=reports.append
            )
            assert path.read_bytes() == CONTENT[:size]
            assert (result.verified_by, result.verified, result.size) == ("crc64", True, size)
            assert result.parts == max(1, -(-size // MIB))
            loaded = [report.loaded for report in reports]
            assert loaded == sorted(loaded)
            assert (loaded[-1], reports[-1].total) == (size, size)
    assert len(names(tmp_path)) == 7


def test_the_blocking_client_has_the_calls(servers: dict[str, RunningServer], tmp_path: Path) -> None:
    server = servers["plain"]
    with cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials) as client:
        client.put_object(server.bucket, "blocking", CONTENT)
        assert client.download_file(server.bucket, "blocking", tmp_path / "a").verified
        announced: list[str] = []
        task = client.submit_download_file(server.bucket, "blocking", tmp_path / "b", on_task_ready=announced.append)
        assert task.result().path == str(tmp_path / "b")
        (info,) = [info for info in client.get_task_list() if info.task_id == announced[0]]
        assert (info.direction, info.state, info.loaded, info.total) == ("download", "success", *[len(CONTENT)] * 2)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == CONTENT


# -- servers that fail ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["native", "httpx"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def downloading(served: ServedObject, transport: str = "native", **more: Any) -> AsyncIterator[Any]:
    async with (
        serving(served) as server,
        cosxfer.AsyncClient(
            endpoint=f"http://127.0.0.1:{server.port}",
            anonymous=True,
            transport=transport,  # type: ignore[arg-type]
            part_size=MIB,
            endpoint_memory=False,
            **more,
        ) as client,
    ):
        yield client


@in_loop
async def test_a_small_object_is_one_request(tmp_path: Path) -> None:
    served = ServedObject(CONTENT[:5000])
    async with downloading(served) as client:
        result = await client.download_file(BUCKET, "k", tmp_path / "f")
    assert served.ranges == [(0, 4999)]
    assert (result.parts, result.retries, result.size) == (1, 0, 5000)


@in_loop
async def test_ranges_name_the_version_and_are_requested_once(transport: str, tmp_path: Path) -> None:
    served = ServedObject(CONTENT)
    async with downloading(served, transport) as client:
        await client.download_file(BUCKET, "k", tmp_path / "f")
    assert sorted(served.ranges) == [(at, min(at + MIB, len(CONTENT)) - 1) for at in range(0, len(CONTENT), MIB)]
    assert all(f"if-match: {served.etag}\r\n" in get.head for get in served.gets[1:])
    assert (tmp_path / "f").read_bytes() == CONTENT


@in_loop
async def test_a_range_that_breaks_goes_on_at_its_next_byte(transport: str, tmp_path: Path) -> None:
    sent = MIB - 1000
    cut: list[Get] = []

    async def do(get: Get) -> bool:
        # Ranges arrive in any order, and the last one is shorter.
        if cut or get.number < 2 or len(get.body) <= sent:
            return False
        cut.append(get)
        await get.peer.say(get.response(get.body[:sent]))
        get.peer.writer.close()
        return True

    served = ServedObject(CONTENT, do)
    async with downloading(served, transport) as client:
        result = await client.download_file(BUCKET, "k", tmp_path / "f")
    (broken,) = cut
    again = [get for get in served.gets[broken.number + 1 :] if get.last == broken.last]
    assert len(again) == 1
    assert broken.first < again[0].first <= broken.first + sent
    if transport == "native":
        assert again[0].first == broken.first + sent
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert (result.retries, result.verified_by) == (1, "crc64")


@pytest.mark.parametrize("number", [0, 2])
@in_loop
async def test_a_reset_is_retried(transport: str, number: int, tmp_path: Path) -> None:
    cut = False

    async def do(get: Get) -> bool:
        nonlocal cut
        # Ranges arrive in any order, and the last one is shorter than what is sent here.
        if cut or get.number < number or len(get.body) <= MIB // 2:
            return False
        cut = True
        await get.peer.say(get.response(get.body[: MIB // 2]))
        get.peer.reset()
        return True

    served = ServedObject(CONTENT, do)
    async with downloading(served, transport) as client:
        assert (await client.download_file(BUCKET, "k", tmp_path / "f")).retries == 1
    assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "wrong",
    [
        {"content_range": f"bytes 5-9/{len(CONTENT)}"},
        {"content_range": ""},
        {"content_range": f"bytes 0-{len(CONTENT)}/{len(CONTENT)}"},
    ],
)
@in_loop
async def test_another_range_is_refused_and_requested_again(
    transport: str, wrong: dict[str, str], tmp_path: Path
) -> None:
    async def do(get: Get) -> bool:
        if get.number not in (0, 4):
            return False
        await get.peer.say(get.response(bytes(len(get.body)), **wrong))
        return True

    served = ServedObject(CONTENT, do)
    async with downloading(served, transport) as client:
        await client.download_file(BUCKET, "k", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


@in_loop
async def test_a_flipped_byte_is_found_and_the_object_fetched_again(transport: str, tmp_path: Path) -> None:
    flipped = 0

    async def do(get: Get) -> bool:
        nonlocal flipped
        if flipped or get.first == 0:
            return False
        flipped = get.number
        await get.peer.say(get.response(bytes([get.body[0] ^ 1]) + get.body[1:]))
        return True

    served = ServedObject(CONTENT, do)
    async with downloading(served, transport) as client:
        result = await client.download_file(BUCKET, "k", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert (result.retries, result.verified_by) == (1, "crc64")
    assert served.ranges.count((0, MIB - 1)) == 2


@pytest.mark.parametrize("size", [5000, len(CONTENT)])
@in_loop
async def test_content_that_never_matches_never_gets_the_name(transport: str, size: int, tmp_path: Path) -> None:
    async def do(get: Get) -> bool:
        await get.peer.say(get.response(bytes([get.body[0] ^ 1]) + get.body[1:]))
        return True

    (tmp_path / "f").write_bytes(b"old")
    async with downloading(ServedObject(CONTENT[:size], do), transport) as client:
        with pytest.raises(cosxfer.IntegrityError, match="checksum mismatch"):
            await client.download_file(BUCKET, "k", tmp_path / "f")
        assert names(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"


@pytest.mark.parametrize("strict", [True, False], ids=["412", "ignores If-Match"])
@in_loop
async def test_an_object_that_changes_is_fetched_anew(transport: str, strict: bool, tmp_path: Path) -> None:
    async def do(get: Get) -> bool:
        if get.number == 2:
            get.served.replace(OTHER)
            if not strict:
                get.last = min(get.last, len(OTHER) - 1)
                await get.peer.say(get.response())
                return True
        return False

    served = ServedObject(CONTENT, do)
    async with downloading(served, transport) as client:
        result = await client.download_file(BUCKET, "k", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == OTHER
    assert (result.etag, result.size, result.verified_by) == (served.etag, len(OTHER), "crc64")


@in_loop
async def test_an_object_that_always_changes_is_an_error(tmp_path: Path) -> None:
    async def do(get: Get) -> bool:
        if get.first:
            get.served.replace(random.Random(get.number).randbytes(len(CONTENT)))
        return False

    async with downloading(ServedObject(CONTENT, do)) as client:
        with pytest.raises(cosxfer.ObjectChangedError, match="replaced"):
            await client.download_file(BUCKET, "k", tmp_path / "f")
        assert names(tmp_path) == []


@pytest.mark.parametrize("number", [0, 2])
@in_loop
async def test_an_object_that_is_deleted_is_an_error(number: int, tmp_path: Path) -> None:
    async def do(get: Get) -> bool:
        return get.number >= number and await get.refuse("404 Not Found", "NoSuchKey")

    async with downloading(ServedObject(CONTENT, do)) as client:
        with pytest.raises(cosxfer.NotFoundError):
            await client.download_file(BUCKET, "k", tmp_path / "f")
        assert names(tmp_path) == []


@in_loop
async def test_an_archived_object_is_the_servers_error(tmp_path: Path) -> None:
    async def do(get: Get) -> bool:
        return await get.refuse("403 Forbidden", "InvalidObjectState")

    served = ServedObject(CONTENT, do)
    async with downloading(served) as client:
        with pytest.raises(cosxfer.AccessDeniedError) as raised:
            await client.download_file(BUCKET, "k", tmp_path / "f")
    assert raised.value.code == "InvalidObjectState"
    assert (names(tmp_path), len(served.gets)) == ([], 1)


@in_loop
async def test_an_empty_object_may_refuse_every_range(transport: str, tmp_path: Path) -> None:
    async def serve(peer: Any) -> None:
        while True:
            head = await peer.head()
            if b"range:" in head:
                await peer.say(b"HTTP/1.1 416 Range Not Satisfiable\r\ncontent-length: 0\r\n\r\n")
            else:
                await peer.say(b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\netag: "e"\r\n\r\n')

    async with downloading(serve, transport) as client:  # type: ignore[arg-type]
        assert (await client.download_file(BUCKET, "k", tmp_path / "f")).size == 0
    assert (tmp_path / "f").read_bytes() == b""


@in_loop
async def test_a_server_that_stalls_in_a_range_is_left(transport: str, tmp_path: Path) -> None:
    stalled = False

    async def do(get: Get) -> bool:
        nonlocal stalled
        if stalled or not get.number or len(get.body) <= MIB // 2:  # as above
            return False
        stalled = True
        await get.peer.say(get.response(get.body[: MIB // 2]))
        await forever()
        return True

    served = ServedObject(CONTENT, do)
    async with downloading(served, transport, stall_timeout_seconds=1.0) as client:
        assert (await client.download_file(BUCKET, "k", tmp_path / "f")).retries == 1
    assert (tmp_path / "f").read_bytes() == CONTENT


# -- the file ---------------------------------------------------------------------------------------------------------


@in_loop
async def test_a_full_disk_is_seen_before_the_object_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    served = ServedObject(CONTENT)
    async with downloading(served) as client:
        with pytest.raises(cosxfer.TargetError, match="No space left") as raised:
            await client.download_file(BUCKET, "k", tmp_path / "f")
    assert (raised.value.path, raised.value.errno) == (str(tmp_path / "f"), errno.ENOSPC)
    assert (names(tmp_path), len(served.gets)) == ([], 1)


@in_loop
async def test_a_disk_may_be_unable_to_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", unable)
    async with downloading(ServedObject(CONTENT)) as client:
        await client.download_file(BUCKET, "k", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


@in_loop
async def test_a_folder_that_vanishes_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    async def do(get: Get) -> bool:
        if get.number == 2:
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        return False

    async with downloading(ServedObject(CONTENT, do)) as client:
        with pytest.raises(cosxfer.TargetError, match="No such file or directory"):
            await client.download_file(BUCKET, "k", folder / "f")
    assert names(tmp_path) == []


@in_loop
async def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    async with downloading(ServedObject(CONTENT[:9])) as client:
        with pytest.raises(cosxfer.TargetError, match="No such file or directory"):
            await client.download_file(BUCKET, "k", tmp_path / "missing" / "f")


@in_loop
async def test_a_directory_is_refused(tmp_path: Path) -> None:
    async with downloading(ServedObject(CONTENT[:9])) as client:
        with pytest.raises(cosxfer.UsageError, match="is a directory"):
            await client.download_file(BUCKET, "k", tmp_path)


@pytest.mark.parametrize("size", [500, len(CONTENT)])
@in_loop
async def test_a_file_that_is_replaced_keeps_its_permissions(size: int, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old and longer than nothing")
    path.chmod(0o640)
    async with downloading(ServedObject(CONTENT[:size])) as client:
        await client.download_file(BUCKET, "k", path)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (CONTENT[:size], 0o640)


@pytest.mark.parametrize("size", [500, len(CONTENT)])
@in_loop
async def test_the_time_in_the_metadata_is_restored_if_asked(size: int, tmp_path: Path) -> None:
    served = ServedObject(CONTENT[:size])
    served.headers = {"x-cos-meta-mtime": "1234567890.123456789"}
    async with downloading(served) as client:
        await client.download_file(BUCKET, "k", tmp_path / "with", preserve_mtime=True)
        await client.download_file(BUCKET, "k", tmp_path / "without")
        served.headers = {"x-cos-meta-mtime": "yesterday"}
        await client.download_file(BUCKET, "k", tmp_path / "odd", preserve_mtime=True)
    assert (tmp_path / "with").stat().st_mtime_ns == 1234567890123456789
    assert (tmp_path / "without").stat().st_mtime_ns > 1234567890123456789
    assert (tmp_path / "odd").read_bytes() == CONTENT[:size]


@pytest.mark.parametrize("size", [500, len(CONTENT)])
@in_loop
async def test_an_old_object_is_proven_by_its_etag(size: int, tmp_path: Path) -> None:
    served = ServedObject(CONTENT[:size])
    served.with_crc64 = False
    async with downloading(served) as client:
        result = await client.download_file(BUCKET, "k", tmp_path / "f")
        assert (result.verified, result.verified_by) == (True, "etag")
        served.etag = '"0123456789abcdef0123456789abcdef-3"'
        result = await client.download_file(BUCKET, "k", tmp_path / "f")
        assert (result.verified, result.verified_by) == (False, "")
        served.etag = '"0123456789abcdef0123456789abcdef"'
        with pytest.raises(cosxfer.IntegrityError, match="checksum mismatch: server MD5"):
            await client.download_file(BUCKET, "k", tmp_path / "f")


# -- tasks ------------------------------------------------------------------------------------------------------------


class HeldBack:
    """Answers the ranges up to the third one. Others wait until ``release``."""

    def __init__(self) -> None:
        self.held = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, get: Get) -> bool:
        if get.number < 3 or self.release.is_set():
            return False
        await get.peer.say(get.response(get.body[:1000]))
        self.held.set()
        await self.release.wait()
        get.peer.writer.close()
        return True


@in_loop
async def test_a_paused_download_goes_on_with_what_it_has(transport: str, tmp_path: Path) -> None:
    held = HeldBack()
    served = ServedObject(CONTENT, held)
    async with downloading(served, transport) as client:
        task = client.submit_download_file(BUCKET, "k", tmp_path / "f", async_limit=1)
        await held.held.wait()
        assert (task.state, repr(task).rpartition(" ")[2]) == ("uploading", "downloading>")
        with pytest.raises(cosxfer.TaskTimeoutError, match="it is downloading, with"):
            await task.result(0.01)
        assert await task.pause()
        (temporary,) = names(tmp_path)
        (info,) = client.get_task_list()
        assert (info.state, info.upload_id) == ("paused", str(tmp_path / temporary))
        assert 3 * MIB <= info.loaded < 4 * MIB
        before = len(served.gets)
        held.release.set()
        assert await task.restart()
        result = await task.result()
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert names(tmp_path) == ["f"]
    assert min(first for first, _ in served.ranges[before:]) >= 3 * MIB
    assert result.resumed_bytes == info.loaded


@in_loop
async def test_a_restarted_download_sees_that_the_object_was_replaced(tmp_path: Path) -> None:
    held = HeldBack()
    served = ServedObject(CONTENT, held)
    async with downloading(served) as client:
        task = client.submit_download_file(BUCKET, "k", tmp_path / "f", async_limit=1)
        await held.held.wait()
        await task.pause()
        served.replace(OTHER)
        held.release.set()
        await task.restart()
        result = await task.result()
    assert (tmp_path / "f").read_bytes() == OTHER
    assert result.resumed_bytes == 0


@pytest.mark.parametrize("how", ["cancel", "cancel while paused", "close", "close while paused", "interrupt"])
@in_loop
async def test_a_cancelled_download_leaves_nothing(transport: str, how: str, tmp_path: Path) -> None:
    held = HeldBack()
    async with downloading(ServedObject(CONTENT, held), transport) as client:
        if how == "interrupt":
            call = asyncio.ensure_future(client.download_file(BUCKET, "k", tmp_path / "f"))
            await held.held.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        else:
            task = client.submit_download_file(BUCKET, "k", tmp_path / "f")
            await held.held.wait()
            if "paused" in how:
                await task.pause()
            if how.startswith("cancel"):
                await task.cancel()
                with pytest.raises(cosxfer.TaskCanceledError, match="download of"):
                    await task.result()
            else:
                await client.aclose()
    assert names(tmp_path) == []


@in_loop
async def test_a_failed_download_is_continued_by_a_restart(tmp_path: Path) -> None:
    broken = True

    async def do(get: Get) -> bool:
        return get.number >= 3 and broken and await get.refuse("503 Slow Down", "SlowDown")

    served = ServedObject(CONTENT, do)
    async with downloading(served, max_attempts=1, retry_for_seconds=0) as client:
        task = client.submit_download_file(BUCKET, "k", tmp_path / "f", async_limit=1)
        with pytest.raises(cosxfer.ThrottledError):
            await task.result()
        assert len(names(tmp_path)) == 1
        broken, before = False, len(served.gets)
        await task.restart()
        assert (await task.result()).resumed_bytes == 3 * MIB
    assert min(first for first, _ in served.ranges[before:]) == 3 * MIB
    assert (tmp_path / "f").read_bytes() == CONTENT


KILLED = """
import sys, cosxfer
with cosxfer.Client(endpoint=sys.argv[1], anonymous=True, part_size=1 << 20, endpoint_memory=False) as client:
    client.download_file("examplebucket-1250000000", "k", sys.argv[2])
"""


@in_loop
async def test_a_killed_process_leaves_no_file_under_the_name(tmp_path: Path) -> None:
    held = HeldBack()
    served = ServedObject(CONTENT, held)
    async with serving(served) as server:
        endpoint = f"http://127.0.0.1:{server.port}"
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, endpoint, str(tmp_path / "f"))
        try:
            await held.held.wait()
        finally:
            child.kill()
            await child.wait()
        (temporary,) = names(tmp_path)
        assert temporary != "f"
        held.release.set()
        async with cosxfer.AsyncClient(endpoint=endpoint, anonymous=True, endpoint_memory=False) as client:
            await client.download_file(BUCKET, "k", tmp_path / "f")
    assert names(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == CONTENT
