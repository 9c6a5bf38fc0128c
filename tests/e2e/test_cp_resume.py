"""``cosxfer cp`` goes on after Ctrl-C, SIGTERM, kill -9 and errors, if it is run again."""

from __future__ import annotations

import json
import random
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

import cosxfer
from cosxfer.limits import MIB
from cosxfer.server import RunningServer
from tests.e2e.command import COMMAND, client, environment, flat, run

PARTS = 12
STALLED = 9


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(random.Random(3).randbytes((PARTS - 1) * MIB + 1))
    return path


@pytest.fixture(autouse=True)
def _clean(server: RunningServer) -> None:
    server.set_faults([])
    with client(server) as cleaner:
        for upload in cleaner.multipart_list(server.bucket).uploads:
            cleaner.multipart_abort(server.bucket, upload.key, upload_id=upload.upload_id)


def variables(server: RunningServer, source: Path) -> dict[str, str]:
    return environment(server, COSXFER_STATE_DIR=str(source.parent / "state"))


def interrupted(
    server: RunningServer,
    source: Path,
    number: int,
    *options: str,
    key: str = "k",
    is_ready: Callable[[], bool] = lambda: True,
) -> subprocess.CompletedProcess[str]:
    """Send a signal while one part stalls and the others are stored, and when ``is_ready`` says so.

    The client may not know yet what the server has stored.
    """
    server.requests(clear=True)
    server.set_faults([{"operation": "multipart_upload", "part": STALLED, "do": "stall"}])
    process = subprocess.Popen(
        [*COMMAND, "cp", str(source), f"cos://{server.bucket}/{key}", "--part-size", "1MiB", *options],
        env=variables(server, source),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while len(sent(server)) < PARTS - 1 or not is_ready():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        server.set_faults([])
    server.requests(clear=True)
    return subprocess.CompletedProcess([], process.returncode, output, errors)


def sent(server: RunningServer) -> Counter[int]:
    return Counter(
        request["part"]
        for request in server.requests()
        if request["operation"] == "multipart_upload" and request["status"] == 200
    )


def again(server: RunningServer, source: Path, *options: str, key: str = "k") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "cp", str(source), f"cos://{server.bucket}/{key}", "--part-size", "1MiB", *options],
        env=variables(server, source),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def open_uploads(server: RunningServer) -> list[str]:
    with client(server) as reader:
        return [upload.upload_id for upload in reader.multipart_list(server.bucket).uploads]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]
)
def test_the_same_command_goes_on(server: RunningServer, large: Path, number: signal.Signals, code: int) -> None:
    done = interrupted(server, large, number)
    assert done.returncode == code
    [upload_id] = open_uploads(server)
    if number != signal.SIGKILL:
        assert "stopping; the uploaded parts are kept" in done.stderr
        assert "Run the same command again to go on" in flat(done.stderr)
        assert "the same command goes on" in flat(done.stderr)
        assert f"cosxfer abort cos://{server.bucket}/k {upload_id}" in done.stderr
        assert "deleted" not in done.stderr.replace("To delete them", "")
    last = again(server, large, "--json")
    assert last.returncode == 0, last.stderr
    assert set(sent(server)) == {STALLED}
    figures = json.loads(last.stdout)
    assert figures["verified"]
    assert figures["resumed_bytes"] == large.stat().st_size - MIB
    assert f"of {PARTS} parts were there" in flat(last.stderr)
    assert open_uploads(server) == []
    with client(server) as reader:
        assert reader.get_object(server.bucket, "k").body == large.read_bytes()


PHASES = {
    "Initiate is sent": {"operation": "multipart_init", "do": "stall"},
    "Initiate was done": {"operation": "multipart_init", "do": "stall", "at": "answer"},
    "the first part is sent": {"operation": "multipart_upload", "do": "stall"},
    "a part is stored": {"operation": "multipart_upload", "part": STALLED, "do": "stall", "at": "answer"},
    "Complete is sent": {"operation": "multipart_complete", "do": "stall"},
    "Complete was done": {"operation": "multipart_complete", "do": "stall", "at": "answer"},
}


def has_come_to(server: RunningServer, key: str, phase: str, errors: Path) -> bool:
    """Whether an upload is in this phase. The log of the server has only requests that have ended."""
    ended = Counter(request["operation"] for request in server.requests() if request["key"] == key)
    if phase == "Initiate is sent":
        return "parts of 1048576 bytes" in errors.read_text()
    if phase in ("the first part is sent", "a part is stored"):
        # The first part stalls. If another one is stored, the upload is in the journal.
        return ended["multipart_upload"] >= (1 if phase.startswith("the first") else PARTS - 1)
    if phase == "Complete is sent":
        return ended["multipart_upload"] == PARTS
    with client(server) as reader:
        if phase == "Initiate was done":
            return any(upload.key == key for upload in reader.multipart_list(server.bucket).uploads)
        try:
            reader.head_object(server.bucket, key)
        except cosxfer.NotFoundError:
            return False
        return True


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
@pytest.mark.parametrize("phase", PHASES)
def test_a_signal_in_any_phase_loses_nothing_and_is_reported(
    server: RunningServer, large: Path, tmp_path: Path, phase: str, number: signal.Signals, code: int
) -> None:
    key, said = f"{phase} {code}", tmp_path / "errors"
    server.requests(clear=True)
    server.set_faults([{**PHASES[phase], "times": 1}])
    with said.open("w") as errors:
        process = subprocess.Popen(
            [*COMMAND, "cp", str(large), f"cos://{server.bucket}/{key}", "--part-size", "1MiB", "--debug"],
            env=variables(server, large),
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    try:
        while not has_come_to(server, key, phase, said):
            assert process.poll() is None, said.read_text()
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(60) == code
    finally:
        process.kill()
    server.set_faults([])
    with client(server) as reader:
        left = [upload.upload_id for upload in reader.multipart_list(server.bucket).uploads if upload.key == key]
    if number == signal.SIGTERM and left:
        told = flat(said.read_text())
        assert left[0] in told or "may stay on the server" in told
    before = sum(sent(server).values())
    last = again(server, large, key=key)
    assert last.returncode == 0, last.stderr
    with client(server) as reader:
        assert reader.get_object(server.bucket, key).body == large.read_bytes()
        uploads = [upload.upload_id for upload in reader.multipart_list(server.bucket).uploads if upload.key == key]
        for upload_id in uploads:
            reader.multipart_abort(server.bucket, key, upload_id=upload_id)
    # Only an Initiate whose response never came leaves an upload that no later call can find.
    assert uploads == (left if phase == "Initiate was done" else [])
    assert sum(sent(server).values()) - before <= PARTS


def test_the_summary_says_what_was_sent_before(server: RunningServer, large: Path) -> None:
    interrupted(server, large, signal.SIGINT)
    assert "of it sent before" in again(server, large).stdout


@pytest.mark.parametrize("options", [["--abort-on-interrupt"], ["--journal", "none"]])
def test_an_upload_that_nobody_could_continue_is_aborted(
    server: RunningServer, large: Path, options: list[str]
) -> None:
    done = interrupted(server, large, signal.SIGINT, *options)
    assert done.returncode == 130
    assert "stopping and deleting the uploaded parts" in done.stderr
    assert "aborted and their parts deleted" in flat(done.stderr)
    assert open_uploads(server) == []
    assert again(server, large).returncode == 0
    assert len(sent(server)) == PARTS


def test_the_command_that_an_interrupted_one_names_deletes_the_parts(server: RunningServer, large: Path) -> None:
    done = interrupted(server, large, signal.SIGTERM)
    command = next(line for line in done.stderr.splitlines() if line.startswith("  cosxfer abort "))
    subprocess.run([sys.executable, "-m", *shlex.split(command)], env=variables(server, large), check=True)
    assert open_uploads(server) == []
    last = again(server, large)
    assert last.returncode == 0
    assert "starts over" in flat(last.stderr)
    assert len(sent(server)) == PARTS


def test_a_failed_upload_keeps_its_parts_and_says_so(server: RunningServer, large: Path) -> None:
    server.set_faults(
        [{"operation": "multipart_upload", "part": STALLED, "do": "error", "status": 403, "code": "AccessDenied"}]
    )
    done = again(server, large)
    assert done.returncode == 1
    assert "the same command goes on with them" in flat(done.stderr)
    [upload_id] = open_uploads(server)
    assert upload_id in done.stderr
    server.set_faults([])
    assert again(server, large).returncode == 0
    assert open_uploads(server) == []


def test_other_options_start_over(server: RunningServer, large: Path) -> None:
    interrupted(server, large, signal.SIGINT)
    last = again(server, large, "--meta", "a=b")
    assert last.returncode == 0
    assert "starts over: its headers, metadata or storage class differ" in flat(last.stderr)
    assert len(sent(server)) == PARTS
    assert open_uploads(server) == []


def test_a_journal_that_cannot_be_used_is_a_warning(server: RunningServer, large: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.write_text("my notes")
    done = again(server, large, "--journal", str(notes))
    assert done.returncode == 0
    assert "cannot be used" in flat(done.stderr)
    assert "--journal" in flat(done.stderr)
    assert notes.read_text() == "my notes"


def journaled_objects(state: Path) -> int:
    """How many objects the journal below ``state`` knows to be finished."""
    found = 0
    for path in state.rglob("journal-*.sqlite"):
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as opened,
        ):
            found += opened.execute("SELECT count(*) FROM objects").fetchone()[0]
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_tree_goes_on_as_a_whole(server: RunningServer, tmp_path: Path, number: int) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for index in range(20):
        (tree / f"f{index:02}").write_bytes(b"%d" % index)
    key = f"tree{number}"
    server.requests(clear=True)
    server.set_faults([{"operation": "put_object", "key": f"{key}/f1*", "do": "stall"}])
    process = subprocess.Popen(
        [*COMMAND, "cp", "-r", str(tree), f"cos://{server.bucket}/{key}"],
        env=variables(server, tree),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while journaled_objects(tmp_path / "state") < 10:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
    server.set_faults([])
    server.requests(clear=True)
    last = run(server, "cp", "-r", tree, f"cos://{server.bucket}/{key}", COSXFER_STATE_DIR=str(tmp_path / "state"))
    assert last.returncode == 0, last.stderr
    assert "resumed: 10 of 20 files" in flat(last.stderr)
    assert {request["key"] for request in server.requests(clear=True)} == {f"{key}/f1{index}" for index in range(10)}
    assert "of it sent before, all verified" in last.stdout
    run(server, "cp", "-r", tree, f"cos://{server.bucket}/{key}", COSXFER_STATE_DIR=str(tmp_path / "state"))
    assert len(server.requests()) == 20
