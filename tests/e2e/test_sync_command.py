"""``cosxfer sync``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from cosxfer.server import RunningServer
from tests.e2e.command import COMMAND, assert_one_paragraph, client, environment, flat, run


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "d").mkdir(parents=True)
    (root / "a.jpg").write_bytes(b"a")
    (root / "b.tmp").write_bytes(b"bb")
    (root / "d/c.tmp").write_bytes(b"ccc")
    return root


def keys(server: RunningServer, prefix: str) -> set[str]:
    with client(server) as reader:
        return {entry.key.removeprefix(prefix) for entry in reader.iter_list_objects(server.bucket, prefix=prefix)}


def place(server: RunningServer, name: str) -> str:
    return f"cos://{server.bucket}/{name}/"


def test_up_down_and_a_second_run(server: RunningServer, tree: Path, tmp_path: Path) -> None:
    there = place(server, "round")
    for source, target in ((tree, there), (there, tmp_path / "down")):
        done = run(server, "sync", source, target)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("3 files (6 B) transferred, 0 unchanged, in ")
        again = run(server, "sync", source, target, "--delete")
        assert again.stdout.startswith("0 files (0 B) transferred, 3 unchanged, in ")
    assert (tmp_path / "down/d/c.tmp").read_bytes() == b"ccc"


def test_rules_are_applied_in_the_order_of_the_command_line(server: RunningServer, tree: Path, tmp_path: Path) -> None:
    there = place(server, "rules")
    rules = tmp_path / "rules"
    rules.write_text("# comment\n- *.tmp\n")
    for options, expected in (
        (["--include", "c.tmp", "--exclude=*.tmp"], {"a.jpg", "d/c.tmp"}),
        (["--exclude=*.tmp", "--include", "c.tmp"], set()),
        (["--include=c.tmp", "--filter-from", rules], {"a.jpg", "d/c.tmp"}),
        (["--filter-from", rules, "--include=c.tmp"], set()),
    ):
        done = run(server, "sync", tree, there, "--json", "--dry-run", *options)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert {event["key"] for event in events if event["event"] == "upload"} == expected
        assert events[-1]["event"] == "summary"


def test_an_exclude_binds_the_deletion_and_a_dry_run_prints_the_plan(server: RunningServer, tree: Path) -> None:
    there = place(server, "delete")
    run(server, "sync", tree, there)
    (tree / "a.jpg").unlink()
    (tree / "b.tmp").unlink()
    options = ("--delete", "--exclude", "*.tmp")
    (tree / "new").write_bytes(b"n")
    plan = run(server, "sync", tree, there, *options, "--dry-run")
    assert plan.stdout.splitlines()[:2] == ["upload new, 1 B", "delete a.jpg, 1 B"]
    assert plan.stdout.splitlines()[2].startswith("dry run: 1 file (1 B) transferred, 0 unchanged, 1 deleted")
    assert keys(server, "delete/") == {"a.jpg", "b.tmp", "d/c.tmp"}
    assert run(server, "sync", tree, there, *options).returncode == 0
    assert keys(server, "delete/") == {"new", "b.tmp", "d/c.tmp"}


def test_errors_exit_with_1_and_are_in_the_report(server: RunningServer, tree: Path, tmp_path: Path) -> None:
    (tree / "broken").symlink_to("nowhere")
    report = tmp_path / "report"
    done = run(server, "sync", tree, place(server, "errors"), "--report", report, "--delete")
    assert done.returncode == 1
    assert "is a broken link" in flat(done.stderr)
    assert done.stdout.startswith("3 files (6 B) transferred, 0 unchanged, 1 FAILED, in ")
    events = [json.loads(line) for line in report.read_text().splitlines()]
    assert [event["event"] for event in events[:1]] == ["list"]
    assert events[0]["error"]["type"] == "SourceError"
    assert sorted(event["key"] for event in events[1:-1]) == ["a.jpg", "b.tmp", "d/c.tmp"]
    assert (events[-1]["event"], events[-1]["failed"]) == ("summary", 1)


def test_a_listing_that_is_denied_exits_with_1(server: RunningServer, tree: Path) -> None:
    there = place(server, "denied")
    run(server, "sync", tree, there)
    server.set_faults([{"operation": "list_objects", "do": "error", "status": 403, "code": "AccessDenied"}])
    done = run(server, "sync", tree, there, "--delete")
    server.set_faults([])
    assert done.returncode == 1
    assert "AccessDenied" in done.stderr
    assert done.stdout.startswith("0 files (0 B) transferred, 0 unchanged, 3 unknown and left alone, 1 FAILED, in ")
    assert keys(server, "denied/") == {"a.jpg", "b.tmp", "d/c.tmp"}


def test_a_list_of_files_with_a_missing_name_fails(server: RunningServer, tree: Path, tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.write_text("a.jpg\nd/missing\n")
    done = run(server, "sync", tree, place(server, "names"), "--files-from", names)
    assert done.returncode == 1
    assert "'d/missing', which files_from names, does not exist" in flat(done.stderr)
    assert keys(server, "names/") == {"a.jpg"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tree}", "elsewhere"], "source and target are both local"),
        (["", "cos://{bucket}/x"], "source is empty"),
        (["{tree}", "cos://{bucket}/x", "--max-delete", "1"], "--max-delete is given without delete"),
        (["{tree}", "cos://{bucket}/x", "--max-delete", "many"], "--max-delete is 'many'; write a whole number"),
        (["{tree}", "cos://{bucket}/x", "--size-only", "--checksum"], "--size-only and --checksum exclude each other"),
        (["{tree}", "cos://{bucket}/x", "--filter-from", "nothing"], "cannot read 'nothing': no such file"),
        (["{tree}", "cos://{bucket}/x", "--exclude", "a//b"], "exclude pattern 'a//b' can never match"),
        (["{tree}", "cos://{bucket}/x", "--report", "no/such/folder"], "cannot write 'no/such/folder'"),
        (["{tree}"], "Missing argument"),
    ],
)
def test_wrong_usage_exits_with_2(server: RunningServer, tree: Path, arguments: list[str], message: str) -> None:
    done = run(server, "sync", *[text.format(tree=tree, bucket=server.bucket) for text in arguments])
    assert done.returncode == 2
    assert_one_paragraph(done)
    assert message in flat(done.stderr)


def test_a_missing_source_is_an_error(server: RunningServer, tmp_path: Path) -> None:
    done = run(server, "sync", tmp_path / "missing", place(server, "missing"), "--delete", "--json")
    assert done.returncode == 1
    assert "cannot read the directory" in flat(done.stderr)
    assert json.loads(done.stdout)["error"]["type"] == "SourceError"


def test_an_interrupt_ends_it(server: RunningServer, tree: Path) -> None:
    server.set_faults([{"operation": "put_object", "do": "stall"}])
    server.requests(clear=True)
    process = subprocess.Popen(
        [*COMMAND, "sync", tree, place(server, "stopped"), "--delete"],
        env=environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not any(request["operation"] == "list_objects" for request in server.requests()):
            assert process.poll() is None
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        server.set_faults([])
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in said
