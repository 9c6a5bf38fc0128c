"""Output of the command on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from cosxfer.server import RunningServer
from tests.e2e.command import COMMAND, environment

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(
    server: RunningServer, columns: int, *arguments: object, stdout: int | None = None, **more: str
) -> tuple[int, str]:
    """Run the command on a terminal of ``columns`` columns; return the exit code and the terminal's output.

    ``stdout`` is a file that gets standard output.
    """
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=environment(server, **({"TERM": "xterm"} | more)),
        stdin=theirs,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
    )
    os.close(theirs)
    output = b""
    try:
        while piece := os.read(ours, 1 << 16):
            output += piece
    except OSError:
        pass  # the end of a terminal's output
    os.close(ours)
    return process.wait(60), output.decode()


def lines(output: str) -> list[str]:
    return [line for line in re.split(r"[\r\n]+", CONTROL.sub("", output)) if line.strip()]


@pytest.mark.parametrize("columns", [20, 40, 70, 120])
def test_progress_and_retries_fit_the_terminal(server: RunningServer, source: Path, columns: int) -> None:
    server.set_faults([{"operation": "multipart_upload", "part": 2, "attempt": 1, "do": "error", "status": 500}])
    try:
        code, output = on_terminal(server, columns, "cp", source, f"cos://{server.bucket}/k", "--part-size", "1MiB")
    finally:
        server.set_faults([])
    assert code == 0, output
    shown = lines(output)
    # The summary goes to standard output, which is not wrapped.
    summary = next(line for line in shown if line.startswith("3.0 MiB to cos://"))
    assert max(len(line) for line in shown if line is not summary) <= columns
    assert "sent again" in " ".join(" ".join(shown).split())
    assert any(re.match(r" sending .*\d+%", line) for line in shown)
    assert ("━" in output) == (columns >= 60)
    assert output.count("\x1b[?25l") == output.count("\x1b[?25h")  # the cursor is visible again


@pytest.mark.parametrize("command", ["sync", "rm"])
def test_lines_go_to_the_file_that_is_standard_output(server: RunningServer, tmp_path: Path, command: str) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in "abc":
        (tree / name).write_bytes(b"x")
    there = f"cos://{server.bucket}/lines-{command}/"
    words = {"sync": ("sync", tree, there, "--json"), "rm": ("rm", "-r", "--force", there, "--json")}
    if command == "rm":
        assert on_terminal(server, 100, "cp", "-r", tree, there)[0] == 0
    with (tmp_path / "out").open("w+") as out:
        code, shown = on_terminal(server, 100, *words[command], stdout=out.fileno())
        out.seek(0)
        told = [json.loads(line) for line in out]
    assert code == 0, shown
    assert "{" not in shown
    if command == "sync":
        assert [event["key"].rpartition("/")[2] for event in told if event["event"] == "upload"] == ["a", "b", "c"]
        assert told[-1]["event"] == "summary"
    else:
        assert told


def test_no_color_is_honoured(server: RunningServer, source: Path) -> None:
    _, colourful = on_terminal(server, 100, "cp", source, f"cos://{server.bucket}/k")
    _, plain = on_terminal(server, 100, "cp", source, f"cos://{server.bucket}/k", NO_COLOR="1")
    colours = re.compile(r"\x1b\[[\d;]*(3[0-7]|38;[\d;]+|9[0-7])m")
    assert colours.search(colourful)
    assert not colours.search(plain)


def test_a_dumb_terminal_gets_no_control_characters(server: RunningServer, source: Path) -> None:
    code, output = on_terminal(server, 80, "cp", source, f"cos://{server.bucket}/k", TERM="dumb")
    assert code == 0
    assert "\x1b" not in output
