"""The native file threads from the event loop: cancelled callers, every way to close, and the fallback to Python."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cosxfer import _native, sources
from cosxfer._native import hashing
from cosxfer.engine.upload.native_files import HASHED_IN_LANES_BYTES
from cosxfer.engine.upload.opening import Opener
from cosxfer.errors import CosxferError, SourceChangedError, SourceError
from cosxfer.sources import SmallFile, SourceIdentity
from tests.native.blocking_digest import digest_that_calls
from tests.native.native_threads import descriptors, native_threads
from tests.unit.files import content_of, write
from tests.waiting import PATIENCE_SECONDS, until

ROOT = Path(__file__).parents[4]
SMALL_BYTES = 256 * 1024
LONG = HASHED_IN_LANES_BYTES + 1

pytestmark = pytest.mark.skipif(_native.FileService is None, reason="the native file service is not built")


class Gate:
    """Blocks the native threads that read a file of `LONG` bytes, like a file system that hangs."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.opened = threading.Event()

    def wait(self) -> None:
        self.inside.release()
        self.opened.wait(PATIENCE_SECONDS)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self.inside.acquire, timeout=PATIENCE_SECONDS)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(hashing, "digest_function", digest_that_calls(gate.wait))
    yield gate
    gate.opened.set()


def settled(path: Path, size: int) -> Path:
    """Write a file that is old enough for its timestamps to show a change."""
    write(path, size)
    SourceIdentity.of(path.stat()).settle()
    return path


async def read(opener: Opener, path: Path) -> SmallFile:
    source, _ = await opener.open(path, small_bytes=SMALL_BYTES)
    assert isinstance(source, SmallFile)
    return source


def test_small_files_take_no_python_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = settled(tmp_path / "f", LONG)

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a Python thread was started, or the loop made a system call")

    async def main() -> None:
        opener = Opener()
        await read(opener, path)
        monkeypatch.setattr(threading.Thread, "start", refused)
        for name in ("stat", "open", "fstat", "getcwd"):
            monkeypatch.setattr(os, name, refused)
        monkeypatch.setattr(sources, "stat_path", refused)
        file = await read(opener, path)
        assert await opener.check(file)
        monkeypatch.undo()
        opener.close()

    asyncio.run(main())


def test_a_relative_path_is_checked_where_it_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(tmp_path / "f", 10)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        opener = Opener()
        file = await read(opener, Path("f"))
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert (file.path, file.location) == ("f", str(tmp_path / "f"))
        assert await opener.check(file)
        opener.close()

    asyncio.run(main())


def replace(path: Path) -> None:
    write(path.with_name("other"), 10).replace(path)


def rewrite(path: Path) -> None:
    path.write_bytes(b"0123456789")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (Path.unlink, "inode"),
        (replace, "inode"),
        (lambda path: path.write_bytes(b"123"), "size"),
        (rewrite, "mtime"),
        (lambda path: path.parent.rename(path.parent.with_name("moved")), "inode"),
    ],
    ids=["gone", "replaced", "cut", "rewritten", "moved"],
)
def test_a_change_is_the_error_that_python_raises(
    tmp_path: Path, change: Callable[[Path], object], changed: str
) -> None:
    (tmp_path / "folder").mkdir()
    path = settled(tmp_path / "folder" / "f", 10)

    async def main() -> None:
        opener = Opener()
        file = await read(opener, path)
        change(path)
        with pytest.raises(SourceChangedError) as by_native:
            await opener.check(file)
        with pytest.raises(SourceChangedError) as by_python:
            file.check()
        assert str(by_native.value) == str(by_python.value)
        assert by_native.value.changed == by_python.value.changed == changed
        assert type(by_native.value.__cause__) is type(by_python.value.__cause__)
        opener.close()

    asyncio.run(main())


def test_a_change_of_only_the_ctime_returns_false(tmp_path: Path) -> None:
    path = settled(tmp_path / "f", 10)

    async def main() -> None:
        opener = Opener()
        file = await read(opener, path)
        while path.stat().st_ctime_ns == file.identity.ctime_ns:
            path.chmod(0o600)
        assert await opener.check(file) is False
        opener.close()

    asyncio.run(main())


def test_a_file_that_was_fresh_when_read_is_compared_even_if_delivered_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write between reading and delivery may have left the timestamps unchanged."""
    path = write(tmp_path / "f", 10)
    now = [path.stat().st_ctime_ns + 1]
    monkeypatch.setattr(time, "time_ns", lambda: now[0])

    async def main() -> None:
        opener = Opener()
        waiting = asyncio.ensure_future(read(opener, path))
        await asyncio.sleep(0)
        now[0] += 10**9
        assert await opener.check(await waiting) is False
        assert await opener.check(await read(opener, path))
        opener.close()

    asyncio.run(main())


def test_a_file_that_was_fresh_when_read_by_python_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "f", 10)
    now = [path.stat().st_ctime_ns + 1]
    read_small = sources.slicing.read_small

    def late(name: str, max_bytes: int) -> object:
        now[0] += 10**9
        return read_small(name, max_bytes)

    monkeypatch.setattr(time, "time_ns", lambda: now[0])
    monkeypatch.setattr(sources.slicing, "read_small", late)
    first, second = SmallFile.read(path, 10), SmallFile.read(path, 10)
    assert first is not None
    assert second is not None
    assert (first.check(), second.check()) == (False, True)


def test_a_path_beyond_the_systems_limit_is_read_and_checked_in_python(tmp_path: Path) -> None:
    folder, name = tmp_path, "d" * 200
    home = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(25):
            Path(name).mkdir()
            os.chdir(name)
            folder /= name
        Path("f").write_bytes(content_of(10))
    finally:
        os.chdir(home)
    path = folder / "f"
    assert len(str(path)) > 4096

    async def main() -> None:
        opener = Opener()
        source, digest = await opener.open(path, small_bytes=SMALL_BYTES)
        assert (source.size, digest) == (10, None)
        small = SmallFile(str(path), source.identity, content_of(10), before_ns=time.time_ns() + 10**9)
        assert await opener.check(small)
        source.close()
        opener.close()

    asyncio.run(main())


@pytest.mark.parametrize("name", ["nul\0", "\ud800", "missing", "pipe", "folder"])
def test_other_files_are_refused_with_the_errors_of_the_python_path(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()

    async def main() -> None:
        opener = Opener()
        with pytest.raises(SourceError):
            await opener.open(f"{tmp_path}/{name}", small_bytes=SMALL_BYTES)
        opener.close()

    asyncio.run(main())


def test_a_cancelled_caller_leaves_nothing_behind(tmp_path: Path, gate: Gate) -> None:
    long, short = settled(tmp_path / "long", LONG), settled(tmp_path / "short", 10)

    async def main() -> None:
        opener = Opener()
        file = await read(opener, short)
        callers = [
            asyncio.ensure_future(opener.open(long, small_bytes=SMALL_BYTES)),
            asyncio.ensure_future(opener.open(short, small_bytes=SMALL_BYTES)),
            asyncio.ensure_future(opener.check(file)),
        ]
        await gate.reached()
        for caller in callers:
            caller.cancel()
        # Another thread may have served the other two callers.
        first, *_ = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        gate.opened.set()
        assert await opener.check(file)
        assert opener._native is not None
        while opener._native._service.pending:  # noqa: ASYNC110 # there is nothing to wait for
            await asyncio.sleep(0.001)
        opener.close()

    asyncio.run(main())


def test_an_error_of_the_hashing_reaches_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short, long = settled(tmp_path / "short", 10), settled(tmp_path / "long", LONG)

    def failing(_: object) -> None:
        raise MemoryError

    async def main() -> None:
        opener = Opener()
        monkeypatch.setattr(hashing, "hash_parts", failing)
        with pytest.raises(MemoryError):
            await opener.open(short, small_bytes=SMALL_BYTES)
        _, digest = await opener.open(long, small_bytes=SMALL_BYTES)
        assert digest is not None
        opener.close()

    asyncio.run(main())


def test_after_a_close_waiting_files_are_delivered_and_new_ones_are_refused(tmp_path: Path, gate: Gate) -> None:
    long, short = settled(tmp_path / "long", LONG), settled(tmp_path / "short", 10)

    async def main() -> None:
        opener = Opener()
        waiting = [asyncio.ensure_future(read(opener, path)) for path in (long, short)]
        await gate.reached()
        opener.close()
        with pytest.raises(CosxferError, match="shutdown"):
            await opener.open(short, small_bytes=SMALL_BYTES)
        gate.opened.set()
        assert [file.size for file in await asyncio.gather(*waiting)] == [LONG, 10]
        with pytest.raises(CosxferError, match="shutdown"):
            await opener.check(waiting[0].result())
        assert opener._native is not None
        while not opener._native._service.closed:  # noqa: ASYNC110 # there is nothing to wait for
            await asyncio.sleep(0)
        opener.close()

    asyncio.run(main())


def test_a_close_ends_the_threads_and_closes_the_descriptor(tmp_path: Path) -> None:
    path = settled(tmp_path / "f", 10)
    gc.collect()
    threads = native_threads()

    async def main() -> None:
        openers = [Opener() for _ in range(10)]
        for opener in openers:
            await read(opener, path)
        # Garbage of other tests may close descriptors at any time, so the test looks at its own services.
        services = [opener._native._service for opener in openers if opener._native is not None]
        assert len({service.fileno() for service in services}) == 10
        for opener in openers:
            opener.close()
        assert all(service.closed for service in services)

    asyncio.run(main())
    until(lambda: native_threads() <= threads)


@pytest.mark.parametrize("where", ["on the loop", "in another thread", "after the loop"])
def test_an_unreferenced_opener_ends_its_threads(tmp_path: Path, where: str) -> None:
    path = settled(tmp_path / "f", 10)
    gc.collect()
    threads, before = native_threads(), descriptors()
    held: list[Opener] = []

    async def main() -> None:
        inside = descriptors()
        held.append(Opener())
        await read(held[0], path)
        if where == "on the loop":
            held.clear()
        elif where == "in another thread":
            dropping = threading.Thread(target=held.clear)
            dropping.start()
            dropping.join()
        if where != "after the loop":
            async with asyncio.timeout(PATIENCE_SECONDS):
                while descriptors() > inside:  # noqa: ASYNC110 # there is nothing to wait for
                    await asyncio.sleep(0.001)

    asyncio.run(main())
    held.clear()
    gc.collect()
    until(lambda: native_threads() <= threads)
    assert descriptors() <= before


def test_closing_the_loop_while_a_thread_is_blocked_leaks_nothing(tmp_path: Path, gate: Gate) -> None:
    path = settled(tmp_path / "long", LONG)
    gc.collect()
    threads, before = native_threads(), descriptors()

    async def main() -> None:
        opener = Opener()
        waiting = asyncio.ensure_future(opener.open(path, small_bytes=SMALL_BYTES))
        await gate.reached()
        waiting.cancel()

    asyncio.run(main())
    gc.collect()
    assert descriptors() <= before
    gate.opened.set()
    until(lambda: native_threads() <= threads)


def test_clients_on_several_loops_are_independent(tmp_path: Path) -> None:
    paths = [settled(tmp_path / str(number), 1 + number) for number in range(50)]
    errors: list[BaseException] = []

    async def main() -> None:
        opener = Opener()
        for _ in range(5):
            for file, path in zip(await asyncio.gather(*(read(opener, path) for path in paths)), paths, strict=True):
                assert file.path == str(path)
                assert await opener.check(file)
        opener.close()

    def one() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            errors.append(error)

    loops = [threading.Thread(target=one) for _ in range(8)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
    assert errors == []


@pytest.mark.parametrize("error", [NotImplementedError(), OSError(24, "Too many open files")], ids=["loop", "limit"])
def test_python_threads_are_used_if_the_loop_cannot_wait_for_a_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path = settled(tmp_path / "f", 10)

    def refused(*_: object) -> None:
        raise error

    async def main() -> None:
        if isinstance(error, NotImplementedError):
            monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", refused)
        else:
            monkeypatch.setattr("cosxfer.engine.native_service.FileService", refused)
        before = descriptors()
        opener = Opener()
        file = await read(opener, path)
        assert await opener.check(file)
        assert opener._native is None
        gc.collect()
        assert descriptors() <= before
        opener.close()

    asyncio.run(main())


def test_without_native_code_python_threads_are_used(tmp_path: Path) -> None:
    path = settled(tmp_path / "f", 10)
    program = f"""
import asyncio
from cosxfer.engine.upload.opening import FileService, Opener
async def main():
    opener = Opener()
    file, digest = await opener.open({str(path)!r}, small_bytes=100)
    print(FileService, digest.length, await opener.check(file), opener._native)
    opener.close()
asyncio.run(main())
"""
    environment = os.environ | {"COSXFER_KERNEL": "pure"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "None 10 True None\n", done.stderr


def test_a_forked_child_uses_its_own_threads(tmp_path: Path) -> None:
    path = settled(tmp_path / "f", 10)
    program = f"""
import asyncio, gc, os
from cosxfer.engine.upload.opening import Opener
async def use(opener):
    file, _ = await opener.open({str(path)!r}, small_bytes=100)
    assert await opener.check(file)
async def parent():
    global opener
    opener = Opener()
    await use(opener)
    child = os.fork()
    if not child:
        return "child"
    assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
    await use(opener)
    opener.close()
    return "parent"
loop = asyncio.new_event_loop()
if loop.run_until_complete(parent()) == "child":
    del opener  # must not remove the descriptor from the parent's epoll
    gc.collect()
    asyncio.run(use(Opener()))
    os._exit(0)
print("done")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("done\n", "")
