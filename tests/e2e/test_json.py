"""``--json`` prints one object on standard output, no matter how the command ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cosxfer.server import RunningServer
from tests.e2e.command import COMMAND, client, environment, flat, run, wait_for_parts


def error_in(output: str) -> dict[str, Any]:
    """The error in the object on standard output, which must be the only one."""
    assert output.count("\n") == 1
    told = json.loads(output)
    assert list(told) == ["error"]
    error: dict[str, Any] = told["error"]
    return error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'source'; see "),
        (["a"], "Missing argument 'destination'; see "),
        (["a", "b", "c"], "extra argument"),
        (["a", "b", "--nonsense"], "No such option: --nonsense"),
        (["a", "b", "--part-size"], "requires an argument"),
        (["a", "b", "--json=3"], "does not take a value"),
        (["a", "cos://examplebucket-1250000000/k", "--concurrency", "four"], "--concurrency is 'four'"),
        (["a", "cos://examplebucket-1250000000/k", "--max-attempts", ""], "--max-attempts is ''"),
        (["a", "cos://examplebucket-1250000000/k", "--timeout", "1m"], "--timeout is '1m'"),
        (["a", "cos://examplebucket-1250000000/k", "--part-size", "9" * 5000], "--part-size is '999"),
    ],
)
def test_a_wrong_command_line_is_an_object(arguments: list[str], message: str) -> None:
    done = run(None, "cp", "--json", *arguments)
    assert done.returncode == 2
    error = error_in(done.stdout)
    assert error["type"] == "UsageError"
    assert message in error["message"]
    assert flat(done.stderr) == f"cosxfer: {flat(error['message'])}"


def test_an_unknown_command_prints_an_error_object() -> None:
    done = run(None, "copy", "--json")
    assert done.returncode == 2
    assert error_in(done.stdout)["message"].startswith("No such command 'copy'")


def test_without_json_a_wrong_command_line_is_a_paragraph() -> None:
    done = run(None, "cp", "a", "b", "--nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert flat(done.stderr).startswith("cosxfer: No such option: --nonsense; see ")
    assert flat(done.stderr).endswith(" cp --help")


def test_an_unknown_kernel_is_a_wrong_setting() -> None:
    done = run(None, "cp", "--json", "a", "cos://examplebucket-1250000000/k", COSXFER_KERNEL="bogus")
    assert done.returncode == 2
    error = error_in(done.stdout)
    assert error["type"] == "UsageError"
    assert error["message"].startswith("COSXFER_KERNEL is 'bogus'; of kernels this machine has ")
    assert flat(done.stderr) == f"cosxfer: {error['message']}"


def test_a_bug_in_the_command_is_an_object() -> None:
    code = "from cosxfer.cli.failures import reported\nwith reported(debug=False, as_json=True): raise KeyError('x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert error_in(done.stdout)["type"] == "KeyError"


def interrupted(
    server: RunningServer, source: Path, key: str, number: signal.Signals, *, again: bool
) -> tuple[int, str, str]:
    """Exit code, output and messages of an upload that gets the signal while it waits for a part."""
    server.set_faults(
        [
            {"operation": "multipart_upload", "part": 2, "do": "stall", "at": "answer"},
            *([{"operation": "multipart_abort", "do": "stall"}] if again else []),
        ]
    )
    try:
        process = subprocess.Popen(
            [*COMMAND, "cp", str(source), f"cos://{server.bucket}/{key}", "--part-size", "1MiB", "--json"],
            env=environment(server), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        wait_for_parts(process, server, key, 3)
        process.send_signal(number)
        while again and process.poll() is None:
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    finally:
        server.set_faults([])
    return process.returncode, output, errors


SIGNALS = [
    (signal.SIGINT, 130, "KeyboardInterrupt"),
    (signal.SIGTERM, 143, "TerminatedError"),
    (signal.SIGHUP, 129, "TerminatedError"),
]


@pytest.mark.parametrize(("number", "code", "kind"), SIGNALS)
def test_an_exit_by_a_signal_prints_an_object(
    server: RunningServer, source: Path, number: signal.Signals, code: int, kind: str
) -> None:
    status, output, errors = interrupted(server, source, f"once-{number}", number, again=False)
    assert status == code, errors
    error = error_in(output)
    assert error["type"] == kind
    assert error["message"] in flat(errors)


@pytest.mark.parametrize(("number", "code", "kind"), SIGNALS)
def test_an_immediate_exit_prints_an_object(
    server: RunningServer, source: Path, number: signal.Signals, code: int, kind: str
) -> None:
    key = f"twice-{number}"
    status, output, errors = interrupted(server, source, key, number, again=True)
    assert status == code, errors
    error = error_in(output)
    assert error["type"] == kind
    assert error["message"].startswith("ended at once, without cleaning up\nparts of the multipart upload ")
    with client(server) as reader:
        for upload in reader.multipart_list(server.bucket, prefix=key).uploads:
            assert upload.upload_id in error["message"]
            reader.multipart_abort(server.bucket, key, upload_id=upload.upload_id)
