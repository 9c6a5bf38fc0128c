"""Ctrl-C and similar signals: at the start, during an upload, and a second time."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cosxfer.server import RunningServer
from tests.e2e.command import COMMAND, client, environment, flat, wait_for_parts

AT_IMPORT = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Interrupt())
sys.argv = ["cosxfer", "cp", "/etc/hostname", "cos://examplebucket-1250000000/k", *{options!r}]
from cosxfer.cli import main
main()
"""
MODULES = [
    "cosxfer.cli.start",
    "cosxfer.cli.interrupts",
    "cosxfer.cli.output",
    "typer",
    "cosxfer.cli.app",
    "cosxfer.models",
    "cosxfer.cli.cp",
    "cosxfer.client",
    "cosxfer.aio",
]


@pytest.mark.parametrize(
    ("module", "number", "options"),
    [
        *((module, signal.SIGINT, []) for module in MODULES),
        *(
            (module, number, options)
            for module in ("cosxfer.cli.start", "typer")
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            for options in ([], ["--json"])
        ),
    ],
)
def test_a_signal_while_the_command_starts_is_quiet(module: str, number: signal.Signals, options: list[str]) -> None:
    code = AT_IMPORT.format(module=module, number=int(number), options=options)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(None), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (128 + number, "")
    if options:
        assert json.loads(done.stdout)["error"]["message"] == "ended by a signal before any upload began"
    else:
        assert done.stdout == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_interrupt_exits_at_once_and_prints_what_may_remain(
    server: RunningServer, source: Path, number: signal.Signals, code: int
) -> None:
    key = f"twice-{number}"
    server.set_faults(
        [
            {"operation": "multipart_upload", "part": 2, "do": "stall", "at": "answer"},
            {"operation": "multipart_abort", "do": "stall"},
        ]
    )
    try:
        process = subprocess.Popen(
            [*COMMAND, "cp", str(source), f"cos://{server.bucket}/{key}", "--part-size", "1MiB"],
            env=environment(server),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for_parts(process, server, key, 3)
        process.send_signal(number)
        assert process.stderr is not None
        first = process.stderr.readline()
        # The clean-up waits for a response that never comes; only a signal can end it.
        while process.poll() is None:
            process.send_signal(number)
            time.sleep(0.1)
        _, errors = process.communicate(timeout=60)
    finally:
        server.set_faults([])
    assert "stopping and deleting the uploaded parts" in first
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert "cosxfer: ended at once, without cleaning up" in errors
    assert "could not be aborted" not in errors
    with client(server) as reader:
        [upload] = [found for found in reader.multipart_list(server.bucket).uploads if found.key == key]
        assert upload.upload_id in errors
        command = next(line for line in errors.splitlines() if line.startswith("  cosxfer abort "))
        assert (
            subprocess.run(
                [sys.executable, "-m", *shlex.split(command)], env=environment(server), check=False
            ).returncode
            == 0
        )
        assert reader.multipart_list(server.bucket, prefix=key).uploads == ()


def test_an_interrupted_upload_that_cannot_be_aborted_names_the_command_that_aborts(
    server: RunningServer, source: Path
) -> None:
    server.set_faults(
        [
            {"operation": "multipart_upload", "part": 2, "do": "stall", "at": "answer"},
            {"operation": "multipart_abort", "do": "error", "status": 403, "code": "AccessDenied"},
        ]
    )
    try:
        process = subprocess.Popen(
            [*COMMAND, "cp", str(source), f"cos://{server.bucket}/denied", "--part-size", "1MiB"],
            env=environment(server),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for_parts(process, server, "denied", 3)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        server.set_faults([])
    assert process.returncode == 130, errors
    assert "could not be aborted" in flat(errors)
    assert f"\n  cosxfer abort cos://{server.bucket}/denied " in errors


def test_a_second_interrupt_ends_a_command_with_a_blocked_stderr(
    server: RunningServer, source: Path, tmp_path: Path
) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(write, bytes(4096)):
            pass
    os.set_blocking(write, True)
    server.requests(clear=True)
    server.set_faults([{"operation": "put_object", "do": "stall"}])
    small = tmp_path / "small"
    small.write_bytes(b"x")
    try:
        process = subprocess.Popen(
            [*COMMAND, "cp", str(small), f"cos://{server.bucket}/unread"],
            env=environment(server),
            stdout=subprocess.DEVNULL,
            stderr=write,
        )
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)  # the upload waits for the server
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
    finally:
        server.set_faults([])
        os.close(read)
        os.close(write)
    assert process.returncode == 130


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_stream_leaves_nothing_and_says_so(server: RunningServer, number: int, code: int) -> None:
    key = f"endless-{number}"
    with (
        subprocess.Popen(["cat", "/dev/zero"], stdout=subprocess.PIPE) as endless,
        subprocess.Popen(
            [*COMMAND, "cp", "-", f"cos://{server.bucket}/{key}", "--part-size", "1MiB"],
            env=environment(server),
            stdin=endless.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            wait_for_parts(process, server, key, 2)
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
            endless.kill()
    assert process.returncode == code, errors
    assert "cosxfer abort" not in errors
    with client(server) as reader:
        assert reader.multipart_list(server.bucket, prefix=key).uploads == ()
