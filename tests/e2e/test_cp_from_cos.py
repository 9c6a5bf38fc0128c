"""``cosxfer cp`` from COS: to a file, a directory or standard output, and to another object."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosxfer.limits import MIB
from cosxfer.server import RunningServer, running
from tests.e2e.command import COMMAND, assert_one_paragraph, client, environment, flat, run

LARGE = random.Random(6).randbytes(20 * MIB + 3)
OBJECTS = {"tree/a.txt": b"a", "tree/sub/b.tmp": b"bb", "tree/sub/c": b"", "tree2": b"another", "large": LARGE}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running() as server, client(server) as writer:
        for key, content in OBJECTS.items():
            writer.put_object(server.bucket, key, content)
        yield server


@pytest.fixture(autouse=True)
def _no_faults(server: RunningServer) -> Iterator[None]:
    yield
    server.set_faults([])


def at(server: RunningServer, key: str) -> str:
    return f"cos://{server.bucket}/{key}"


@pytest.mark.parametrize(("target", "written"), [("new", "new"), ("", "large"), ("./-", "-")])
def test_an_object_becomes_a_file(server: RunningServer, tmp_path: Path, target: str, written: str) -> None:
    done = run(server, "cp", at(server, "large"), f"{tmp_path}/{target}", "--part-size", "4MiB", "--json")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / written).read_bytes() == LARGE
    found = json.loads(done.stdout)
    assert (found["bytes"], found["parts"], found["verified_by"]) == (len(LARGE), 6, "crc64")
    assert [path.name for path in tmp_path.iterdir()] == [written]


def test_without_json_a_line_says_that_it_is_verified(server: RunningServer, tmp_path: Path) -> None:
    done = run(server, "cp", at(server, "tree/a.txt"), tmp_path / "a")
    assert done.returncode == 0
    assert f"1 B to {tmp_path / 'a'} in" in done.stdout
    assert "verified by CRC64" in done.stdout


def test_an_object_is_written_to_standard_output(server: RunningServer) -> None:
    done = subprocess.run(
        [*COMMAND, "cp", at(server, "large"), "-"], env=environment(server), capture_output=True, timeout=60, check=True
    )
    assert done.stdout == LARGE


def test_a_folder_becomes_a_directory(server: RunningServer, tmp_path: Path) -> None:
    done = run(server, "cp", "-r", at(server, "tree"), tmp_path / "back", "--exclude", "*.tmp", "--json")
    assert done.returncode == 0, done.stderr
    files = {str(path.relative_to(tmp_path / "back")) for path in (tmp_path / "back").rglob("*") if path.is_file()}
    assert files == {"a.txt", "sub/c"}
    found = json.loads(done.stdout)
    assert (found["failed"], found["bytes"], len(found["files"])) == (0, 1, 2)


def test_a_folder_with_an_object_that_fails_exits_with_1(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "back" / "a.txt").mkdir(parents=True)
    done = run(server, "cp", "-r", at(server, "tree/"), tmp_path / "back")
    assert done.returncode == 1
    assert "tree/a.txt: " in done.stderr
    assert "1 object FAILED" in done.stdout
    assert (tmp_path / "back" / "sub" / "b.tmp").read_bytes() == b"bb"


@pytest.mark.parametrize(("target", "key"), [("copies/x", "copies/x"), ("copies/", "copies/a.txt")])
def test_an_object_is_copied_to_another(server: RunningServer, target: str, key: str) -> None:
    words = ("cp", at(server, "tree/a.txt"), at(server, target), "--storage-class", "STANDARD_IA", "--json")
    refused = run(server, *words)
    assert (refused.returncode, "give --region" in refused.stderr) == (2, True)
    done = run(server, *words, "--region", "ap-guangzhou")
    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["key"], json.loads(done.stdout)["verified"]) == (key, True)
    with client(server) as reader:
        found = reader.get_object(server.bucket, key)
        assert (found.body, found.storage_class) == (b"a", "STANDARD_IA")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{cos}", "dir"], "has no key"),
        (["{cos}large", "no/such/"], "is no directory"),
        (["{cos}large", ""], "destination is empty"),
        (["{cos}tree/..", "."], "gives no name for a file"),
        (
            ["{cos}large", "x", "--storage-class", "STANDARD"],
            "--storage-class is of new objects; a download makes none",
        ),
        (["{cos}large", "x", "--meta", "a=b"], "--meta is of new objects; a download makes none"),
        (["{cos}large", "x", "--source-region", "ap-x"], "--source-region is of copies within COS"),
        (["{cos}large", "x", "--abort-on-interrupt"], "--abort-on-interrupt is of uploads"),
        (["{cos}large", "-", "--json"], "standard output"),
        (["-r", "{cos}tree", "{cos}tree/sub"], "are the same keys, or one is inside the other"),
        (["-r", "{cos}tree/sub/", "{cos}tree"], "are the same keys, or one is inside the other"),
        (["-r", "{cos}tree", "{cos}tree/"], "are the same keys, or one is inside the other"),
        (["-r", "{cos}tree", "-"], "give a directory"),
        (["-r", "{cos}tree", "x", "--acl", "private"], "--acl is of new objects; a download makes none"),
        (["{cos}large", "x", "--include", "*"], "need -r"),
    ],
)
def test_wrong_usage_exits_with_2_and_sends_nothing(
    server: RunningServer, tmp_path: Path, arguments: list[str], says: str
) -> None:
    before = len(server.requests())
    done = run(server, "cp", *[word.replace("{cos}", at(server, "")) for word in arguments])
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())
    assert len(server.requests()) == before


def test_what_fails_leaves_no_file(server: RunningServer, tmp_path: Path) -> None:
    done = run(server, "cp", at(server, "missing"), tmp_path / "x")
    assert done.returncode == 1
    assert_one_paragraph(done)
    server.set_faults([{"operation": "get_object", "do": "wrong_crc64"}])
    done = run(server, "cp", at(server, "large"), tmp_path / "x", "--max-attempts", "1")
    assert done.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_no_file(server: RunningServer, tmp_path: Path) -> None:
    command = [*COMMAND, "cp", at(server, "large"), str(tmp_path / "x"), "--part-size", "4MiB"]
    server.set_faults([{"operation": "get_object", "attempt": 3, "do": "stall", "seconds": 600}])
    with subprocess.Popen(command, env=environment(server), stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [path.name for path in tmp_path.iterdir()] != ["x"]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_same_command_goes_on(server: RunningServer, tmp_path: Path, number: int) -> None:
    folder = tmp_path / "to"
    folder.mkdir()
    command = [*COMMAND, "cp", at(server, "large"), str(folder / "x"), "--part-size", "1MiB", "--concurrency", "1"]
    variables = environment(server, COSXFER_STATE_DIR=str(tmp_path / "state"))
    server.requests(clear=True)
    # Four requests bring 4 MiB; the fifth one waits.
    server.set_faults([{"operation": "get_object", "key": "large", "attempt": 5, "do": "stall", "seconds": 600}])
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while len(server.requests()) < 4 and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.3)  # the journal has written: 10 ms
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    (temporary,) = folder.iterdir()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert f"what was received is kept in {temporary}" in flat(said)
        assert "the same command goes on" in flat(said)
    server.set_faults([])
    server.requests(clear=True)
    done = subprocess.run([*command, "--json"], env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "x").read_bytes() == LARGE
    assert json.loads(done.stdout)["resumed_bytes"] == 4 * MIB
    assert f"goes on with 4.0 MiB of {20:.1f} MiB" in flat(done.stderr)
    operations = [request["operation"] for request in server.requests()]
    assert (operations.count("head_object"), operations.count("get_object")) == (1, 17)
    assert [path.name for path in folder.iterdir()] == ["x"]


def test_zeros_become_holes_if_asked(server: RunningServer, tmp_path: Path) -> None:
    with client(server) as writer:
        writer.put_object(server.bucket, "zeros", bytes(6 * MIB) + b"end")
    done = run(server, "cp", at(server, "zeros"), tmp_path / "z", "--sparse")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "z").read_bytes() == bytes(6 * MIB) + b"end"
    assert (tmp_path / "z").stat().st_blocks * 512 < MIB
    (tmp_path / "f").write_bytes(b"x")
    for source, target in ((tmp_path / "f", at(server, "f")), (at(server, "zeros"), "-")):
        refused = run(server, "cp", source, target, "--sparse")
        assert refused.returncode == 2
        assert "--sparse is of downloads" in refused.stderr
