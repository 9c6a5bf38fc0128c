"""``cosxfer cp -r`` from bucket to bucket."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest

from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from tests.e2e.command import client, environment, flat, run

OTHER = "other-1250000000"
LARGE = random.Random(8).randbytes(2 * MIB + 3)
OBJECTS = {
    "tree/a.txt": b"a",
    "tree/sub/b.tmp": b"bb",
    "tree/sub/c": b"",
    "tree/empty/": b"",
    "tree//odd": b"odd",
    "tree/large": LARGE,
    "tree2": b"another",
}
REGION = {"COS_REGION": "ap-guangzhou"}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running(buckets=("examplebucket-1250000000", OTHER)) as server, client(server) as writer:
        for key, content in OBJECTS.items():
            writer.put_object(server.bucket, key, content, content_type="text/x", metadata={"of": "source"})
        yield server


@pytest.fixture(autouse=True)
def _no_faults(server: RunningServer) -> Iterator[None]:
    yield
    server.set_faults([])


def contents(server: RunningServer, prefix: str) -> dict[str, bytes]:
    with client(server) as reader:
        keys = [entry.key for entry in reader.iter_list_objects(OTHER, prefix=prefix)]
        return {key.removeprefix(prefix): reader.get_object(OTHER, key).body for key in keys}


def test_all_objects_of_a_folder_are_copied_with_their_metadata(server: RunningServer) -> None:
    done = run(server, "cp", "-r", f"cos://{server.bucket}/tree", f"cos://{OTHER}/copy", "--json", **REGION)
    assert (done.returncode, done.stderr) == (0, "")
    expected = {key.removeprefix("tree/"): body for key, body in OBJECTS.items() if key != "tree2"}
    assert contents(server, "copy/") == expected
    found = json.loads(done.stdout)
    assert (found["failed"], found["bytes"], len(found["objects"])) == (0, sum(map(len, expected.values())), 6)
    assert all(entry["verified"] for entry in found["objects"])
    with client(server) as reader:
        head = reader.head_object(OTHER, "copy/a.txt")
        assert (head.content_type, head.metadata) == ("text/x", {"of": "source"})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--exclude", "*.tmp", "--exclude", "large"], {"a.txt", "sub/c", "empty/", "/odd"}),
        (["--include", "sub/"], {"sub/b.tmp", "sub/c"}),
        (["--include", "sub/", "--exclude", "*.tmp"], {"sub/c"}),
    ],
)
def test_patterns_choose_objects(server: RunningServer, options: list[str], expected: set[str]) -> None:
    prefix = f"chosen-{'-'.join(options)}/".replace("*", "x").replace("--", "")
    done = run(server, "cp", "-r", f"cos://{server.bucket}/tree/", f"cos://{OTHER}/{prefix}", *options, **REGION)
    assert (done.returncode, done.stderr) == (0, "")
    assert "all verified" in done.stdout or "verified" in done.stdout
    assert contents(server, prefix).keys() == expected


def test_an_object_that_fails_is_counted_and_does_not_stop_the_others(server: RunningServer) -> None:
    rule = {"operation": "copy_object", "key": "failing/sub/c", "do": "error", "status": 403, "code": "AccessDenied"}
    server.set_faults([rule])
    done = run(server, "cp", "-r", f"cos://{server.bucket}/tree", f"cos://{OTHER}/failing", **REGION)
    assert done.returncode == 1
    assert f"cos://{server.bucket}/tree/sub/c: " in flat(done.stderr)
    assert "AccessDenied" in done.stderr
    assert "5 objects, 2.0 MiB, copied to" in done.stdout
    assert "all verified, 1 object FAILED" in done.stdout
    assert contents(server, "failing/").keys() == {"a.txt", "sub/b.tmp", "empty/", "/odd", "large"}


@pytest.mark.parametrize(
    ("source", "options", "says"),
    [
        ("nothing", [], "no key begins with 'cos://examplebucket-1250000000/nothing/'"),
        ("tree", ["--include", "*.none"], "matches '*.none' (include)"),
    ],
)
def test_a_folder_without_objects_exits_with_1(
    server: RunningServer, source: str, options: list[str], says: str
) -> None:
    done = run(server, "cp", "-r", f"cos://{server.bucket}/{source}", f"cos://{OTHER}/none", *options, **REGION)
    assert (done.returncode, done.stdout) == (1, "")
    assert says in flat(done.stderr)


def test_a_listing_that_fails_exits_with_1_and_says_what_was_copied(server: RunningServer) -> None:
    server.set_faults([{"operation": "list_objects", "do": "error", "status": 403, "code": "AccessDenied"}])
    done = run(server, "cp", "-r", f"cos://{server.bucket}/tree", f"cos://{OTHER}/unlisted", **REGION)
    assert done.returncode == 1
    assert "0 objects had been copied" in flat(done.stderr)


def test_the_progress_is_that_of_the_bytes(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from cosxfer.cli import copying
    from cosxfer.cli.connection import Connection
    from cosxfer.cli.fetch import FetchOptions
    from cosxfer.cli.progress import _Lines
    from cosxfer.models import Progress

    seen: list[Progress] = []
    monkeypatch.setattr(_Lines, "update", lambda self, activity, progress: seen.append(progress))
    for name, value in (environment(server) | REGION).items():
        monkeypatch.setenv(name, value)
    options = FetchOptions(
        bucket=server.bucket,
        key="tree/large",
        target=f"cos://{OTHER}/progress/",
        connection=Connection(endpoint=server.endpoint, region="ap-guangzhou"),
        part_size="auto",
        headers={},
        as_json=False,
    )
    copying.run(options)
    assert (seen[-1].loaded, seen[-1].total) == (len(LARGE), len(LARGE))
    seen.clear()
    copying.run_tree(FetchOptions(**{**vars(options), "key": "tree"}), include=["large"], exclude=None)
    assert (seen[-1].loaded, seen[-1].total) == (len(LARGE), len(LARGE))
