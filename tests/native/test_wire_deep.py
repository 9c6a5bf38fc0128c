"""Slow checks of the wire with .ci/deep/: fuzzing of parser and I/O thread, races, sanitizers, partial builds."""

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
def test_the_response_parser_survives_damaged_input(seed: int) -> None:
    assert "ok: 1000000 answers" in run("wire_fuzz.sh", "1000000", str(seed))


def test_parser_and_io_thread_survive_coverage_guided_fuzzing() -> None:
    told = run("wire_guided.sh", "30")
    assert told.count("ok: ") == 2


def test_the_wire_has_no_data_races() -> None:
    assert "ok: " in run("wire_threads.sh", "40")


@pytest.mark.parametrize("missing", ["nghttp2", "compiler"])
def test_a_package_built_without_a_dependency_says_so_and_uploads(missing: str) -> None:
    told = run("without.sh", sys.executable, missing)
    assert "will be slower" in told
    assert f"ok: uploaded without {missing}" in told


def test_scripted_servers_under_sanitizers() -> None:
    assert " passed" in run("wire_sanitize.sh", sys.executable)
