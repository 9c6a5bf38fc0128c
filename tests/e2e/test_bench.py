"""``cosxfer bench``."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosxfer.limits import KIB, MIB
from cosxfer.server import RunningServer
from tests.e2e.command import COMMAND, assert_one_paragraph, client, environment, flat, run
from tests.e2e.test_terminal import lines, on_terminal

SMALL = ("--size", "1KiB", "--count", "3")


@pytest.fixture(autouse=True)
def tidy(server: RunningServer) -> Iterator[None]:
    with client(server) as writer:
        writer.delete_objects(server.bucket, list(writer.iter_list_objects(server.bucket)))
        writer.put_object(server.bucket, "bench/other", b"x")
    server.requests(clear=True)
    yield
    server.set_faults([])


def keys(server: RunningServer) -> list[str]:
    with client(server) as reader:
        assert reader.multipart_list(server.bucket).uploads == ()
        return [entry.key for entry in reader.iter_list_objects(server.bucket)]


def place(server: RunningServer) -> str:
    return f"cos://{server.bucket}/bench"


def denied(operation: str, **more: object) -> dict[str, object]:
    return {"operation": operation, "do": "error", "status": 403, "code": "AccessDenied", **more}


def test_the_object_for_a_harness_has_all_figures(server: RunningServer, tmp_path: Path) -> None:
    sizes = ("--size", "1KiB", "--size", "2MiB", "--count", "3", "--count", "1", "--part-size", "1MiB")
    done = run(server, "bench", place(server), *sizes, "--concurrency", 2, "--json", "--folder", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["bucket"] == server.bucket
    assert re.fullmatch(r"bench/cosxfer-bench-[0-9a-f]{24}/", told["prefix"])
    assert told["settings"] == {"concurrency": 2, "files": "auto", "part_size": MIB, "http_version": "auto"}
    assert {"cpus", "system", "python", "cosxfer", "kernel"} <= set(told["machine"])
    assert [(case["object_bytes"], case["objects"]) for case in told["cases"]] == [(KIB, 3), (2 * MIB, 1)]
    for case in told["cases"]:
        for direction in ("upload", "download"):
            phase = case[direction]
            size = case["object_bytes"] * case["objects"]
            assert (phase["objects"], phase["bytes"], phase["failed"]) == (case["objects"], size, 0)
            assert phase["verified_by"] == {"crc64": case["objects"]}
            assert (phase["retries"], phase["unverified"], phase["differing"], phase["error"]) == (0, 0, 0, None)
            assert phase["bytes_per_second"] == pytest.approx(size / phase["seconds"], rel=0.01)
            assert phase["cpu_seconds_per_gb"] == pytest.approx(phase["cpu_seconds"] / size * 1e9, rel=0.01)
            assert phase["peak_memory_bytes"] is None or phase["peak_memory_bytes"] > MIB
            assert phase["verdict"] is None or {"bound_by", "share", "text", "advice"} == set(phase["verdict"])
    assert told["cases_not_run"] == 0
    assert told["cleanup"] == {
        "kept": False,
        "deleted_objects": 4,
        "aborted_uploads": 0,
        "left_objects": 0,
        "left_uploads": 0,
        "reasons": [],
    }
    assert keys(server) == ["bench/other"]
    assert list(tmp_path.iterdir()) == []


def test_people_get_a_paragraph_for_each_direction(server: RunningServer) -> None:
    # The stored bytes of a slow server: a phase of more than a second has a verdict.
    server.set_faults([{"operation": "put_object", "do": "delay", "seconds": 0.4, "at": "answer"}])
    done = run(server, "bench", place(server), *SMALL, "--files", 1)
    assert (done.returncode, done.stderr) == (0, "")
    plan, upload, proof, verdict, download, compared, short, end = done.stdout.splitlines()
    assert plan.startswith(f"3 objects below {place(server)}/cosxfer-bench-")
    assert plan.endswith(": 3.0 KiB to send, 3.0 KiB to receive; up to 64.0 MiB of space for files")
    assert re.fullmatch(r"upload of 1\.0 KiB x 3: [\d.]+ kB/s, [\d.]+ objects/s, [\d.]+ CPU s/GB(, peak .*)?", upload)
    assert proof == "  HTTP/1.1, 0 sent again, 3 verified by CRC64"
    assert re.fullmatch(r"  [\d.]+ s; .+", verdict)
    assert download.startswith("download of 1.0 KiB x 3: ")
    assert compared == "  0 sent again, 3 verified by CRC64, equal to what was sent"
    assert re.fullmatch(r"  [\d.]+ s(, too short to tell what bounded it; use more objects or larger ones|; .+)", short)
    assert end == "deleted 3 objects"
    assert keys(server) == ["bench/other"]


def test_a_terminal_shows_the_progress_and_keeps_the_lines(server: RunningServer) -> None:
    code, output = on_terminal(server, 120, "bench", place(server), *SMALL)
    assert code == 0, output
    shown = lines(output)
    for activity in ("making", "sending", "receiving"):
        assert any(re.match(rf" *{activity} .*100%", line) for line in shown), activity
    assert [line for line in shown if line.startswith(("upload of", "download of", "deleted"))][-1] == (
        "deleted 3 objects"
    )
    assert output.count("\x1b[?25l") == output.count("\x1b[?25h")


def test_one_direction_and_objects_that_are_kept(server: RunningServer) -> None:
    done = run(server, "bench", place(server), *SMALL, "--direction", "upload", "--keep")
    assert (done.returncode, done.stderr) == (0, "")
    assert "download" not in done.stdout
    assert len(keys(server)) == 4
    told = done.stdout.splitlines()[-1]
    assert told.startswith(f"kept what is below {place(server)}/cosxfer-bench-")
    command = shlex.split(told.partition("To delete it: cosxfer ")[2])
    assert run(server, *command).returncode == 0
    assert keys(server) == ["bench/other"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bench", "bucket"), "is not of the form cos://BUCKET/PREFIX"),
        (("bench", "cos://b-1250000000//x"), "the prefix '/x' begins with /"),
        (("bench", "cos://b-1250000000", "--size", "0"), "--size is 0; it has to be 1 or more"),
        (("bench", "cos://b-1250000000", "--size", "many"), "--size is 'many'; write a size such as 8MiB"),
        (("bench", "cos://b-1250000000", "--count", "-1"), "--count is -1; it has to be 1 or more"),
        (("bench", "cos://b-1250000000", "--count", "100001"), "objects is 100001; it can be from 1 to 100000"),
        (("bench", "cos://b-1250000000", "--size", "60TiB"), "it can be from 1 to 53687091200000"),
        (("bench", "cos://b-1250000000", "--count", "1", "--count", "2"), "--count is given 2 times for 3 sizes"),
        (("bench", "cos://b-1250000000", "--direction", "sideways"), "it can be upload, download or both"),
        (("bench", "cos://b-1250000000", "--concurrency", "0"), "--concurrency is 0"),
        (("bench", "cos://b-1250000000", "--folder", "/nonexistent"), "--folder is '/nonexistent', which is no"),
        (("bench", "cos://b-1250000000", "--journal", "x"), "No such option"),
    ],
)
def test_wrong_usage_sends_nothing(server: RunningServer, arguments: tuple[str, ...], message: str) -> None:
    done = run(server, *arguments)
    assert done.returncode == 2
    assert_one_paragraph(done)
    assert message in flat(done.stderr)
    assert server.requests() == []


def test_a_disk_that_is_too_small_is_noticed_first(server: RunningServer) -> None:
    done = run(server, "bench", place(server), "--size", "48TiB", "--count", "1000", "--json")
    assert done.returncode == 1
    assert re.search(r"needs 960\d\d\.\d TiB in .*, but only .* are free; use smaller or fewer", flat(done.stderr))
    assert json.loads(done.stdout)["error"]["type"] == "CosxferError"
    assert server.requests() == []


def test_a_bucket_that_does_not_exist_is_an_error_as_of_other_commands(server: RunningServer) -> None:
    done = run(server, "bench", "cos://nobucket-1250000000/x", *SMALL)
    assert done.returncode == 1
    assert_one_paragraph(done)
    assert "NoSuchBucket" in done.stderr


def test_some_objects_that_fail_end_the_run_after_their_case(server: RunningServer) -> None:
    server.set_faults([denied("put_object", key="*/1.bin")])
    arguments = ("bench", place(server), "--size", "1KiB", "--size", "2KiB", "--count", "3")
    done = run(server, *arguments, "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    [case] = told["cases"]
    assert (case["upload"]["objects"], case["upload"]["failed"]) == (2, 1)
    assert case["upload"]["error"]["code"] == "AccessDenied"
    assert case["download"] is None
    assert (told["cases_not_run"], told["cleanup"]["deleted_objects"]) == (1, 2)
    assert "cosxfer: upload: " in done.stderr
    assert keys(server) == ["bench/other"]
    text = run(server, *arguments)
    assert text.returncode == 1
    assert "2 verified by CRC64, 1 FAILED" in text.stdout


def test_if_no_object_arrives_the_error_is_that_of_other_commands(server: RunningServer) -> None:
    server.set_faults([denied("put_object")])
    done = run(server, "bench", place(server), *SMALL, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "AccessDenied"
    assert "may be left" not in done.stderr
    assert keys(server) == ["bench/other"]


def test_what_cannot_be_deleted_is_named_with_the_commands_that_delete_it(server: RunningServer) -> None:
    server.set_faults([denied("delete_objects")])
    done = run(server, "bench", place(server), *SMALL)
    assert done.returncode == 1
    assert "deleted 0 objects, NOT ALL: see above" in done.stdout
    assert f"3 objects may be left below {place(server)}/cosxfer-bench-" in flat(done.stderr)
    assert "AccessDenied" in done.stderr
    server.set_faults([])
    assert len(keys(server)) == 4
    commands = [shlex.split(line) for line in done.stderr.splitlines() if line.startswith("  cosxfer ")]
    assert [command[1] for command in commands] == ["rm", "uploads"]
    for command in commands:
        assert run(server, *command[1:]).returncode == 0
    assert keys(server) == ["bench/other"]


def start(server: RunningServer, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start a benchmark whose second object never gets its response."""
    server.set_faults([{"operation": "put_object", "key": "*/1.bin", "do": "stall", "at": "answer"}])
    process = subprocess.Popen(
        [*COMMAND, "bench", place(server), *SMALL, *arguments],
        env=environment(server, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # A request that stalls is not in the log of the server, but its object is there.
    while len(keys(server)) < 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_nothing(server: RunningServer, number: signal.Signals, code: int, tmp_path: Path) -> None:
    process = start(server, "--json", "--folder", str(tmp_path))
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "stopping and deleting what the benchmark has made" in flat(errors)
    assert "what the benchmark has made was deleted" in json.loads(output)["error"]["message"]
    server.set_faults([])
    # The object whose response was lost is there after all, and is deleted too.
    assert keys(server) == ["bench/other"]
    assert list(tmp_path.iterdir()) == []


def test_a_second_interrupt_ends_at_once_and_says_what_is_left(server: RunningServer, tmp_path: Path) -> None:
    process = start(server, TMPDIR=str(tmp_path))
    server.set_faults([{"operation": ["multipart_list", "delete_objects"], "do": "stall"}])
    # The clean-up waits for a response that never comes; only a signal can end it.
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "ended at once, without cleaning up" in errors
    assert f"may be left below {place(server)}/cosxfer-bench-" in flat(errors)
    left = [str(path) for path in tmp_path.iterdir()]
    assert len(left) == 1  # the files of the case are deleted before the objects, and the journal after them
    assert all(f"a local folder is left; delete it: {path!r}" in flat(errors) for path in left)
    assert "  cosxfer rm -r --versions --force cos://" in errors
