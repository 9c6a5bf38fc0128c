"""A directory tree: which files, in which order, under which keys; and what is no file."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

import cosxfer
from cosxfer.tasks.directory import find_files, joined
from tests.unit.fake_cos import BUCKET, FakeCos
from tests.unit.files import write


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in ("b.txt", "a/2.log", "a/10.log", "a/deep/er/x.txt", "a.b/c.txt", "B.txt", "é.txt", "a-b.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write(root / name, len(name))
    (root / "empty").mkdir()
    return root


def names(root: Path, **patterns: list[str]) -> list[str]:
    return [found.relative for found in find_files(root, **patterns)]


def test_files_come_in_the_order_of_their_paths(tree: Path) -> None:
    found = names(tree)
    assert found == sorted(found, key=os.fsencode)
    assert len(found) == 8
    assert found[0] == "B.txt"
    assert "empty" not in " ".join(found)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ({"include": ["*.log"]}, ["a/10.log", "a/2.log"]),
        ({"include": ["a/*"]}, ["a/10.log", "a/2.log", "a/deep/er/x.txt"]),
        ({"include": ["x.txt"]}, ["a/deep/er/x.txt"]),
        ({"include": ["?.txt"], "exclude": ["deep", "B.*", "é*"]}, ["a.b/c.txt", "b.txt"]),
        ({"include": ["[ab]*/*.txt"]}, ["a.b/c.txt", "a/deep/er/x.txt"]),
        ({"exclude": ["*"]}, []),
        ({"include": []}, []),
        ({"exclude": ["a", "a.b", "*.txt"]}, []),
        ({"include": ["b.TXT"]}, []),
    ],
)
def test_patterns_choose(tree: Path, patterns: dict[str, list[str]], expected: list[str]) -> None:
    assert names(tree, **patterns) == expected


def test_patterns_that_can_be_looked_at_once_choose_all_the_same(tree: Path) -> None:
    chosen = find_files(tree, include=(p for p in ["*.log", "x.txt"]), exclude=iter(["deep"]))  # type: ignore[arg-type]
    assert [found.relative for found in chosen] == ["a/10.log", "a/2.log"]


def test_a_string_is_no_list_of_patterns(tree: Path) -> None:
    with pytest.raises(cosxfer.UsageError, match="exclude is str; it must be a list of patterns"):
        find_files(tree, exclude="*.log")


def test_links_to_files_are_files_and_other_things_come_back_with_an_error(tree: Path) -> None:
    (tree / "link.txt").symlink_to(tree / "b.txt")
    (tree / "loop").symlink_to(tree)
    (tree / "nothing").symlink_to(tree / "not there")
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(tree)
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
        found = {entry.relative: entry.error for entry in find_files(tree)}
    assert found["link.txt"] is None
    told = {name: str(error) for name, error in found.items() if error is not None}
    assert set(told) == {"loop", "nothing", "pipe", "socket"}
    assert "link to a directory, which is not followed" in told["loop"]
    assert "link to nothing" in told["nothing"]
    assert "not a regular file" in told["pipe"]
    assert "not a regular file" in told["socket"]


def test_what_is_excluded_is_no_error(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    assert [found.error for found in find_files(tree, exclude=["pipe"])] == 8 * [None]


@pytest.mark.parametrize("make", [lambda path: None, Path.touch])
def test_a_root_that_is_no_directory_is_an_error_of_the_call(cos: FakeCos, tmp_path: Path, make: object) -> None:
    make(tmp_path / "root")  # type: ignore[operator]
    with cos.blocking_client() as client, pytest.raises(cosxfer.SourceError, match="cannot read the directory"):
        client.upload_directory(BUCKET, "p", tmp_path / "root")


@pytest.mark.parametrize(
    ("prefix", "key"), [("", "a/b"), ("p", "p/a/b"), ("p/", "p/a/b"), ("p/q", "p/q/a/b"), ("p//", "p//a/b")]
)
def test_keys_are_prefix_and_path(prefix: str, key: str) -> None:
    assert joined(prefix, "a/b") == key


def test_a_tree_is_uploaded_and_nothing_is_passed_over_in_silence(cos: FakeCos, tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    (tree / os.fsdecode(b"bad\xff")).write_bytes(b"x")
    finished: list[str] = []
    with cos.blocking_client() as client:
        results = client.upload_directory(
            BUCKET,
            "backup",
            tree,
            exclude=["*.log"],
            storage_class="ARCHIVE",
            on_file_finish=lambda error, result, options: finished.append(options["key"]),
        )
    keys = [result.options["key"] for result in results]
    assert keys == sorted(keys, key=os.fsencode)
    good = {result.options["key"] for result in results if result.error is None}
    assert good == set(cos.objects)
    assert good == {"backup/" + name for name in names(tree, exclude=["*.log", "pipe", "bad*"])}
    errors = {result.options["key"]: result.error for result in results if result.error is not None}
    assert set(errors) == {"backup/pipe", "backup/" + os.fsdecode(b"bad\xff")}
    assert isinstance(errors["backup/pipe"], cosxfer.SourceError)
    assert sorted(finished) == sorted(keys)
    assert cos.objects["backup/a/deep/er/x.txt"].content == (tree / "a/deep/er/x.txt").read_bytes()
    assert {stored.headers["x-cos-storage-class"] for stored in cos.objects.values()} == {"ARCHIVE"}


def test_a_link_to_a_directory_adds_nothing_to_what_is_to_be_sent(cos: FakeCos, tree: Path) -> None:
    (tree / "link").symlink_to(tree / "a")
    sizes = sum((tree / name).stat().st_size for name in names(tree) if name != "link")
    told: list[cosxfer.Progress] = []
    with cos.blocking_client() as client:
        client.upload_directory(BUCKET, "backup", tree, on_progress=told.append)
        totals = [task.total for task in client.get_task_list() if task.key == "backup/link"]
    assert (told[-1].loaded, told[-1].total) == (sizes, sizes)
    assert totals == [0]
