"""Output of the command, and its behaviour if it cannot print."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cosxfer.server import RunningServer
from tests.e2e.command import COMMAND, client, environment, flat, run


def run_into(server: RunningServer, redirection: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command with a shell ``redirection`` of its standard output."""
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *COMMAND, *map(str, arguments)],
        env=environment(server), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(("redirection", "why"), [(">/dev/full", "no space left on device"), (">&-", "it is closed")])
@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_an_upload_succeeds_even_if_its_report_cannot_be_written(
    server: RunningServer, source: Path, redirection: str, why: str, extra: tuple[str, ...]
) -> None:
    done = run_into(server, redirection, "cp", source, f"cos://{server.bucket}/unreported", *extra)
    assert done.returncode == 3
    said = flat(done.stderr)
    assert f"the upload is done, but standard output cannot be written: {why}." in said
    assert "verified by CRC64" in said
    assert "Exception ignored" not in said
    with client(server) as reader:
        assert reader.head_object(server.bucket, "unreported").size == source.stat().st_size


def test_a_failed_upload_is_a_failure_even_if_its_report_cannot_be_written(server: RunningServer, source: Path) -> None:
    server.set_faults([{"operation": "put_object", "do": "error", "status": 400, "code": "InvalidArgument"}])
    try:
        (source.parent / "refused").write_bytes(b"x")
        done = run_into(server, ">/dev/full", "cp", "-r", source.parent, f"cos://{server.bucket}/some")
    finally:
        server.set_faults([])
    assert done.returncode == 1
    said = flat(done.stderr)
    assert "standard output cannot be written: no space left on device. 1 file, 3.0 MiB, to " in said
    assert "1 file FAILED" in said
    assert "the upload is done" not in said


def test_a_closed_pipe_is_reported(server: RunningServer, source: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*COMMAND, "cp", str(source), f"cos://{server.bucket}/k"],
            env=environment(server), stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        )  # fmt: skip
    finally:
        os.close(write)
    assert done.returncode == 3
    assert "standard output cannot be written: broken pipe" in flat(done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ("form", "cos://{bucket}/in/", "-o", "-"),
        ("demo", "--size", "1MiB"),
        ("serve", "--port", "0"),
        ("--version",),
        ("--help",),
        ("cp", "--help"),
    ],
)
def test_other_commands_fail_without_their_output(server: RunningServer, arguments: tuple[str, ...]) -> None:
    done = run_into(server, ">/dev/full", *(argument.format(bucket=server.bucket) for argument in arguments))
    assert done.returncode == 1
    assert flat(done.stderr) == "cosxfer: standard output cannot be written: no space left on device"


def test_a_key_does_not_control_the_terminal(server: RunningServer, tmp_path: Path) -> None:
    source = tmp_path / "ring\a\n.bin"
    source.write_bytes(b"x")
    done = run(server, "cp", source, f"cos://{server.bucket}/")
    assert done.returncode == 0
    assert f"cos://{server.bucket}/ring\\x07\\n.bin in " in done.stdout
    with client(server) as reader:
        assert reader.get_object(server.bucket, "ring\a\n.bin").body == b"x"
    missing = run(server, "cp", "no\a\x1b[31mfile", f"cos://{server.bucket}/k\x1b")
    assert not set(missing.stderr) & {"\a", "\x1b"}


def test_a_file_name_that_is_not_text_is_reported(server: RunningServer, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/bad\xff"
    Path(os.fsdecode(path)).write_bytes(b"x")
    for locale in ({"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {}):
        done = subprocess.run(
            [*map(os.fsencode, COMMAND), b"cp", path, f"cos://{server.bucket}/".encode()],
            env=environment(server, **locale), capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 2
        assert b"is not text" in done.stderr
        assert b"rename the file, or give it another key" in b" ".join(done.stderr.split())
    done = subprocess.run(
        [*map(os.fsencode, COMMAND), b"cp", path, f"cos://{server.bucket}/good".encode()],
        env=environment(server), capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0


def test_characters_that_the_locale_cannot_show_are_escaped(server: RunningServer, source: Path) -> None:
    done = run(
        server, "cp", source, f"cos://{server.bucket}/schlüssel", PYTHONIOENCODING="ascii", PYTHONUTF8="1"
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert f"cos://{server.bucket}/schl\\xfcssel" in done.stdout
