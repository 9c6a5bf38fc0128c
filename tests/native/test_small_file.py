"""A small file read in one step: what is read, and what is left to others."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import pytest

from tests.native.reference import noise


@pytest.mark.parametrize("size", [1, 4096, 100_000])
def test_it_reads_a_file_and_says_what_it_was(slicing: ModuleType, tmp_path: Path, size: int) -> None:
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


def test_anything_else_is_left_to_others(slicing: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"abcd")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name in ("long", "empty", "pipe", "missing", "", "nul\0"):
        assert slicing.read_small(f"{tmp_path}/{name}", 3) is None
