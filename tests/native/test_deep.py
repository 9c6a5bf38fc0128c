"""Slow checks of the C code with the scripts in .ci/deep/: sanitizers, and kernels for another processor."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / ".ci" / "deep"

pytestmark = [pytest.mark.deep, pytest.mark.timeout(1800)]


def run(name: str, *arguments: str) -> str:
    command = [str(SCRIPTS / name), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1780)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout


def test_kernels_on_aarch64_under_emulation() -> None:
    assert "ok: neon" in run("aarch64.sh")


def test_the_c_kernels_alone_under_sanitizers(needs_compiled: None) -> None:
    assert "ok: scalar" in run("kernels.sh")


@pytest.mark.parametrize("kind", ["thread", "address,undefined"])
def test_the_file_service_alone_under_sanitizers(kind: str) -> None:
    assert "ok: " in run("file_service.sh", kind)


def test_the_native_tests_under_sanitizers(needs_compiled: None) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("the sanitizers' libraries are gcc's")
    assert " passed" in run("sanitize.sh", sys.executable)
