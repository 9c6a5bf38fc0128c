"""Syncs against the embedded server: what they do, and what they never do."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer import CopySource, SyncEvent, SyncResult
from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from cosxfer.sync import removal, sides
from tests.unit.unprivileged import reachable_by_others, run_unprivileged

OTHER = "other-1250000000"
OLD = 1_600_000_000 * 10**9
"""A time long before every object."""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running(buckets=("examplebucket-1250000000", OTHER)) as server:
        yield server


def new_client(server: RunningServer, journal: Path | None) -> cosxfer.Client:
    return cosxfer.Client(
        endpoint=server.endpoint,
        region="ap-guangzhou",
        credentials=server.credentials,
        journal=journal,
        max_attempts=2,
        retry_for_seconds=0,
        part_size=MIB,
    )


@pytest.fixture
def client(server: RunningServer, no_faults: None, tmp_path: Path) -> Iterator[cosxfer.Client]:
    with new_client(server, tmp_path / "journal.sqlite") as client:
        yield client


@pytest.fixture
def prefix(server: RunningServer, request: pytest.FixtureRequest) -> str:
    """``cos://BUCKET/PREFIX`` with a prefix of this test alone."""
    return f"cos://{server.bucket}/{request.node.name}"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    make(root, "a.txt", "a/b", "a/c/d", "a-b", "z")
    (root / "large").write_bytes(random.Random(1).randbytes(2 * MIB + 7))
    return root


def make(root: Path, *names: str, content: str = "") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((content or name).encode())


def files(root: Path) -> dict[str, bytes]:
    """All files below a folder, by an independent walk."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


def place(at: str) -> tuple[str, str]:
    bucket, _, prefix = at.removeprefix("cos://").partition("/")
    return bucket, f"{prefix}/"


def keys(client: cosxfer.Client, at: str) -> dict[str, int]:
    bucket, prefix = place(at)
    return {entry.key.removeprefix(prefix): entry.size for entry in client.iter_list_objects(bucket, prefix=prefix)}


def put(client: cosxfer.Client, at: str, **objects: bytes) -> None:
    bucket, prefix = place(at)
    for name, content in objects.items():
        client.put_object(bucket, f"{prefix}{name}", content)


def requests(server: RunningServer) -> Counter[str]:
    return Counter(request["operation"] for request in server.requests(clear=True))


def counts(result: SyncResult) -> tuple[int, int, int, int]:
    return result.transferred, result.unchanged, result.deleted, result.failed


def errors(result: SyncResult) -> list[tuple[str, str]]:
    return [(event.key, str(event.error)) for event in result.failures]


# -- each direction ---------------------------------------------------------------------------------------------------


def test_a_tree_goes_up_across_and_down_and_a_second_run_does_nothing(
    client: cosxfer.Client, server: RunningServer, prefix: str, tree: Path, tmp_path: Path
) -> None:
    way = [tree, prefix, f"cos://{OTHER}/copy", tmp_path / "down"]
    for source, target in pairwise(way):
        assert counts(client.sync(source, target)) == (6, 0, 0, 0)
        server.requests(clear=True)
        assert counts(client.sync(source, target, delete=True)) == (0, 6, 0, 0)
        # One page of each bucket, and nothing else.
        assert requests(server) == {"list_objects": sum(isinstance(side, str) for side in (source, target))}
    assert files(tmp_path / "down") == files(tree)


def test_a_second_run_without_a_journal_transfers_nothing(
    server: RunningServer, prefix: str, tree: Path, tmp_path: Path
) -> None:
    with new_client(server, None) as client:
        for source, target in [(tree, prefix), (prefix, tmp_path / "down"), (prefix, f"{prefix}-copy")]:
            assert counts(client.sync(source, target)) == (6, 0, 0, 0)
            assert counts(client.sync(source, target)) == (0, 6, 0, 0)


def test_an_unchanged_tree_costs_a_list_request_for_each_thousand_files(
    client: cosxfer.Client, server: RunningServer, prefix: str, tmp_path: Path
) -> None:
    root = tmp_path / "many"
    make(root, *[f"{number % 7}/{number:04}" for number in range(1001)])
    assert client.sync(root, prefix).ok
    for path in root.rglob("*"):
        os.utime(path, ns=(OLD, OLD))
    server.requests(clear=True)
    assert counts(client.sync(root, prefix)) == (0, 1001, 0, 0)
    assert requests(server) == {"list_objects": 2}


def test_the_asynchronous_client_syncs_and_reports(server: RunningServer, prefix: str, tree: Path) -> None:
    events: list[SyncEvent] = []
    reports: list[cosxfer.Progress] = []

    async def main() -> SyncResult:
        async with cosxfer.AsyncClient(
            endpoint=server.endpoint, credentials=server.credentials, journal=None
        ) as client:
            return await client.sync(tree, prefix, on_event=events.append, on_progress=reports.append)

    result = asyncio.run(main())
    assert counts(result) == (6, 0, 0, 0)
    assert result.transferred_bytes == sum(map(len, files(tree).values())) == reports[-1].loaded == reports[-1].total
    assert sorted(event.key for event in events) == sorted(files(tree))
    assert {event.action for event in events} == {"upload"}


def test_the_progress_of_each_direction_is_that_of_all_its_bytes(
    client: cosxfer.Client, server: RunningServer, prefix: str, tree: Path, tmp_path: Path
) -> None:
    size = sum(map(len, files(tree).values()))
    for source, target in ((tree, prefix), (prefix, f"{prefix}-copy"), (prefix, tmp_path / "down")):
        reports: list[cosxfer.Progress] = []
        assert client.sync(source, target, on_progress=reports.append).transferred_bytes == size
        assert [(last.loaded, last.total, last.percent) for last in reports[-1:]] == [(size, size, 1.0)]
        assert all(earlier.loaded <= later.loaded for earlier, later in pairwise(reports))
    server.set_faults([{"operation": "copy_object", "key": f"{place(f'{prefix}-part')[1]}large", "do": "error"}])
    partly: list[cosxfer.Progress] = []
    assert client.sync(prefix, f"{prefix}-part", on_progress=partly.append).failed == 1
    assert (partly[-1].loaded, partly[-1].total) == (size - (2 * MIB + 7), size)


def test_a_changed_file_is_transferred_in_each_direction(
    client: cosxfer.Client, prefix: str, tree: Path, tmp_path: Path
) -> None:
    down, copy = tmp_path / "down", f"{prefix}-copy"
    for source, target in ((tree, prefix), (prefix, copy), (copy, down)):
        client.sync(source, target)
    make(tree, "a/b", content="new")
    make(tree, "new")
    for source, target in ((tree, prefix), (prefix, copy), (copy, down)):
        assert counts(client.sync(source, target)) == (2, 5, 0, 0)
    assert files(down) == files(tree)


def test_a_file_that_changes_in_the_same_second_and_keeps_its_size_is_seen(
    client: cosxfer.Client, prefix: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    for content in ("one", "two", "six"):
        make(root, "file", content=content)
        assert counts(client.sync(root, prefix)) == (1, 0, 0, 0)
    assert client.get_object(*[place(prefix)[0], f"{place(prefix)[1]}file"]).body == b"six"


def test_a_clock_that_is_ahead_of_the_server_costs_no_second_upload(
    client: cosxfer.Client, server: RunningServer, prefix: str, tmp_path: Path
) -> None:
    make(tmp_path / "root", "file", "other")
    for name in ("file", "other"):
        os.utime(tmp_path / "root" / name, ns=(4_000_000_000 * 10**9,) * 2)
    assert counts(client.sync(tmp_path / "root", prefix)) == (2, 0, 0, 0)
    make(tmp_path / "root", "other", content="OTHER")
    os.utime(tmp_path / "root/other", ns=(4_000_000_000 * 10**9,) * 2)
    server.requests(clear=True)
    assert counts(client.sync(tmp_path / "root", prefix)) == (1, 1, 0, 0)
    assert requests(server) == {"list_objects": 1, "put_object": 1}


# -- rules ------------------------------------------------------------------------------------------------------------


def test_size_only_update_and_no_overwrite(client: cosxfer.Client, prefix: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    make(root, "same", "size")
    put(client, prefix, same=b"SAME", size=b"other size")
    future = 4_000_000_000 * 10**9
    os.utime(root / "same", ns=(future, future))
    os.utime(root / "size", ns=(OLD, OLD))
    assert counts(client.sync(root, prefix, size_only=True, dry_run=True)) == (1, 1, 0, 0)
    result = client.sync(root, prefix, update=True, dry_run=True)
    assert (counts(result), result.skipped) == ((1, 0, 0, 0), 1)
    result = client.sync(root, prefix, no_overwrite=True)
    assert (counts(result), result.skipped) == ((0, 0, 0, 0), 2)
    assert counts(client.sync(root, prefix)) == (2, 0, 0, 0)


def test_no_overwrite_holds_for_an_object_that_the_listing_does_not_show(
    client: cosxfer.Client, server: RunningServer, prefix: str, tmp_path: Path
) -> None:
    make(tmp_path / "root", "file")
    put(client, prefix, file=b"theirs")
    events: list[SyncEvent] = []
    with hidden(prefix, "file"):
        result = client.sync(tmp_path / "root", prefix, no_overwrite=True, on_event=events.append)
    assert (counts(result), result.skipped) == ((0, 0, 0, 0), 1)
    assert client.get_object(place(prefix)[0], f"{place(prefix)[1]}file").body == b"theirs"


def test_checksum_finds_what_times_hide_and_the_second_run_makes_no_request_for_an_object(
    client: cosxfer.Client, server: RunningServer, prefix: str, tree: Path, tmp_path: Path
) -> None:
    client.sync(tree, prefix)
    down = tmp_path / "down"
    client.sync(prefix, down)
    make(down, "z", content="Z")
    make(tree, "z", content="Y")
    os.utime(tree / "z", ns=(OLD, OLD))
    assert counts(client.sync(tree, prefix)) == (0, 6, 0, 0)
    assert counts(client.sync(tree, prefix, checksum=True)) == (1, 5, 0, 0)
    assert counts(client.sync(prefix, down, checksum=True)) == (1, 5, 0, 0)
    assert (down / "z").read_bytes() == b"Y"
    with new_client(server, client.config.journal) as later:  # type: ignore[arg-type]
        server.requests(clear=True)
        assert counts(later.sync(tree, prefix, checksum=True)) == (0, 6, 0, 0)
        assert counts(later.sync(prefix, down, checksum=True)) == (0, 6, 0, 0)
    assert requests(server) == {"list_objects": 2}


def test_checksum_of_foreign_objects_asks_once(
    client: cosxfer.Client, server: RunningServer, prefix: str, tmp_path: Path
) -> None:
    make(tmp_path / "root", "same", "differs")
    put(client, prefix, same=b"same", differs=b"DIFFERS")
    server.requests(clear=True)
    assert counts(client.sync(tmp_path / "root", prefix, checksum=True)) == (1, 1, 0, 0)
    assert requests(server)["head_object"] == 2
    assert counts(client.sync(tmp_path / "root", prefix, checksum=True)) == (0, 2, 0, 0)
    assert requests(server) == {"list_objects": 1}


def test_times_are_kept_when_asked(client: cosxfer.Client, server: RunningServer, prefix: str, tmp_path: Path) -> None:
    root, down = tmp_path / "root", tmp_path / "down"
    make(root, "file", "old")
    times = {"file": 1_234_567_890_123_456_789, "old": -5_500_000_000}
    for name, time in times.items():
        os.utime(root / name, ns=(time, time))
    assert client.sync(root, prefix, preserve_mtime=True).ok
    assert client.sync(prefix, down, preserve_mtime=True).ok
    assert {name: (down / name).stat().st_mtime_ns for name in times} == times
    for source, target in ((root, prefix), (prefix, down)):
        server.requests(clear=True)
        assert counts(client.sync(source, target, preserve_mtime=True)) == (0, 2, 0, 0)
        assert requests(server) == {"list_objects": 1}


def test_filters_bind_both_sides_and_deletion(client: cosxfer.Client, prefix: str, tree: Path) -> None:
    put(client, prefix, **{"gone.tmp": b"x", "gone": b"x", "a/gone": b"x", "cache/x": b"x"})
    make(tree, "local.tmp")
    filters = [("exclude", "*.tmp"), ("exclude", "cache/"), ("exclude", "/a/"), ("exclude", "large")]
    result = client.sync(tree, prefix, delete=True, filters=filters)
    assert counts(result) == (3, 0, 1, 0)
    assert keys(client, prefix).keys() == {"gone.tmp", "a/gone", "cache/x", "a.txt", "a-b", "z"}


def test_files_from_names_what_is_looked_at_and_a_missing_one_is_an_error(
    client: cosxfer.Client, prefix: str, tree: Path, tmp_path: Path
) -> None:
    result = client.sync(tree, prefix, files_from=["z", "./a/b", "missing", "a"])
    assert counts(result) == (2, 0, 0, 2)
    assert [key for key, _ in errors(result)] == ["a", "missing"]
    assert "files_from" in dict(errors(result))["missing"]
    assert "is a directory" in dict(errors(result))["a"]
    assert keys(client, prefix).keys() == {"z", "a/b"}
    down = client.sync(prefix, tmp_path / "down", files_from=["z", "nothing"])
    assert (counts(down), errors(down)[0][0]) == ((1, 0, 0, 1), "nothing")
    assert files(tmp_path / "down") == {"z": b"z"}


def test_a_dry_run_has_the_same_plan_and_changes_nothing(
    client: cosxfer.Client, server: RunningServer, prefix: str, tree: Path
) -> None:
    put(client, prefix, extra=b"x", z=b"other")
    plans: list[list[tuple[Any, ...]]] = []
    for dry_run in (True, False):
        server.requests(clear=True)
        events: list[SyncEvent] = []
        result = client.sync(tree, prefix, delete=True, dry_run=dry_run, on_event=events.append)
        plans.append(sorted((event.action, event.key, event.size) for event in events))
        assert (counts(result), result.dry_run) == ((6, 0, 1, 0), dry_run)
        if dry_run:
            assert requests(server) == {"list_objects": 1}
    assert plans[0] == plans[1]


def test_headers_of_new_objects(client: cosxfer.Client, prefix: str, tree: Path) -> None:
    client.sync(tree, prefix, storage_class="STANDARD_IA", metadata={"from": "here"}, cache_control="no-store")
    found = client.head_object(place(prefix)[0], f"{place(prefix)[1]}large")
    assert (found.storage_class, dict(found.metadata), found.headers["cache-control"]) == (
        "STANDARD_IA",
        {"from": "here"},
        "no-store",
    )


# -- deletion ---------------------------------------------------------------------------------------------------------


def hidden(at: str, name: str) -> Any:
    """Let the listing of the bucket miss a key, as an eventually consistent one may."""

    @contextmanager
    def patched() -> Iterator[None]:
        real = sides.BucketReader._block

        def block(reader: Any, objects: Any, operation: str) -> Any:
            if reader._side.bucket == place(at)[0]:
                objects = tuple(entry for entry in objects if not entry.key.endswith(f"/{name}"))
            return real(reader, objects, operation)

        sides.BucketReader._block = block  # type: ignore[method-assign]
        try:
            yield
        finally:
            sides.BucketReader._block = real  # type: ignore[method-assign]

    return patched()


@pytest.mark.parametrize("local", [True, False])
def test_a_key_that_the_listing_lacks_is_confirmed_before_its_counterpart_is_deleted(
    client: cosxfer.Client, server: RunningServer, prefix: str, tmp_path: Path, local: bool
) -> None:
    put(client, prefix, late=b"x", stays=b"y", gone=b"z")
    target = str(tmp_path / "down") if local else f"cos://{OTHER}/late"
    assert client.sync(prefix, target).ok
    client.delete_object(place(prefix)[0], f"{place(prefix)[1]}gone")
    events: list[SyncEvent] = []
    with hidden(prefix, "late"):
        result = client.sync(prefix, target, delete=True, on_event=events.append)
    if local:
        assert files(tmp_path / "down").keys() == {"late", "stays"}
    else:
        assert keys(client, target).keys() == {"late", "stays"}
    assert (result.deleted, result.kept, result.failed) == (1, 1, 0)


def test_max_delete_deletes_nothing_if_there_are_more(client: cosxfer.Client, prefix: str, tree: Path) -> None:
    put(client, prefix, one=b"1", two=b"2")
    result = client.sync(tree, prefix, delete=True, max_delete=1)
    assert counts(result) == (6, 0, 0, 1)
    assert "2 keys would be deleted, and max_delete allows 1" in errors(result)[0][1]
    assert counts(client.sync(tree, prefix, delete=True, max_delete=2)) == (0, 6, 2, 0)


def test_an_empty_source_deletes_nothing_unless_max_delete_is_given(
    client: cosxfer.Client, prefix: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    put(client, prefix, one=b"1")
    result = client.sync(tmp_path / "empty", prefix, delete=True)
    assert counts(result) == (0, 0, 0, 1)
    assert "is empty" in errors(result)[0][1]
    assert counts(client.sync(tmp_path / "empty", prefix, delete=True, max_delete=1)) == (0, 0, 1, 0)


def test_backups_of_what_is_deleted(client: cosxfer.Client, server: RunningServer, prefix: str, tmp_path: Path) -> None:
    root, down = tmp_path / "root", tmp_path / "down"
    make(root, "keep", "d/gone")
    assert client.sync(root, prefix).ok
    assert client.sync(prefix, down).ok
    (root / "d/gone").unlink()
    backup = place(prefix)[1].removesuffix("/") + "-backup"
    assert counts(client.sync(root, prefix, delete=True, backup_prefix=backup)) == (0, 1, 1, 0)
    assert keys(client, f"cos://{server.bucket}/{backup}") == {"d/gone": 6}
    result = client.sync(prefix, down, delete=True, backup_prefix=str(tmp_path / "backup"))
    assert counts(result) == (0, 1, 1, 0)
    assert (files(down).keys(), files(tmp_path / "backup")) == ({"keep"}, {"d/gone": b"d/gone"})


def test_backups_of_what_is_replaced(
    client: cosxfer.Client, server: RunningServer, prefix: str, tmp_path: Path
) -> None:
    root, down = tmp_path / "root", tmp_path / "down"
    make(root, "same", "d/changed", "new")
    assert client.sync(root, prefix).ok
    assert client.sync(prefix, down).ok
    make(root, "d/changed", content="other content")
    backup = place(prefix)[1].removesuffix("/") + "-backup"
    planned = client.sync(root, prefix, backup_prefix=backup, dry_run=True)
    assert counts(planned) == (1, 2, 0, 0)
    assert keys(client, f"cos://{server.bucket}/{backup}") == {}
    assert counts(client.sync(root, prefix, backup_prefix=backup)) == (1, 2, 0, 0)
    assert keys(client, f"cos://{server.bucket}/{backup}") == {"d/changed": 9}
    before = (down / "d/changed").stat()
    for _ in range(2):  # the second time, the backup is there already
        assert counts(client.sync(prefix, down, backup_prefix=str(tmp_path / "backup"))) == (1, 2, 0, 0)
        assert files(down)["d/changed"] == b"other content"
        assert files(tmp_path / "backup") == {"d/changed": b"d/changed"}
        kept = (tmp_path / "backup/d/changed").stat()
        assert (kept.st_mtime_ns, kept.st_ino) == (before.st_mtime_ns, before.st_ino)
        (down / "d/changed").unlink()
        os.link(tmp_path / "backup/d/changed", down / "d/changed")


def test_what_cannot_be_kept_is_not_replaced(
    client: cosxfer.Client, server: RunningServer, prefix: str, tmp_path: Path
) -> None:
    root, down = tmp_path / "root", tmp_path / "down"
    make(root, "a", "b")
    assert client.sync(root, prefix).ok
    assert client.sync(prefix, down).ok
    make(root, "a", "b", content="other content")
    backup = place(prefix)[1].removesuffix("/") + "-backup"
    server.set_faults([{"operation": "copy_object", "key": "*-backup/a", "do": "error", "status": 403}])
    assert counts(client.sync(root, prefix, backup_prefix=backup)) == (1, 0, 0, 1)
    server.set_faults([])
    assert keys(client, prefix) == {"a": 1, "b": 13}
    assert counts(client.sync(root, prefix)) == (1, 1, 0, 0)
    make(tmp_path, "backup/a/in-the-way")
    assert counts(client.sync(prefix, down, backup_prefix=str(tmp_path / "backup"))) == (1, 0, 0, 1)
    assert files(down) == {"a": b"a", "b": b"other content"}
    assert {path.name for path in (tmp_path / "backup").iterdir()} == {"a", "b"}


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_name_that_gives_no_key_is_an_error_of_its_own(
    client: cosxfer.Client, prefix: str, tmp_path: Path, dry_run: bool
) -> None:
    root = tmp_path / "root"
    make(root, "a", "gone", "z")
    assert client.sync(root, prefix).ok
    (root / "gone").unlink()
    long = "/".join(["n" * 200] * 5)
    make(root, long, "b")
    result = client.sync(root, prefix, delete=True, dry_run=dry_run)
    assert counts(result) == (1, 2, 0, 2)
    assert [failure.key for failure in result.failures] == [long, ""]
    assert "COS allows 850" in str(result.failures[0].error)
    assert "nothing was deleted" in str(result.failures[1].error)
    assert set(keys(client, prefix)) == ({"a", "gone", "z"} if dry_run else {"a", "b", "gone", "z"})


def test_more_than_one_request_of_deletions(
    client: cosxfer.Client, prefix: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("cosxfer.sync.removal.HELD_KEYS", 3)
    root, down = tmp_path / "root", tmp_path / "down"
    make(root, *[f"{number:02}" for number in range(20)])
    client.sync(root, prefix)
    client.sync(prefix, down)
    for number in range(1, 20):
        (root / f"{number:02}").unlink()
    assert counts(client.sync(root, prefix, delete=True)) == (0, 1, 19, 0)
    assert counts(client.sync(prefix, down, delete=True)) == (0, 1, 19, 0)
    assert (keys(client, prefix).keys(), files(down).keys()) == ({"00"}, {"00"})


def test_a_local_file_that_changed_since_the_walk_is_not_deleted(
    client: cosxfer.Client, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(client, prefix, stays=b"x")
    make(tmp_path / "down", "extra", "link/extra")
    confirmed = removal.Remover.confirmed

    async def meanwhile(remover: Any, entries: Any) -> Any:
        make(tmp_path / "down", "extra", content="written meanwhile")
        (tmp_path / "down/link").rename(tmp_path / "elsewhere")
        (tmp_path / "down/link").symlink_to(tmp_path / "elsewhere")
        return await confirmed(remover, entries)

    monkeypatch.setattr(removal.Remover, "confirmed", meanwhile)
    result = client.sync(prefix, tmp_path / "down", delete=True)
    assert counts(result) == (1, 0, 0, 2)
    assert (tmp_path / "down/extra").read_bytes() == b"written meanwhile"
    assert (tmp_path / "elsewhere/extra").exists()


# -- the disasters of other tools -------------------------------------------------------------------------------------


DENIED = {"operation": "list_objects", "do": "error", "status": 403, "code": "AccessDenied"}
BROKEN = {"operation": "list_objects", "do": "error", "status": 500, "code": "InternalError"}


@pytest.mark.parametrize("fault", [DENIED, BROKEN], ids=["denied", "failing"])
@pytest.mark.parametrize("direction", ["upload", "download", "copy"])
def test_a_listing_that_fails_neither_copies_again_nor_deletes(
    client: cosxfer.Client, server: RunningServer, prefix: str, tree: Path, tmp_path: Path, direction: str, fault: Any
) -> None:
    client.sync(tree, prefix)
    down, copy = tmp_path / "down", f"cos://{OTHER}/{direction}-{fault['status']}"
    client.sync(prefix, copy)
    client.sync(prefix, down)
    put(client, prefix, only_there=b"x")
    make(down, "only-here")
    source, target = {"upload": (tree, prefix), "download": (prefix, down), "copy": (prefix, copy)}[direction]
    before = keys(client, prefix), keys(client, copy), files(down)
    server.requests(clear=True)
    server.set_faults([fault if direction != "copy" else {**fault, "bucket": server.bucket}])
    result = client.sync(source, target, delete=True)
    server.set_faults([])
    assert (result.transferred, result.deleted, result.ok) == (0, 0, False)
    assert requests(server).keys() == {"list_objects"}
    assert (keys(client, prefix), keys(client, copy), files(down)) == before


@pytest.mark.deep
@pytest.mark.parametrize("direction", ["upload", "download"])
def test_a_listing_that_fails_after_a_page_decides_only_about_what_it_has_shown(
    client: cosxfer.Client, server: RunningServer, prefix: str, tmp_path: Path, direction: str
) -> None:
    root, down = tmp_path / "root", tmp_path / "down"
    make(root, *[f"{number:04}" for number in range(1500)])
    client.sync(root, prefix)
    client.sync(prefix, down)
    for folder in (root, down):
        make(folder, "0000x", "1499x")
    server.set_faults([{**BROKEN, "attempt": [2, 3, 4, 5]}])
    source, target = (root, prefix) if direction == "upload" else (prefix, down)
    result = client.sync(source, target, delete=True)
    server.set_faults([])
    assert counts(result) == (1 if direction == "upload" else 0, 1000, 0, 1 + (direction == "download"))
    assert result.unknown >= 500
    assert len(keys(client, prefix)) == 1500 + (direction == "upload")
    assert len(files(down)) == 1502


def test_an_unreadable_local_folder_is_not_empty(
    client: cosxfer.Client, server: RunningServer, prefix: str, tree: Path, tmp_path: Path
) -> None:
    client.sync(tree, prefix)
    make(tree, "fresh")
    (tree / "z").unlink()
    reachable_by_others(tree)
    (tree / "a").chmod(0)
    before = keys(client, prefix)

    def look() -> None:
        with new_client(server, None) as other:
            up = other.sync(tree, prefix, delete=True)
            assert (up.transferred, up.deleted, up.unknown) == (1, 0, 2)
            assert "cannot read the directory" in dict(errors(up))["a/"]
            assert not up.ok
            # By size: an object is newer than its file if a second began between them, and there is no journal here.
            down = other.sync(prefix, tree, dry_run=True, size_only=True)
            assert (down.transferred, down.unknown, down.ok) == (1, 2, False)

    tree.chmod(0o755)
    run_unprivileged(look)
    (tree / "a").chmod(0o755)
    assert keys(client, prefix) == {**before, "fresh": 5}


def test_a_source_that_cannot_be_read_deletes_nothing(client: cosxfer.Client, prefix: str, tree: Path) -> None:
    client.sync(tree, prefix)
    before = keys(client, prefix)
    with pytest.raises(cosxfer.SourceError, match="cannot read the directory"):
        client.sync(tree / "missing", prefix, delete=True)
    (tree / "z").unlink()
    (tree / "broken").symlink_to("nowhere")
    result = client.sync(tree, prefix, delete=True)
    assert counts(result) == (0, 5, 0, 2)
    assert "is a broken link" in errors(result)[0][1]
    assert "the run had errors" in errors(result)[1][1]
    assert keys(client, prefix) == before
    assert counts(client.sync(tree, prefix, delete=True, filters=[("exclude", "broken")])) == (0, 5, 1, 0)


@pytest.mark.parametrize("operation", ["put_object", "get_object", "copy_object", "head_object"])
def test_a_transfer_that_fails_is_an_error_and_nothing_is_deleted(
    client: cosxfer.Client, server: RunningServer, prefix: str, tmp_path: Path, operation: str
) -> None:
    make(tmp_path / "root", "bad", "good")
    down = tmp_path / "down"
    copy = f"{prefix}-copy"
    put(client, prefix, bad=b"other", good=b"other", extra=b"x")
    put(client, copy, extra=b"x", nothing=b"x")
    make(down, "nothing")
    way = {"put_object": (tmp_path / "root", prefix), "get_object": (prefix, down)}
    source, target = way.get(operation, (prefix, copy))
    server.set_faults([{"operation": operation, "key": "*/bad", "do": "error", "status": 403, "code": "AccessDenied"}])
    result = client.sync(source, target, delete=True)
    assert (result.failed, result.deleted) == (2, 0)
    assert [key for key, _ in errors(result)] == ["bad", ""]
    if target == down:
        assert files(down).keys() == {"good", "extra", "nothing"}


# -- names ------------------------------------------------------------------------------------------------------------


def test_a_nasty_tree_makes_the_round_trip(client: cosxfer.Client, prefix: str, tmp_path: Path) -> None:
    root, down = tmp_path / "root", tmp_path / "down"
    names = [
        " lead",
        "trail ",
        "ü/é😀",
        "a+b%2F&c=d",
        "-",
        "--x",
        "a/b/c/d/e/f",
        "a.b",
        "a-b",
        "a0",
        "x" * 250,
        "#?*",
        "'\"`$",
    ]
    make(root, *names, ".hidden/.dot", "cafe\u0301", "caf\u00e9")
    (root / "empty").write_bytes(b"")
    (root / "large").write_bytes(random.Random(2).randbytes(3 * MIB + 1))
    (root / "link").symlink_to("a.b")
    for number, path in enumerate(sorted(root.rglob("*"))):
        if path.is_file() and not path.is_symlink():
            time = (1_000_000_000 + number) * 10**9 + number
            os.utime(path, ns=(time, time))
    assert client.sync(root, prefix, preserve_mtime=True).ok
    result = client.sync(prefix, down, preserve_mtime=True)
    assert errors(result) == []

    def walked(folder: Path) -> dict[str, tuple[bytes, int]]:
        return {name: (content, (folder / name).stat().st_mtime_ns) for name, content in files(folder).items()}

    assert walked(down) == walked(root)
    assert len(files(down)) == len(names) + 6


def test_names_that_are_not_utf8_special_files_and_links_to_folders_are_errors(
    client: cosxfer.Client, prefix: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    make(root, "fine", "folder/x")
    Path(os.fsdecode(os.fsencode(root) + b"/bad\xff")).write_bytes(b"")
    os.mkfifo(root / "pipe")
    (root / "link").symlink_to("folder")
    put(client, prefix, **{"link/below": b"x", "pipe": b"x"})
    result = client.sync(root, prefix, delete=True)
    assert (result.transferred, result.deleted, result.unknown) == (2, 0, 2)
    assert [key for key, _ in errors(result)] == ["bad\udcff", "link", "link/", "pipe"]
    assert keys(client, prefix).keys() == {"fine", "folder/x", "link/below", "pipe"}


def test_folder_markers_and_empty_folders(client: cosxfer.Client, prefix: str, tmp_path: Path) -> None:
    put(client, prefix, **{"marked/": b"", "file": b"x"})
    down = tmp_path / "down"
    assert counts(client.sync(prefix, down)) == (1, 0, 0, 0)
    assert (down / "marked").is_dir()
    (down / "empty").mkdir()
    assert counts(client.sync(down, prefix, delete=True)) == (0, 1, 0, 0)
    assert keys(client, prefix).keys() == {"marked/", "file"}
    assert counts(client.sync(prefix, down, delete=True)) == (0, 1, 0, 0)
    assert (down / "empty").is_dir()
    assert counts(client.sync(prefix, f"{prefix}-copy")) == (2, 0, 0, 0)


def test_keys_without_a_path_of_their_own_are_errors_and_nothing_is_written_outside(
    client: cosxfer.Client, prefix: str, tmp_path: Path
) -> None:
    put(client, prefix, **{"../out": b"x", "a//b": b"x", "fine": b"x", "file": b"x", "file/below": b"x"})
    down = tmp_path / "down"
    make(down, "extra")
    result = client.sync(prefix, down, delete=True)
    assert [key for key, _ in errors(result)][:2] == ["../out", "a//b"]
    assert result.deleted == 0
    assert not (tmp_path / "out").exists()
    assert {"extra", "fine"} <= files(down).keys()


def test_a_link_in_the_target_is_not_followed(client: cosxfer.Client, prefix: str, tmp_path: Path) -> None:
    put(client, prefix, **{"link": b"new content", "folder/x": b"x"})
    down = tmp_path / "down"
    make(tmp_path, "outside/precious")
    down.mkdir()
    (down / "link").symlink_to(tmp_path / "outside/precious")
    (down / "folder").symlink_to(tmp_path / "outside")
    result = client.sync(prefix, down)
    assert (result.transferred, result.ok) == (0, False)
    assert files(tmp_path / "outside") == {"precious": b"outside/precious"}


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"source": "a", "target": "b"}, "target"),
        ({"source": "cos://b-1250000000/x", "target": "cos://b-1250000000/x/y"}, "target"),
        ({"max_delete": 1}, "max_delete"),
        ({"delete": True, "backup_prefix": "p/old"}, "backup_prefix"),
        ({"size_only": True, "checksum": True}, "checksum"),
        ({"files_from": ["../x"]}, "files_from"),
        ({"files_from": ["x"], "delete": True}, "delete"),
        ({"filters": ["*.tmp"]}, "filters"),
        ({"source": "cos://b-1250000000/x", "target": "down", "storage_class": "ARCHIVE"}, "storage_class"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(
    client: cosxfer.Client, server: RunningServer, arguments: dict[str, Any], name: str
) -> None:
    server.requests(clear=True)
    with pytest.raises(cosxfer.UsageError) as raised:
        client.sync(**{"source": "here", "target": "cos://b-1250000000/p", **arguments})
    assert raised.value.name == name
    assert server.requests() == []


@pytest.mark.deep
def test_a_large_object_is_copied_and_proven(client: cosxfer.Client, prefix: str) -> None:
    put(client, prefix, large=bytes(3 * MIB))
    assert client.sync(prefix, f"cos://{OTHER}/large").transferred_bytes == 3 * MIB
    assert client.head_object(OTHER, "large/large").size == 3 * MIB
    assert client.copy(OTHER, "again", CopySource(bucket=OTHER, key="large/large")).verified
