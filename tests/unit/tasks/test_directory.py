"""A directory tree: which files, in which order, under which keys, and entries that are no files."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

import cosxfer
from cosxfer.tasks.directory import find_files, joined
from tests.unit.deep_tree import deep_folder, write_at
from tests.unit.fake_cos import BUCKET, FakeCos
from tests.unit.files import content_of, write
from tests.unit.unprivileged import reachable_by_others, run_unprivileged


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
        ({"include": ["[ab]*/*.txt"]}, ["a.b/c.txt"]),
        ({"include": ["[ab]*/**/*.txt"]}, ["a.b/c.txt", "a/deep/er/x.txt"]),
        ({"include": ["a/"], "exclude": ["deep/"]}, ["a/10.log", "a/2.log"]),
        ({"include": ["/b.txt", "./B.txt", "**/er"]}, ["B.txt", "a/deep/er/x.txt", "b.txt"]),
        ({"exclude": ["a/", "/a.b", "./B.txt", "**/b.txt", "a-b.txt"]}, ["é.txt"]),
        ({"exclude": ["*"]}, []),
        ({"include": []}, []),
        ({"exclude": ["a", "a.b", "*.txt"]}, []),
    ],
)
def test_patterns_select_files(tree: Path, patterns: dict[str, list[str]], expected: list[str]) -> None:
    assert names(tree, **patterns) == expected


def test_patterns_may_be_an_iterator(tree: Path) -> None:
    chosen = find_files(tree, include=(p for p in ["*.log", "x.txt"]), exclude=iter(["deep"]))  # type: ignore[arg-type]
    assert [found.relative for found in chosen] == ["a/10.log", "a/2.log"]


def test_a_string_is_refused_as_a_list_of_patterns(tree: Path) -> None:
    with pytest.raises(cosxfer.UsageError, match="exclude is str; it must be a list of patterns"):
        find_files(tree, exclude="*.log")


def test_links_to_files_are_files_and_other_entries_are_errors(tree: Path) -> None:
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
    assert "broken link" in told["nothing"]
    assert "is a named pipe, not a regular file" in told["pipe"]
    assert "is a socket, not a regular file" in told["socket"]


def test_an_excluded_entry_is_no_error(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    assert [found.error for found in find_files(tree, exclude=["pipe"])] == 8 * [None]


@pytest.mark.parametrize(
    "patterns",
    [{"include": ["b.TXT"]}, {"include": ["b.TXT", "x"], "exclude": []}, {"include": ["*.log"], "exclude": ["a"]}],
)
def test_missing_included_files_are_an_error(tree: Path, patterns: dict[str, list[str]]) -> None:
    with pytest.raises(cosxfer.SourceError, match=r"no file in '.*/tree' matches '.*' \(include\)") as caught:
        find_files(tree, **patterns)
    assert (" and is not excluded" in str(caught.value)) == bool(patterns.get("exclude"))


def test_a_pattern_that_matches_nothing_is_logged(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    find_files(tree, include=["*.log", "*.jpg"], exclude=["thing1/", "deep", "/thing2"])
    assert [record.getMessage() for record in caplog.records] == [
        f"the include pattern '*.jpg' matched nothing outside of the excluded folders in '{tree}'",
        f"the exclude pattern 'thing1/' matched nothing in '{tree}'",
        f"the exclude pattern '/thing2' matched nothing in '{tree}'",
    ]


@pytest.mark.parametrize(
    ("exclude", "said"),
    [
        ("one.jpg", "only what is excluded in"),
        ("*.jpg", "only what is excluded in"),
        ("album", "nothing outside of the excluded folders in"),
        ("other", "nothing in"),
    ],
)
def test_a_pattern_whose_matches_are_excluded_says_so(
    tree: Path, caplog: pytest.LogCaptureFixture, exclude: str, said: str
) -> None:
    (tree / "album").mkdir()
    (tree / "album" / ("one.png" if exclude == "other" else "one.jpg")).touch()
    (tree / "other").touch()
    find_files(tree, include=["*.log", "*.jpg"], exclude=[exclude])
    [record] = [record for record in caplog.records if "*.log" not in record.getMessage()]
    assert record.getMessage() == f"the include pattern '*.jpg' matched {said} '{tree}'"


def test_an_included_folder_that_is_excluded_says_so(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tree / "album").mkdir()
    (tree / "album" / "one.jpg").touch()
    find_files(tree, include=["*.log", "album/"], exclude=["album"])
    assert f"the include pattern 'album/' matched only what is excluded in '{tree}'" in caplog.messages


def test_an_empty_list_of_what_is_included_is_logged(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert find_files(tree, include=[]) == []
    assert "include is an empty list, which matches no file" in caplog.text


def test_a_pattern_after_a_matching_one_counts_as_matched(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    find_files(tree, include=["a", "x.txt"], exclude=["a/2.log", "2.log"])
    assert not caplog.records


@pytest.mark.parametrize("pattern", ["", "a\0", "[a", "a//b", "../a", "!a"])
def test_a_pattern_that_can_never_match_is_refused_before_anything_is_sent(
    cos: FakeCos, tree: Path, pattern: str
) -> None:
    with cos.blocking_client() as client, pytest.raises(cosxfer.UsageError, match="exclude pattern"):
        client.upload_directory(BUCKET, "p", tree, exclude=[pattern])
    assert not cos.objects


def locked(tree: Path) -> Path:
    """Folders for root only: one whose names cannot be read, and one whose files cannot be accessed."""
    (tree / "private/album").mkdir(parents=True)
    write(tree / "private/album/x.jpg", 3)
    write(tree / "x.jpg", 3)
    reachable_by_others(tree)
    (tree / "private").chmod(0)
    return tree / "private"


@pytest.mark.parametrize(
    "patterns", [{}, {"include": ["*.jpg"]}, {"include": ["/x.jpg"]}, {"exclude": ["private/*.jpg"]}]
)
def test_an_unreadable_folder_is_reported_for_any_include(tree: Path, patterns: dict[str, list[str]]) -> None:
    folder = locked(tree)

    def look() -> None:
        errors = {entry.relative: str(entry.error) for entry in find_files(tree, **patterns) if entry.error is not None}
        assert errors == {"private": f"cannot read the directory '{folder}': permission denied"}

    try:
        run_unprivileged(look)
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize(
    "pattern",
    ["private", "private/", "/private", "./private/", "**/private", "private/*", "private/**", "p*", "*/*", "*/"],
)
def test_a_folder_that_is_excluded_need_not_be_read(tree: Path, pattern: str) -> None:
    folder = locked(tree)

    def look() -> None:
        found = find_files(tree, include=["*.jpg"], exclude=[pattern])
        assert [(entry.relative, entry.error) for entry in found] == [("x.jpg", None)]

    try:
        run_unprivileged(look)
    finally:
        folder.chmod(0o700)


def test_a_root_that_cannot_be_read_is_an_error_of_the_call(tree: Path) -> None:
    folder = locked(tree)

    def look() -> None:
        for patterns in ({}, {"include": ["*.jpg"]}, {"exclude": ["*"]}):
            with pytest.raises(cosxfer.SourceError, match="private': permission denied"):
                find_files(folder, **patterns)

    try:
        run_unprivileged(look)
    finally:
        folder.chmod(0o700)


def test_entries_that_may_hide_files_are_reported_for_any_include(tree: Path) -> None:
    (tree / "nothing").symlink_to("nowhere")
    (tree / "album").symlink_to(tree / "a")
    (tree / "loop").symlink_to("loop")
    os.mkfifo(tree / "pipe")
    chosen = {entry.relative: entry.error is None for entry in find_files(tree, include=["b.txt"])}
    # A pipe cannot contain files, so it is not reported.
    assert chosen == {"album": False, "b.txt": True, "loop": False, "nothing": False}
    found = find_files(tree, include=["b.txt"], exclude=["album/", "loop", "noth*"])
    assert [entry.relative for entry in found] == ["b.txt"]


def test_a_name_that_is_not_text_can_be_selected(tree: Path) -> None:
    name = os.fsdecode(b"bad\xff")
    (tree / name).touch()
    assert names(tree, include=[name]) == [name]
    assert name not in names(tree, exclude=[name])


@pytest.mark.parametrize("name", ["a", "folder-with-a-name-that-is-no-short-one"])
def test_a_tree_deeper_than_the_longest_path_is_uploaded(cos: FakeCos, tmp_path: Path, name: str) -> None:
    root = tmp_path / "deep"
    content = content_of(300_000)
    # 400 folders make a key of 800 bytes. Deeper files have too long a key, which is an error of the file.
    with deep_folder(root, 400 * ["a"] + 800 * [name]) as bottom:
        write_at(bottom, "far", content)
        folder = os.open(root, os.O_RDONLY)
        for _ in range(400):
            below = os.open("a", os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = below
        write_at(folder, "near", content)
        os.close(folder)
        with cos.blocking_client() as client:
            far, near = client.upload_directory(BUCKET, "p", root)
    assert near.error is None
    assert cos.objects[near.options["key"]].content == content
    assert near.options["key"] == "p/" + 400 * "a/" + "near"
    assert isinstance(far.error, cosxfer.UsageError)
    assert "bytes long in UTF-8; COS allows 850" in str(far.error)
    assert len(str(far.error)) < 300


@pytest.mark.parametrize("size", [5, 300_000, 2_500_000])
def test_a_single_file_beyond_the_longest_path_is_uploaded(
    cos: FakeCos, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "deep"
    with deep_folder(root, 50 * [200 * "n"]) as bottom:
        write_at(bottom, "file", content_of(size))
        path = "/".join([str(root), *50 * [200 * "n"], "file"])
        with cos.blocking_client() as client:
            assert client.upload_file(BUCKET, "absolute", path).size == size
            assert client.put_object(BUCKET, "body", Path(path)).crc64 is not None
            with pytest.raises(cosxfer.SourceError, match="no such file"):
                client.upload_file(BUCKET, "k", path + "s")
            os.fchdir(bottom)
            try:
                client.upload_file(BUCKET, "relative", "file")
            finally:
                os.chdir(tmp_path)
    assert {cos.objects[key].content for key in ("absolute", "body", "relative")} == {content_of(size)}


def test_an_async_client_fails_and_warns_alike(cos: FakeCos, tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tree / "album").symlink_to(tree / "a")

    async def upload() -> None:
        async with cos.client() as client:
            results = await client.upload_directory(BUCKET, "p", tree, include=["b.txt"], exclude=["/nowhere"])
            assert [result.error is None for result in results] == [False, True]
            assert any("'/nowhere' matched nothing" in record.getMessage() for record in caplog.records)
            with pytest.raises(cosxfer.SourceError, match="matches"):
                await client.upload_directory(BUCKET, "p", tree, include=["*.gif"], exclude=["album"])

    asyncio.run(upload())


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


def test_a_tree_is_uploaded_and_nothing_is_skipped_silently(cos: FakeCos, tree: Path) -> None:
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


def test_a_link_to_a_directory_adds_no_bytes_to_the_total(cos: FakeCos, tree: Path) -> None:
    (tree / "link").symlink_to(tree / "a")
    sizes = sum((tree / name).stat().st_size for name in names(tree) if name != "link")
    told: list[cosxfer.Progress] = []
    with cos.blocking_client() as client:
        client.upload_directory(BUCKET, "backup", tree, on_progress=told.append)
        totals = [task.total for task in client.get_task_list() if task.key == "backup/link"]
    assert (told[-1].loaded, told[-1].total) == (sizes, sizes)
    assert totals == [0]
