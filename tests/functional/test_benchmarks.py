"""The benchmarks run: what they import and call exists. Nothing is said about time."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("hashing", "heads", "journal", "planning", "queue", "signing", "slicing", "xml")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )


@pytest.mark.deep
def test_the_benchmarks_of_all_parts_run() -> None:
    done = run("-m", "pytest", "-p", "no:cacheprovider", "-v", "--benchmark-disable", "bench/micro")
    assert done.returncode == 0, done.stdout
    passed = re.findall(r"^bench/micro/test_(\w+)\.py::\S.* PASSED", done.stdout, re.MULTILINE)
    assert set(passed) == set(PARTS)
