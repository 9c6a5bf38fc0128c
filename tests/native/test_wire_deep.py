"""Slow checks of the wire, by .ci/deep/: parser and I/O thread fuzzed, races, sanitizers, builds without parts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / ".ci" / "deep"

pytestmark = [pytest.mark.deep, pytest.mark.timeout(1800)]


def run(name: str, *arguments: str) -> str:
    command = [str(SCRIPTS / name), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1780)
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_parser_of_answers_holds_against_damage(seed: int) -> None:
    assert "ok: 1000000 answers" in run("wire_fuzz.sh", "1000000", str(seed))


def test_parser_and_io_thread_hold_against_what_coverage_leads_to() -> None:
    told = run("wire_guided.sh", "30")
    assert told.count("ok: ") == 2


def test_the_threads_of_the_io_thread_share_nothing_without_a_lock() -> None:
    assert "ok: " in run("wire_threads.sh", "40")


@pytest.mark.parametrize("missing", ["nghttp2", "compiler"])
def test_a_package_that_was_built_without_something_says_so_and_uploads(missing: str) -> None:
    told = run("without.sh", sys.executable, missing)
    assert "will be slower" in told
    assert f"ok: uploaded without {missing}" in told


def test_played_servers_under_sanitizers() -> None:
    assert " passed" in run("wire_sanitize.sh", sys.executable)
