"""``cosxfer mv``: a source is deleted only if its destination is proven and it has not changed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cosxfer.cli import moved
from cosxfer.cli.moved import MovedFile, remove_object, remove_objects
from cosxfer.errors import CosxferError, IntegrityError, SourceChangedError, SourceError
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from cosxfer.sorted_tree import sorted_blocks
from cosxfer.sync.removal import remove_unchanged
from tests.e2e.command import client, flat, run

OTHER = "other-1250000000"
REGION = {"COS_REGION": "ap-guangzhou"}
LARGE = random.Random(3).randbytes(3 * MIB + 1)
FILES = {"a": b"a", "d/b.tmp": b"bb", "d/e/c": b"", "large": LARGE}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running(buckets=("examplebucket-1250000000", OTHER)) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_faults(server: RunningServer) -> Iterator[None]:
    yield
    server.set_faults([])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "tree"


@pytest.fixture
def prefix(server: RunningServer, request: pytest.FixtureRequest) -> str:
    """A prefix of this test alone, with objects below it."""
    prefix = request.node.name
    with client(server) as writer:
        for name, content in FILES.items():
            writer.put_object(server.bucket, f"{prefix}/{name}", content)
    return prefix


def objects(server: RunningServer, prefix: str, bucket: str = "") -> dict[str, bytes]:
    bucket = bucket or server.bucket
    with client(server) as reader:
        keys = [entry.key for entry in reader.iter_list_objects(bucket, prefix=f"{prefix}/")]
        return {key.removeprefix(f"{prefix}/"): reader.get_object(bucket, key).body for key in keys}


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_file_is_moved_there_back_and_within_cos(server: RunningServer, tree: Path) -> None:
    bucket = server.bucket
    done = run(server, "mv", tree / "large", f"cos://{bucket}/single/", "--json", "--metadata", "k=v")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["source_deleted"] is True
    assert not (tree / "large").exists()
    done = run(server, "mv", f"cos://{bucket}/single/large", f"cos://{OTHER}/single/", **REGION)
    assert done.returncode == 0, done.stderr
    assert "3.0 MiB moved to cos://other-1250000000/single/large" in done.stdout
    assert objects(server, "single") == {}
    with client(server) as reader:
        assert reader.head_object(OTHER, "single/large").metadata == {"k": "v"}
    done = run(server, "mv", f"cos://{OTHER}/single/large", tree, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["source_deleted"] is True
    assert (tree / "large").read_bytes() == LARGE
    assert objects(server, "single", OTHER) == {}


def test_a_tree_is_moved_and_its_empty_folders_go(server: RunningServer, tree: Path) -> None:
    (tree / "empty").mkdir()
    done = run(server, "mv", "-r", tree, f"cos://{server.bucket}/up", "--exclude", "*.tmp", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["failed"], [entry["source_deleted"] for entry in found["files"]]) == (0, [True] * 3)
    assert objects(server, "up") == {name: body for name, body in FILES.items() if name != "d/b.tmp"}
    assert files(tree) == {"d/b.tmp": b"bb"}
    assert {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_dir()} == {"d", "empty"}
    again = run(server, "mv", "-r", tree, f"cos://{server.bucket}/up")
    assert "1 file, 2 B, moved to" in again.stdout
    assert tree.is_dir()


def test_a_folder_of_objects_is_moved_to_a_directory(server: RunningServer, prefix: str, tmp_path: Path) -> None:
    done = run(server, "mv", "-r", f"cos://{server.bucket}/{prefix}", tmp_path / "down", "--exclude", "*.tmp")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "down") == {name: body for name, body in FILES.items() if name != "d/b.tmp"}
    assert objects(server, prefix) == {"d/b.tmp": b"bb"}


def test_the_keys_of_folders_are_moved_unless_an_object_is_left_below(
    server: RunningServer, prefix: str, tmp_path: Path
) -> None:
    left = {"stays/", "stays/deep/", "skip.d/", "a/../", "full/"}
    with client(server) as writer:
        for name in (*left, "", "d/", "empty/", "empty/deep/", "stays/other/"):
            writer.put_object(server.bucket, f"{prefix}/{name}", b"x" if name == "full/" else b"")
        writer.put_object(server.bucket, f"{prefix}/stays/deep/b.tmp", b"b")
    options = ["--exclude", "*.tmp", "--exclude", "skip.d"]
    done = run(server, "mv", "-r", f"cos://{server.bucket}/{prefix}", tmp_path / "down", *options)
    assert "full/" in done.stderr
    folders = {str(path.relative_to(tmp_path / "down")) for path in (tmp_path / "down").rglob("*") if path.is_dir()}
    assert folders == {"d", "d/e", "empty", "empty/deep", "stays", "stays/deep", "stays/other"}
    assert set(objects(server, prefix)) == {*left, "", "d/", "d/b.tmp", "stays/deep/b.tmp"}


def test_a_key_of_a_folder_that_cannot_be_deleted_is_reported(
    server: RunningServer, prefix: str, tmp_path: Path
) -> None:
    with client(server) as writer:
        writer.put_object(server.bucket, f"{prefix}/empty/", b"")
    server.set_faults(
        [{"operation": "delete_objects", "attempt": 2, "do": "error", "status": 403, "code": "AccessDenied"}]
    )
    done = run(server, "mv", "-r", f"cos://{server.bucket}/{prefix}", tmp_path / "down")
    assert done.returncode == 1
    assert "empty/: the folder was created, but its key was not deleted" in flat(done.stderr)
    assert objects(server, prefix) == {"empty/": b""}


def test_a_folder_of_objects_is_moved_to_another_bucket(server: RunningServer, prefix: str) -> None:
    source = f"cos://{server.bucket}/{prefix}"
    server.set_faults(
        [{"operation": "copy_object", "key": f"{prefix}/a", "do": "error", "status": 403, "code": "AccessDenied"}]
    )
    done = run(server, "mv", "-r", source, f"cos://{OTHER}/{prefix}", "--json", **REGION)
    assert done.returncode == 1
    assert json.loads(done.stdout)["failed"] == 1
    assert objects(server, prefix) == {"a": b"a"}
    assert objects(server, prefix, OTHER) == {name: body for name, body in FILES.items() if name != "a"}


def test_what_fails_keeps_its_source(server: RunningServer, tree: Path, prefix: str, tmp_path: Path) -> None:
    denied = {"do": "error", "status": 403, "code": "AccessDenied"}
    server.set_faults(
        [
            {"operation": "put_object", "key": f"{prefix}-up/a", **denied},
            {"operation": "get_object", "key": f"{prefix}/a", **denied},
        ]
    )
    done = run(server, "mv", "-r", tree, f"cos://{server.bucket}/{prefix}-up")
    assert (done.returncode, "1 file FAILED" in done.stdout) == (1, True)
    assert files(tree) == {"a": b"a"}
    done = run(server, "mv", tree / "a", f"cos://{server.bucket}/{prefix}-up/a")
    assert (done.returncode, (tree / "a").exists()) == (1, True)
    done = run(server, "mv", "-r", f"cos://{server.bucket}/{prefix}", tmp_path / "down")
    assert (done.returncode, "1 object FAILED" in done.stdout) == (1, True)
    server.set_faults([])
    assert objects(server, prefix) == {"a": b"a"}


def test_an_object_that_cannot_be_deleted_is_reported(server: RunningServer, prefix: str, tmp_path: Path) -> None:
    server.set_faults([{"operation": "delete_objects", "do": "error", "status": 403, "code": "AccessDenied"}])
    done = run(server, "mv", "-r", f"cos://{server.bucket}/{prefix}", tmp_path / "down", "--json")
    assert done.returncode == 1
    assert "downloaded, but the object was not deleted" in flat(done.stderr)
    assert {entry["source_deleted"] for entry in json.loads(done.stdout)["files"]} == {False}
    assert files(tmp_path / "down") == objects(server, prefix) == FILES


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{cos}/a", "{cos}/a"], "source of a move is its target"),
        (["{cos}/a", "{cos}/"], "source of a move is its target"),
        (["-r", "{cos}", "{cos}/"], "are the same keys, or one is inside the other"),
        (["-r", "{cos}", "{cos}/d"], "are the same keys, or one is inside the other"),
        (["-r", "{cos}/d", "{cos}"], "are the same keys, or one is inside the other"),
        (["{cos}/a", "-"], "- is a standard stream"),
        (["-", "{cos}/a"], "- is a standard stream"),
        (["{tree}", "{cos}/a"], "is a directory; use -r"),
        (["{tree}/link", "{cos}/x"], "is a link, which mv does not move"),
        (["{tree}/a", "{tree}/b"], "is not of the form cos://BUCKET/KEY"),
    ],
)
def test_what_cannot_be_moved_stays(
    server: RunningServer, tree: Path, prefix: str, arguments: list[str], says: str
) -> None:
    (tree / "link").symlink_to("a")
    before = files(tree)
    words = [word.format(cos=f"cos://{server.bucket}/{prefix}", tree=tree) for word in arguments]
    done = run(server, "mv", *words, **REGION)
    assert done.returncode == 2
    assert says in flat(done.stderr)
    assert (files(tree), objects(server, prefix)) == (before, FILES)


def test_a_link_in_a_tree_is_not_moved(server: RunningServer, tree: Path) -> None:
    (tree / "link").symlink_to("a")
    done = run(server, "mv", "-r", tree, f"cos://{server.bucket}/links")
    assert (done.returncode, "1 file FAILED" in done.stdout) == (1, True)
    assert "is a link, which mv does not move" in flat(done.stderr)
    assert (tree / "link").is_symlink()
    assert objects(server, "links") == FILES


def test_a_file_that_changed_is_not_deleted(tree: Path) -> None:
    path = tree / "a"
    file = MovedFile(path)
    path.write_bytes(b"b")
    with pytest.raises(SourceChangedError, match="changed while it was moved") as caught:
        file.remove("cos://b/a")
    assert caught.value.__notes__ == ["it is stored as cos://b/a, but the file was not deleted"]
    file = MovedFile(path)
    other = tree / "other"
    other.write_bytes(b"b")
    other.replace(path)
    with pytest.raises(SourceChangedError):
        file.remove("cos://b/a")
    assert path.read_bytes() == b"b"


def test_a_file_of_a_tree_that_changed_is_not_deleted(tree: Path) -> None:
    entries = {entry[0]: entry for block in sorted_blocks(str(tree)) for entry in block}
    (tree / "a").write_bytes(b"x")
    with pytest.raises(SourceChangedError, match="was not deleted"):
        remove_unchanged(str(tree), entries[b"a"])
    target = tree / "elsewhere"
    (tree / "d").rename(target)
    (tree / "d").symlink_to("elsewhere")
    with pytest.raises(SourceError, match="was not deleted"):
        remove_unchanged(str(tree), entries[b"d/b.tmp"])
    remove_unchanged(str(tree), entries[b"large"])
    assert files(tree).keys() == {"a", "elsewhere/b.tmp", "elsewhere/e/c"}


def test_an_object_that_was_replaced_is_not_deleted(server: RunningServer, prefix: str, tmp_path: Path) -> None:
    key = f"{prefix}/a"
    with client(server) as user:
        result = user.download_file(server.bucket, key, tmp_path / "a")
        user.put_object(server.bucket, key, b"new")
        with pytest.raises(IntegrityError, match="was replaced while it was moved"):
            remove_object(user, result, {})
        assert list(remove_objects(user, [result], {})) == [key]
        assert user.get_object(server.bucket, key).body == b"new"


def test_an_object_stays_unless_the_disk_has_its_file(
    server: RunningServer, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"{prefix}/a"

    def fails(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with client(server) as user:
        result = user.download_file(server.bucket, key, tmp_path / "a")
        with monkeypatch.context() as patch:
            patch.setattr(moved.os, "fsync", fails)
            with pytest.raises(SourceError, match="input/output error"):
                remove_object(user, result, {})
        with pytest.raises(CosxferError, match="changed after it was written"):
            remove_object(user, replace(result, size=2), {})
        assert objects(server, prefix) == FILES
        remove_object(user, result, {})
    assert "a" not in objects(server, prefix)
