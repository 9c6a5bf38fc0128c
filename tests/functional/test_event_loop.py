"""No call blocks the caller's event loop on a file system.

`sys.setprofile` reports each call of a built-in function in the loop's thread, including calls without an audit event
(stat, read, write, close). It does not report calls inside our compiled code. Only `cosxfer._native.slicing` accesses
files there, and its functions are watched by name.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import cosxfer
from cosxfer._native import slicing
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running

# fmt: off
FILE_CALLS = {
    "access", "chmod", "chown", "close", "dup", "fchmod", "fchown", "fdatasync", "fstat", "fsync", "ftruncate",
    "getxattr", "link", "listdir", "lseek", "lstat", "mkdir", "open", "posix_fadvise", "pread", "preadv", "pwrite",
    "pwritev", "read", "readlink", "remove", "removexattr", "rename", "replace", "rmdir", "scandir", "sendfile",
    "setxattr", "stat", "statvfs", "symlink", "truncate", "unlink", "utime", "write", "writev",
}
# fmt: on
"""Functions of the module posix, which os and pathlib call."""

ALLOWED: dict[str, str] = {}
"""Functions that may make such a call on the loop, with the reason."""


class Watch:
    """Records a thread's file system calls, as ``function: call``."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._on = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call" and self._on and (call := file_call(argument)):
            callers = ours(frame)
            if callers and ALLOWED.keys().isdisjoint(callers):
                self.seen.add(f"{callers[0]}: {call}")

    @contextmanager
    def watching(self) -> Iterator[None]:
        self._on = True
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            self._on = False


def file_call(function: Any) -> str:
    owner, name = getattr(function, "__self__", None), function.__name__
    if getattr(function, "__module__", None) == "posix" and name in FILE_CALLS:
        return f"os.{name}"
    if isinstance(owner, io.IOBase) and not isinstance(owner, io.BytesIO | io.StringIO):
        return f"{type(owner).__name__}.{name}"
    if name in ("open", "open_code", "flock", "lockf", "load_verify_locations", "load_default_certs"):
        return str(name)
    return ""


def ours(frame: FrameType | None) -> list[str]:
    """The package's functions on the stack, innermost first."""
    found = []
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("cosxfer."):
            found.append(f"{module}.{frame.f_code.co_qualname}")
        frame = frame.f_back
    return found


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    read_small = slicing.read_small

    def watched(*arguments: Any) -> Any:
        assert asyncio._get_running_loop() is None, "read_small is called on the event loop"
        return read_small(*arguments)

    monkeypatch.setattr(slicing, "read_small", watched)
    return watch


Use = Callable[[cosxfer.AsyncClient, str, Path], Awaitable[object]]


async def put(client: cosxfer.AsyncClient, bucket: str, folder: Path) -> None:
    await client.put_object(bucket, "small", folder / "small")
    await client.put_object(bucket, "large", folder / "large")
    await client.submit_put_object(bucket, "large", folder / "large")


async def upload(client: cosxfer.AsyncClient, bucket: str, folder: Path) -> None:
    await client.upload_file(bucket, "small", folder / "small")
    await client.upload_file(bucket, "large", folder / "large", part_size=MIB)
    await client.slice_upload_file(bucket, "large", folder / "large")
    await client.submit_upload_file(bucket, "large", folder / "large", slice_size=16 * MIB)


async def upload_many(client: cosxfer.AsyncClient, bucket: str, folder: Path) -> None:
    files: list[cosxfer.FileUpload] = [
        {"bucket": bucket, "key": name, "path": folder / name} for name in ("small", "large")
    ]
    for results in (await client.upload_files(files), await client.submit_upload_files(files).result()):
        assert all(result.error is None for result in results)


async def upload_tree(client: cosxfer.AsyncClient, bucket: str, folder: Path) -> None:
    results = await client.upload_directory(bucket, "tree", folder, include=["small", "large"])
    assert all(result.error is None for result in results)


async def fetch(client: cosxfer.AsyncClient, bucket: str, folder: Path) -> None:
    await client.get_object(bucket, "small", output=folder / "copy")
    await client.get_object(bucket, "large", output=folder / "copy")
    with pytest.raises(cosxfer.NotFoundError):
        await client.get_object(bucket, "nothing", output=folder / "none")


async def download(client: cosxfer.AsyncClient, bucket: str, folder: Path) -> None:
    await client.download_file(bucket, "small", folder / "copy")
    await client.download_file(bucket, "large", folder / "copy", part_size=MIB)
    with pytest.raises(cosxfer.TargetError):
        await client.download_file(bucket, "large", folder / "none" / "copy")
    task = client.submit_download_file(bucket, "large", folder / "copy", part_size=MIB)
    await task.pause()
    await task.cancel()


async def sync(client: cosxfer.AsyncClient, bucket: str, folder: Path) -> None:
    place = f"cos://{bucket}/sync"
    filters = [("include", "small"), ("include", "large"), ("include", "/copies"), ("include", "extra")]
    for options in ({}, {"checksum": True}, {"files_from": ["small"]}):
        assert (await client.sync(folder, place, filters=filters, **options)).ok  # type: ignore[arg-type]
        assert (await client.sync(place, folder / "copies", **options)).ok  # type: ignore[arg-type]
    (folder / "copies/extra").write_bytes(b"x")
    done = await client.sync(place, folder / "copies", delete=True, backup_prefix=str(folder / "backup"))
    assert (done.deleted, done.ok) == (1, True)


@pytest.mark.parametrize("transport", ["native", "httpx"])
@pytest.mark.parametrize("use", [put, upload, upload_many, upload_tree, fetch, download, sync])
def test_no_call_makes_the_event_loop_wait_for_a_file_system(
    server: RunningServer, watch: Watch, tmp_path: Path, use: Use, transport: str
) -> None:
    (tmp_path / "small").write_bytes(b"s" * 5000)
    (tmp_path / "large").write_bytes(b"l" * (6 * MIB))

    async def main() -> None:
        async with cosxfer.AsyncClient(
            endpoint=server.endpoint,
            credentials=server.credentials,
            journal=tmp_path / "journal",
            transport=transport,  # type: ignore[arg-type]
        ) as client:
            await put(client, server.bucket, tmp_path)
            await use(client, server.bucket, tmp_path)  # imports everything
            with watch.watching():
                await use(client, server.bucket, tmp_path)

    asyncio.run(main())
    assert not watch.seen, sorted(watch.seen)


@pytest.mark.parametrize("version", ["auto", "1.1", "2"])
@pytest.mark.parametrize("transport", ["native", "httpx"])
def test_the_certificate_authorities_are_not_read_on_the_event_loop(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, transport: str, version: str
) -> None:
    async def put(server: RunningServer) -> None:
        async with cosxfer.AsyncClient(
            endpoint=server.endpoint,
            credentials=server.credentials,
            transport=transport,  # type: ignore[arg-type]
            http_version=version,  # type: ignore[arg-type]
        ) as client:
            await asyncio.gather(*(client.put_object(server.bucket, f"k{n}", b"content") for n in range(4)))
            await client.put_object(server.bucket, "k", b"content", expect="100-continue")

    async def main() -> None:
        with running(tls=True) as server:
            monkeypatch.setenv("SSL_CERT_FILE", str(server.ca_file))
            await put(server)
            with watch.watching():
                await put(server)

    asyncio.run(main())
    assert not watch.seen, sorted(watch.seen)


def test_the_watch_sees_file_calls(watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ours", lambda frame: ["here"])
    path = tmp_path / "f"
    with watch.watching():
        path.write_bytes(b"content")
        path.stat()
        path.rename(tmp_path / "g")
    assert {"here: os.stat", "here: os.rename", "here: open"} <= watch.seen
    assert any("write" in call for call in watch.seen)
