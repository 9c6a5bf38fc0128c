"""Runs the command as a user does: in a separate process, without the tester's settings in the environment."""

from __future__ import annotations

import os
import subprocess
import sys

import cosxfer
from cosxfer.server import RunningServer

COMMAND = [sys.executable, "-m", "cosxfer"]


def environment(server: RunningServer | None, **more: str) -> dict[str, str]:
    """Variables that a user would export, and a fixed terminal width."""
    hidden = ("COLUMNS", "COSXFER_PROFILE")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COS_") and name not in hidden}
    clean["XDG_CONFIG_HOME"] = "/nonexistent"
    if server is not None:
        clean |= {
            "COS_SECRET_ID": server.credentials.secret_id,
            "COS_SECRET_KEY": server.credentials.secret_key,
            "COS_ENDPOINT": server.endpoint,
        }
    return clean | more


def run(server: RunningServer | None, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=environment(server, **more),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def wait_for_parts(process: subprocess.Popen[str], server: RunningServer, key: str, count: int) -> None:
    """Wait until the server has finished ``count`` parts of ``key``, while ``process`` runs.

    Parts of other keys do not count: the server may finish a request of a process that was interrupted before.
    """
    while sum(it["operation"] == "multipart_upload" and it["key"] == key for it in server.requests()) < count:
        assert process.poll() is None, process.communicate()


def flat(text: str) -> str:
    """``text`` without line breaks, because wrapping depends on the lengths of names."""
    return " ".join(text.split())


def client(server: RunningServer) -> cosxfer.Client:
    return cosxfer.Client(endpoint=server.endpoint, credentials=server.credentials)


def assert_one_paragraph(done: subprocess.CompletedProcess[str]) -> None:
    assert done.stderr.startswith("cosxfer: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
