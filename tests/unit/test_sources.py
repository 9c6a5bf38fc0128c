"""Files and streams as sources: their content and their errors."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cosxfer._native import slicing
from cosxfer.errors import SourceChangedError, SourceError, UsageError
from cosxfer.sources import ASKED_BYTES, FileSource, RegularFile, SmallFile

DATA = bytes(range(256)) * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


@pytest.fixture(params=["mapped", "read"])
def source(request: pytest.FixtureRequest, path: Path, monkeypatch: pytest.MonkeyPatch) -> FileSource:
    if request.param == "read":

        class Unmappable:
            def __init__(self, fd: int, size: int) -> None:
                raise OSError(19, "No such device")  # the error of mmap on some FUSE file systems

        monkeypatch.setattr(slicing, "MappedFile", Unmappable)
    source = FileSource.open(path)
    assert source.mapped == (request.param == "mapped")
    return source


def test_slices_prefetch_and_release(source: FileSource, path: Path) -> None:
    with source:
        assert (source.path, source.size) == (str(path), len(DATA))
        for offset, length in ((0, len(DATA)), (1000, 5000), (len(DATA), 0)):
            source.prefetch(offset, length)
            view = source.slice(offset, length)
            source.release(offset, length)
            source.drop_cache(offset, length)
            assert view == DATA[offset : offset + length]
            assert view.readonly
        source.check()
    assert view.nbytes == 0


def test_a_slice_outlives_the_source(source: FileSource) -> None:
    view = source.slice(10, 20)
    source.close()
    source.close()
    assert view == DATA[10:30]
    with pytest.raises(ValueError, match="closed"):
        source.slice(0, 1)
    with pytest.raises(ValueError, match="closed"):
        source.check()


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1), (0, len(DATA) + 1), (len(DATA), 1)])
def test_a_range_outside_the_file_is_a_usage_error(source: FileSource, offset: int, length: int) -> None:
    for call in (source.slice, source.prefetch, source.release, source.drop_cache):
        with pytest.raises(UsageError):
            call(offset, length)


@pytest.mark.parametrize("error", [OSError(12, "Cannot allocate memory"), MemoryError()])
def test_a_file_that_cannot_be_mapped_is_read_or_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def no_memory(*arguments: object) -> object:
        raise error

    monkeypatch.setattr(slicing, "MappedFile", no_memory)
    with FileSource.open(path) as source:
        assert source.slice(0, 100) == DATA[:100]
        monkeypatch.setattr("cosxfer.sources.bytearray", lambda length: exec("raise MemoryError"), raising=False)
        with pytest.raises(SourceError) as caught:
            source.slice(0, 100)
    why = "cannot allocate memory" if isinstance(error, OSError) else "out of memory"
    assert str(caught.value) == (
        f"cannot read '{path}': no memory for 100 bytes, and the file cannot be mapped ({why}). "
        "A limit on the address space (ulimit -v) may be the cause"
    )
    assert caught.value.path == str(path)


def test_a_path_that_is_not_a_regular_file_is_an_error_with_advice(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, why in (
        (tmp_path / "pipe", f"'{tmp_path}/pipe' is a named pipe, not a regular file; put_object"),
        (Path("/proc/self/status"), "'/proc/self/status' does not report its size; put_object"),
    ):
        with pytest.raises(SourceError) as caught:
            FileSource.open(name)
        assert str(caught.value) == f"{why}(bucket, key, open('{name}', 'rb')) sends what it contains"
    with pytest.raises(SourceError, match="is a directory; use upload_directory"):
        FileSource.open(tmp_path)


def test_a_file_that_reports_too_large_a_size_is_an_error(
    path: Path, source: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    sys_file = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if sys_file.exists():
        with pytest.raises(SourceError, match="reports 4096 bytes but has fewer; put_object") as caught:
            FileSource.open(sys_file)
        assert not isinstance(caught.value, SourceChangedError)
    if source.mapped:
        return
    monkeypatch.setattr(os, "preadv", lambda *arguments: 0)
    with pytest.raises(SourceError, match=f"reports {len(DATA)} bytes but has fewer; put_object") as caught:
        source.slice(0, 10)
    assert not isinstance(caught.value, SourceChangedError)


@pytest.mark.parametrize("more", [1, 100, 5000])
def test_a_mapped_file_that_announces_more_is_not_padded_with_zeros(
    path: Path, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    fstat = os.fstat

    def lying(fd: int) -> os.stat_result:
        status = fstat(fd)
        fields = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
        said: Any = SimpleNamespace(**{**fields, "st_size": status.st_size + more})
        return said

    monkeypatch.setattr("cosxfer.sources.os.fstat", lying)
    with pytest.raises(SourceError, match=f"reports {len(DATA) + more} bytes but has fewer; put_object") as caught:
        FileSource.open(path)
    assert not isinstance(caught.value, SourceChangedError)


def test_a_file_that_holds_more_than_it_announces_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: b"x")
    with pytest.raises(SourceError, match=f"has more than the {len(DATA)} bytes that it reports; put_object"):
        FileSource.open(path)
    assert str(path) not in [os.path.realpath(fd) for fd in Path("/proc/self/fd").iterdir()]


def test_a_file_that_grows_while_it_is_opened_has_its_new_size(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pread, grown = os.pread, 0

    def growing(fd: int, size: int, offset: int) -> bytes:
        nonlocal grown
        if grown < 3:
            grow(path)
            grown += 1
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", growing)
    with FileSource.open(path) as source:
        assert source.size == len(DATA) + 3 * len(b"more")
        source.check()


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with FileSource.open(tmp_path / "empty") as source:
        assert source.size == 0
        assert source.slice(0, 0) == b""
        source.drop_cache(0, 0)
        source.check()


def cut(path: Path) -> None:
    os.truncate(path, 100)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"changed")
    os.utime(path, ns=(1, 1))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(DATA)
    other.replace(path)


def chmod(path: Path) -> None:
    path.chmod(0o600 if path.stat().st_mode & 0o077 else 0o640)


def link(path: Path) -> None:
    path.with_name("link").hardlink_to(path)


def write_and_restore_times(path: Path) -> None:
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"changed")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture(params=["open", "small"])
def file(request: pytest.FixtureRequest, path: Path) -> RegularFile:
    small = SmallFile.read(path, len(DATA))
    assert small is not None
    assert small.content == DATA
    opened = FileSource.open(path)
    assert small.identity == opened.identity
    return opened if request.param == "open" else small


@pytest.mark.parametrize(
    ("change", "changed"),
    [(cut, "size"), (grow, "size"), (rewrite, "mtime"), (replace, "inode"), (Path.unlink, "inode")],
)
def test_a_change_is_seen_and_named(
    file: RegularFile, path: Path, change: Callable[[Path], object], changed: str
) -> None:
    assert file.check() or isinstance(file, SmallFile)  # the content of a freshly written file is compared
    change(path)
    with pytest.raises(SourceChangedError) as caught:
        file.check()
    assert caught.value.changed == changed
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("change", [chmod, link, write_and_restore_times])
def test_a_change_of_only_the_ctime_is_not_an_error(
    file: RegularFile, path: Path, change: Callable[[Path], object]
) -> None:
    change(path)
    assert not file.check()
    assert not file.check()
    if isinstance(file, SmallFile):
        if change is write_and_restore_times:
            with pytest.raises(SourceChangedError) as caught:
                file.compare()
            assert caught.value.changed == "content"
        else:
            file.compare()


def test_a_small_file_that_was_deleted_has_changed(path: Path) -> None:
    small = SmallFile.read(path, len(DATA))
    assert small is not None
    path.unlink()
    with pytest.raises(SourceChangedError):
        small.compare()


def test_a_truncated_file_does_not_crash_its_reader(source: FileSource, path: Path) -> None:
    cut(path)
    with contextlib.suppress(SourceChangedError):
        bytes(source.slice(0, len(DATA)))
    with pytest.raises(SourceChangedError) as caught:
        source.check()
    assert caught.value.changed == "size"


def test_a_relative_path_is_checked_where_it_was_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    small = SmallFile.read(path.name, len(DATA))
    assert small is not None
    with FileSource.open(path.name) as source:
        monkeypatch.chdir("/")
        source.check()
        small.check()


@pytest.mark.parametrize("wrong", ["missing", "directory", "pipe", "device", "proc", "nul"])
def test_a_path_that_cannot_be_opened_is_a_source_error(tmp_path: Path, wrong: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    paths = {
        "missing": tmp_path / "no" / "such",
        "directory": tmp_path,
        "pipe": pipe,
        "device": "/dev/null",
        "proc": "/proc/self/status",
        "nul": "a\0b",
    }
    with pytest.raises(SourceError) as caught:
        FileSource.open(paths[wrong])
    assert caught.value.path == str(paths[wrong])
    assert repr(str(paths[wrong])) in str(caught.value)


def test_an_unreadable_file_is_a_source_error(path: Path) -> None:
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(SourceError, match="permission denied"):
        FileSource.open(path)


# -- a write that the timestamps do not show --------------------------------------------------------------------------


class Clock:
    """A fake system clock; sleeping advances it."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns
        self.slept: list[float] = []

    def time_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_ns += round(seconds * 1e9)


@pytest.mark.parametrize(("age_ms", "waits"), [(0, [0.01]), (4, [0.006]), (9, [0.001]), (10, []), (5000, []), (-1, [])])
def test_a_file_is_read_when_a_later_write_would_change_its_timestamps(
    path: Path, monkeypatch: pytest.MonkeyPatch, age_ms: int, waits: list[float]
) -> None:
    clock = Clock(path.stat().st_ctime_ns + age_ms * 1_000_000)
    monkeypatch.setattr("cosxfer.sources.time", clock)
    with FileSource.open(path) as source:
        assert clock.slept == pytest.approx(waits)
        assert source.check()


@pytest.mark.parametrize(("age_ms", "decides"), [(0, False), (9, False), (10, True), (5000, True), (-1, False)])
def test_the_timestamps_of_a_freshly_written_small_file_are_not_trusted(
    path: Path, monkeypatch: pytest.MonkeyPatch, age_ms: int, decides: bool
) -> None:
    monkeypatch.setattr("cosxfer.sources.time", Clock(path.stat().st_ctime_ns + age_ms * 1_000_000))
    small = SmallFile.read(path, len(DATA))
    assert small is not None
    assert small.check() is decides
    small.compare()


# -- the page cache ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "cached"),
    [
        ([1, 1, 1], True),
        ([1, BlockingIOError(errno.EAGAIN, "it would wait")], False),
        ([OSError(errno.EOPNOTSUPP, "no such reads")], False),
        ([1, 1, 0], False),
    ],
    ids=["all are there", "one is on the disk", "the file system does not tell", "the file was cut"],
)
def test_bytes_are_cached_if_each_can_be_read_without_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: list[int | OSError], cached: bool
) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(1000))
    asked: list[tuple[int, int]] = []

    def answer(fd: int, buffers: object, offset: int, flags: int) -> int:
        asked.append((offset, flags))
        found = answers[len(asked) - 1]
        if isinstance(found, OSError):
            raise found
        return found

    with FileSource.open(path) as source:
        monkeypatch.setattr(os, "preadv", answer)
        assert source.is_cached([0, 500, 999]) is cached
    assert asked == [(offset, os.RWF_NOWAIT) for offset in (0, 500, 999)][: len(answers)]


@pytest.mark.parametrize(
    ("size", "events"),
    [(0, []), (1000, [[0, 500], "end"]), (ASKED_BYTES, [[0, ASKED_BYTES // 2], "end"]), (ASKED_BYTES + 1, ["end"])],
)
@pytest.mark.parametrize("cached", [True, False])
def test_a_small_file_is_asked_whether_it_is_cached_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, events: list[object], cached: bool
) -> None:
    path = tmp_path / "f"
    path.touch()
    os.truncate(path, size)
    found: list[object] = []

    def is_cached(self: FileSource, offsets: Iterable[int]) -> bool:
        found.append([*offsets])
        return cached

    monkeypatch.setattr(FileSource, "is_cached", is_cached)
    monkeypatch.setattr(FileSource, "_check_end", lambda self: found.append("end"))
    with FileSource.open(path) as source:
        assert source.in_cache is (size == 0 or (cached and size <= ASKED_BYTES))
    assert found == events
