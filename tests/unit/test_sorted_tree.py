"""Walking a tree in the order of keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosxfer import sorted_tree
from cosxfer.errors import SourceError
from cosxfer.sorted_tree import UNKNOWN_SIZE, Entry, sorted_blocks
from tests.unit.deep_tree import deep_folder, write_at
from tests.unit.unprivileged import reachable_by_others, run_unprivileged


def entries(root: Path, **more: object) -> list[Entry]:
    return [entry for block in sorted_blocks(str(root), **more) for entry in block]  # type: ignore[arg-type]


def paths(root: Path) -> list[bytes]:
    return [entry[0] for entry in entries(root)]


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_a_folder_sorts_by_its_name_and_a_slash(tmp_path: Path) -> None:
    make(tmp_path, "a/b", "a.txt", "a-b", "a0", "a b/x", "a/c/d", "a/c.e")
    found = paths(tmp_path)
    assert found == [b"a b/x", b"a-b", b"a.txt", b"a/b", b"a/c.e", b"a/c/d", b"a0"]
    assert found == sorted(found)


NAMES = st.text("ab.-0é \U0001f600", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))


@settings(max_examples=60, deadline=None)
@given(trees=st.sets(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=25), block=st.integers(1, 4))
def test_the_walk_has_the_order_of_the_bytes_of_the_whole_paths(
    trees: set[str], block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("tree")
    made = set()
    for name in sorted(trees, key=len):
        try:
            make(root, name)
        except OSError:
            continue  # a file where it needs a folder, or the other way round
        made.add(name.encode())
    before, sorted_tree.BLOCK_ENTRIES = sorted_tree.BLOCK_ENTRIES, block
    try:
        assert paths(root) == sorted(made)
    finally:
        sorted_tree.BLOCK_ENTRIES = before


def test_an_entry_has_size_time_and_identity(tmp_path: Path) -> None:
    make(tmp_path, "file")
    os.utime(tmp_path / "file", ns=(1, 1_234_567_890_123_456_789))
    status = (tmp_path / "file").stat()
    assert entries(tmp_path) == [(b"file", 4, 1_234_567_890_123_456_789, status.st_ino, status.st_ctime_ns)]


def unknown_ranges(root: Path) -> dict[bytes, tuple[bytes | None, str]]:
    return {
        entry[0]: (entry[3].end, str(entry[3].error).replace(str(root), "ROOT"))
        for entry in entries(root)
        if entry[1] == UNKNOWN_SIZE
    }


def test_what_is_no_readable_file_is_unknown(tmp_path: Path) -> None:
    make(tmp_path, "folder/inside", "file")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "to-folder").symlink_to("folder")
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff")).write_bytes(b"")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/dir\xff")).mkdir()
    found = paths(tmp_path)
    assert found == sorted(found)
    assert [entry[0] for entry in entries(tmp_path) if entry[1] >= 0] == [b"file", b"folder/inside", b"link"]
    bad = unknown_ranges(tmp_path)
    assert {first: end for first, (end, _) in bad.items()} == {
        b"bad\xff": b"bad\xff\0",
        b"broken": b"broken\0",
        b"dir\xff/": b"dir\xff0",
        b"pipe": b"pipe\0",
        b"to-folder": b"to-folder\0",
        b"to-folder/": b"to-folder0",
    }
    assert bad[b"pipe"][1] == "'ROOT/pipe' is a named pipe, not a regular file"
    assert bad[b"broken"][1] == "'ROOT/broken' is a broken link: 'nowhere' does not exist"
    assert bad[b"to-folder/"][1] == "'ROOT/to-folder' is a link to a directory, which is not followed"
    assert "has a name that is not UTF-8" in bad[b"bad\xff"][1]


def test_an_unreadable_folder_is_unknown_and_not_empty(tmp_path: Path) -> None:
    make(tmp_path, "a/file", "closed/secret", "closed.txt", "listed/file", "z")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "listed").chmod(0o444)
    reachable_by_others(tmp_path)
    tmp_path.chmod(0o755)

    def look() -> None:
        found = entries(tmp_path)
        assert [entry[0] for entry in found] == [b"a/file", b"closed.txt", b"closed/", b"listed/file", b"z"]
        assert [entry[1] for entry in found] == [6, 10, UNKNOWN_SIZE, UNKNOWN_SIZE, 1]
        assert found[2][3].end == b"closed0"
        assert "permission denied" in str(found[3][3].error)

    run_unprivileged(look)
    (tmp_path / "closed").chmod(0o700)


def test_a_listing_that_fails_half_way_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/1", "a/2", "b")
    folder = (tmp_path / "a").stat().st_ino
    real = os.scandir

    class Failing:
        def __init__(self, fd: int) -> None:
            self.scan = real(fd)

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            self.scan.close()

        def __iter__(self) -> Failing:
            return self

        def __next__(self) -> object:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "scandir", lambda fd: Failing(fd) if os.fstat(fd).st_ino == folder else real(fd))
    assert unknown_ranges(tmp_path) == {
        b"a/": (b"a0", "cannot read the directory 'ROOT/a': input/output error"),
    }
    assert paths(tmp_path) == [b"a/", b"b"]


def test_a_root_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot read the directory"):
        paths(tmp_path / "missing")


def test_files_that_downloads_are_writing_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, ".x.01234567.cosxfer-part0", ".hidden", "x.cosxfer-part0")
    assert paths(tmp_path) == [b".hidden", b"x.cosxfer-part0"]


def test_a_tree_deeper_than_path_max_is_walked(tmp_path: Path) -> None:
    names = [f"folder-{number:03}" for number in range(500)]
    with deep_folder(tmp_path / "deep", names) as fd:
        write_at(fd, "file", b"x")
        make(tmp_path / "deep", "folder-000/zz")
        found = entries(tmp_path / "deep")
    assert [(len(entry[0]), entry[1]) for entry in found] == [(500 * 11 + 4, 1), (13, 13)]
