"""Walking a tree: any depth, few descriptors, and every unreadable entry is reported."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import pytest

from cosxfer.errors import SourceError
from cosxfer.paths import STEP_BYTES, look_at, open_path, shown_path, stat_path
from cosxfer.sources import FileSource
from cosxfer.tree import MAX_OPEN_FOLDERS, walk
from tests.unit.deep_tree import deep_folder, write_at


def everything(names: Sequence[str], *, is_folder: bool, within: bool) -> bool | None:
    return True


def paths(root: Path) -> dict[str, SourceError | None]:
    return {"/".join(entry.names): entry.error for entry in walk(str(root), everything)}


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("names", [3000 * ["a"], 300 * [200 * "n"]], ids=["deep", "long"])
def test_a_tree_may_be_deeper_than_the_longest_path(tmp_path: Path, names: list[str]) -> None:
    root = tmp_path / "root"
    with deep_folder(root, names) as bottom:
        write_at(bottom, "file", b"deep")
        path = "/".join([str(root), *names, "file"])
        assert paths(root) == {"/".join([*names, "file"]): None}
        fd = open_path(path, os.O_RDONLY)
        try:
            assert os.read(fd, 9) == b"deep"
        finally:
            os.close(fd)
        assert stat_path(path).st_size == 4
        with pytest.raises(FileNotFoundError):
            stat_path(path + "s")
        with pytest.raises(NotADirectoryError):
            open_path(path + "/x", os.O_RDONLY)


def test_siblings_of_a_deep_folder_are_found_with_few_open_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    depth = 5 * MAX_OPEN_FOLDERS
    before = open_descriptors()
    most = 0
    with deep_folder(root, depth * ["a"]):
        folder = root
        for _ in range(depth):
            for side in ("b", "Z"):
                (folder / side).mkdir()
                (folder / side / "file").touch()
            folder = folder / "a"
        found = set()
        for entry in walk(str(root), everything):
            assert entry.error is None
            found.add("/".join(entry.names))
            most = max(most, open_descriptors() - before)
    assert found == {"a/" * level + side + "/file" for level in range(depth) for side in ("b", "Z")}
    # The root, the open folders and the one being read, plus one of the fixture and one of the count itself.
    assert most <= MAX_OPEN_FOLDERS + 5
    assert open_descriptors() == before


def test_the_parent_of_a_moved_folder_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    depth, middle = 4 * MAX_OPEN_FOLDERS, 2 * MAX_OPEN_FOLDERS
    folder = root
    for level in range(depth):
        (folder / "b").mkdir(parents=True)
        (folder / "b" / str(level)).touch()
        folder = folder / "a"
    (elsewhere / "b").mkdir(parents=True)
    (elsewhere / "b" / "other").touch()
    scandir = os.scandir

    @contextmanager
    def scan(fd: int) -> Iterator[list[os.DirEntry[str]]]:
        with scandir(fd) as entries:
            yield sorted(entries, key=lambda entry: entry.name, reverse=True)  # "a" is entered first

    def choose(names: Sequence[str], *, is_folder: bool, within: bool) -> bool | None:
        if len(names) == depth and not (elsewhere / "a").exists():
            root.joinpath(*middle * ["a"]).rename(elsewhere / "a")
        return True

    monkeypatch.setattr(os, "scandir", scan)
    found = {"/".join(entry.names): entry.error for entry in walk(str(root), choose)}
    assert found == {level * "a/" + f"b/{level}": None for level in range(depth)}


def test_an_abandoned_walk_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = open_descriptors()
    with deep_folder(tmp_path / "root", 50 * ["a"]) as bottom:
        write_at(bottom, "file", b"")
        entries = walk(str(tmp_path / "root"), everything)
        next(entries)
        entries.close()  # type: ignore[attr-defined]
    assert open_descriptors() == before


class Broken:
    """A scan that fails after some entries."""

    def __init__(self, scan: Iterator[os.DirEntry[str]], good: int) -> None:
        self.scan = scan
        self.left = good

    def __enter__(self) -> Broken:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.scan.close()  # type: ignore[attr-defined]

    def __iter__(self) -> Broken:
        return self

    def __next__(self) -> os.DirEntry[str]:
        if not self.left:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.left -= 1
        return next(self.scan)


@pytest.mark.parametrize("where", ["", "folder"])
def test_entries_before_a_failure_are_returned_with_the_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("folder/a", "folder/b", "folder/c"):
        (tmp_path / name).touch()
    inode = (tmp_path / where).stat().st_ino
    scandir = os.scandir

    def scan(fd: int) -> object:
        good = 1 if where == "" else 2
        return Broken(scandir(fd), good) if os.fstat(fd).st_ino == inode else scandir(fd)

    monkeypatch.setattr(os, "scandir", scan)
    found = paths(tmp_path)
    assert f"cannot read the directory '{tmp_path / where}': input/output error".replace("/'", "'") == str(found[where])
    assert len([error for error in found.values() if error is None]) == (3 if where == "" else 2)


def test_a_deleted_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    found = {}
    for entry in walk(str(tmp_path), everything):
        found["/".join(entry.names)] = str(entry.error)
        if (tmp_path / "folder").is_dir():
            (tmp_path / "folder").rmdir()
    assert found == {
        "file": "None",
        "folder": f"cannot read the directory '{tmp_path}/folder': no such file or directory",
    }


def test_a_folder_that_becomes_a_link_is_not_followed(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    (root / "folder").mkdir(parents=True)
    (root / "file").touch()
    other.mkdir()
    (other / "secret").touch()
    found = {}
    for entry in walk(str(root), everything):
        found["/".join(entry.names)] = entry.error
        if not (root / "folder").is_symlink():
            (root / "folder").rmdir()
            (root / "folder").symlink_to(other)
    assert found["folder"] is not None
    assert "folder/secret" not in found


def test_an_entry_that_cannot_be_examined_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path / ("n" * 300))  # longer than any name may be
    found = paths(tmp_path)
    assert str(found["link"]) == f"'{tmp_path}/link' cannot be examined: file name too long"


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/dev/zero", "is a link to a device, not a regular file"),
        ("/dev", "is a link to a directory"),
        ("pipe", "is a link to a named pipe, not a regular file"),
        ("nowhere", "is a broken link: 'nowhere' does not exist"),
        ("file/x", "is a broken link: 'file/x' does not exist"),
        ("link", "is a link that leads back to itself, or through too many links"),
        ("file", ""),
    ],
)
def test_the_message_names_the_kind_of_link(tmp_path: Path, target: str, why: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(target)
    assert look_at(str(tmp_path / "link")).why == why
    error = paths(tmp_path)["link"]
    assert (str(error) if error else "None").startswith(f"'{tmp_path}/link' {why}" if why else "None")


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/dev/zero", "'{path}' is a link to a device, not a regular file; put_object"),
        ("/dev", "'{path}' is a directory; use upload_directory"),
        ("pipe", "'{path}' is a link to a named pipe, not a regular file; put_object"),
        ("socket", "cannot open '{path}': it is a link to a socket, not a regular file"),
        ("nowhere", "cannot open '{path}': it is a broken link: 'nowhere' does not exist"),
        ("link", "cannot open '{path}': it is a link that leads back to itself"),
    ],
)
def test_the_message_names_the_kind_of_file(tmp_path: Path, target: str, why: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mknod(tmp_path / "socket", stat.S_IFSOCK | 0o600)
    path = tmp_path / "link"
    path.symlink_to(target)
    with pytest.raises(SourceError) as caught:
        FileSource.open(path)
    assert str(caught.value).startswith(why.format(path=path))


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("nowhere", "it is a broken link: 'nowhere' does not exist"),
        ("root", "it is a link that leads back to itself, or through too many links"),
        ("/dev/null", "not a directory"),
    ],
)
def test_the_message_names_the_kind_of_a_root_that_is_no_directory(tmp_path: Path, target: str, why: str) -> None:
    root = tmp_path / "root"
    root.symlink_to(target)
    with pytest.raises(SourceError) as caught:
        next(walk(str(root), everything))
    assert str(caught.value) == f"cannot read the directory '{root}': {why}"


def test_a_long_path_is_shown_without_its_middle() -> None:
    assert shown_path("/a'b") == '"/a\'b"'
    shown = shown_path("/first" + "/n" * 5000 + "/last\n")
    assert len(shown) < 300
    assert shown.startswith("'/first/n")
    assert shown.endswith("/last\\n'")
    assert "(10,012 characters)" in shown


def test_a_name_that_is_too_long_stays_an_error() -> None:
    with pytest.raises(OSError, match="too long"):
        open_path("n" * 300, os.O_RDONLY)
    with pytest.raises(OSError, match="too long"):
        stat_path("/" + "n" * (5 * STEP_BYTES))
