"""A small file that is written in one call: whole under its name, or nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cosxfer._native import COMPILED, slicing

pytestmark = pytest.mark.skipif(not COMPILED, reason="native code is off")

CONTENT = bytes(range(256)) * 100


def write(temporary: Path, target: Path, content: bytes = CONTENT, modified: int | None = None) -> int:
    return slicing.write_new(os.fsencode(temporary), os.fsencode(target), content, modified)


@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
def test_a_new_file_gets_its_content_and_its_name(tmp_path: Path, content: bytes) -> None:
    old = os.umask(0o027)
    try:
        assert write(tmp_path / "t", tmp_path / "f", content) == 0
    finally:
        os.umask(old)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == content
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("nanoseconds", [0, 1, 1234567890123456789, -1, -1_500_000_000])
def test_the_time_is_that_to_the_nanosecond(tmp_path: Path, nanoseconds: int) -> None:
    assert write(tmp_path / "t", tmp_path / "f", modified=nanoseconds) == 0
    assert (tmp_path / "f").stat().st_mtime_ns == nanoseconds


@pytest.mark.parametrize("taken", ["t", "f"])
def test_nothing_is_done_if_one_of_the_names_is_taken(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).symlink_to("nowhere")
    assert write(tmp_path / "t", tmp_path / "f") == -1
    assert [path.name for path in tmp_path.iterdir()] == [taken]


def test_nothing_is_done_without_the_folder(tmp_path: Path) -> None:
    assert write(tmp_path / "d" / "t", tmp_path / "d" / "f") == -1
    assert slicing.write_new(os.fsencode(tmp_path / "t") + b"\0", os.fsencode(tmp_path / "f"), b"") == -1
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    # The name cannot be moved to a folder that does not exist.
    assert write(tmp_path / "t", tmp_path / "missing" / "f") == errno.ENOENT
    assert [path.name for path in tmp_path.iterdir()] == ["d"]
