"""A small file is read in one step; all other files are left to the general path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from cosxfer._native import pure_slicing
from tests.native.reference import noise


@pytest.mark.parametrize("size", [1, 4096, 100_000])
def test_a_file_is_read_with_its_identity(slicing: ModuleType, tmp_path: Path, size: int) -> None:
    path = tmp_path / "f é"
    path.write_bytes(noise(size))
    status = path.stat()
    expected = (status.st_dev, status.st_ino, size, status.st_mtime_ns, status.st_ctime_ns)
    for name in (path, str(path)):
        assert slicing.read_small(name, size) == (noise(size), expected)


def test_it_leaves_no_descriptor_open(slicing: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for longest in (2, 3):
        slicing.read_small(path, longest)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_other_files_are_not_read(slicing: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"abcd")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name in ("long", "empty", "pipe", "missing", "", "nul\0"):
        assert slicing.read_small(f"{tmp_path}/{name}", 3) is None


@pytest.mark.parametrize(
    "moment",
    [
        0,
        -1,
        1,
        -1_500_000_000,
        1_000_000_001,
        4_294_967_296 * 10**9,
        9_223_372_036_854_775_807,
        9_300_000_000 * 10**9 + 7,
    ],
    ids=str,
)
def test_a_file_may_have_any_timestamp_of_the_file_system(slicing: ModuleType, tmp_path: Path, moment: int) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    os.utime(path, ns=(moment, moment))
    kept = path.stat().st_mtime_ns
    # Some file systems keep 34 bits of seconds, or none before 1970.
    if kept != moment:
        pytest.skip(f"this file system makes {kept} of it")
    [content, identity] = slicing.read_small(path, 3)
    assert (content, identity[3]) == (b"abc", moment)


def test_a_file_with_a_wrong_announced_length_is_not_read(slicing: ModuleType) -> None:
    for name in ("/proc/sys/kernel/hostname", "/sys/kernel/mm/transparent_hugepage/enabled"):
        assert slicing.read_small(name, 100_000) is None


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    read = os.read

    def grown(fd: int, size: int) -> bytes:
        with path.open("ab") as file:
            file.write(b"d")
        return read(fd, size)

    monkeypatch.setattr(os, "read", grown)
    assert pure_slicing.read_small(path, 3) is None


def test_sizes_of_many_files(slicing: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for number in range(300):
            (tmp_path / folder / f"{number}").write_bytes(bytes(number + 1))
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    kept = [f"{tmp_path}/{folder}/{number}" for folder in "ab" for number in range(300)]
    mixed = [name for pair in zip(kept[:300], kept[300:], strict=True) for name in pair]
    relative = ["a/0", "a/1", "a//2", "a/3/", "./a/4", "b/5", "b/6"]
    no_files = [f"{tmp_path}/a", f"{tmp_path}/a/", f"{tmp_path}/a/", f"{tmp_path}/none", f"{tmp_path}/none/x", "/", ""]
    odd = [f"{tmp_path}/broken", f"{tmp_path}/pipe", "nul\0", "\ud800", None, 5, "n" * 300]
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert slicing.sizes_of(kept) == [*range(1, 301)] * 2
    assert slicing.sizes_of(mixed) == [size for size in range(1, 301) for _ in "ab"]
    assert slicing.sizes_of(relative) == [1, 2, 3, 0, 5, 6, 7]
    assert slicing.sizes_of(no_files + odd) == [0] * 14
    assert slicing.sizes_of(["/" + "x/" * 3000, Path(kept[0]), kept[1].encode()]) == [-1, 1, 2]
    assert slicing.sizes_of([]) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(("mode", "sizes"), [(0o711, "[5, 5, 5]"), (0o700, "[0, 0, 0]")])
def test_sizes_in_a_folder_that_may_not_be_read(slicing: ModuleType, tmp_path: Path, mode: int, sizes: str) -> None:
    """One that may be entered, and one that may not."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in "abc":
        (folder / name).write_bytes(b"12345")
    folder.chmod(mode)
    tmp_path.chmod(0o755)  # the paths are relative to the working directory
    program = f"""
import os
from {slicing.__name__} import sizes_of
os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(sizes_of(["folder/a", "folder/b", "folder/c"]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == sizes, done.stderr
