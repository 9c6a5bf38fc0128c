"""What is published works: a source distribution builds, with its native core."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_a_source_distribution_builds_and_installs_with_its_native_core(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    subprocess.run(["git", "clone", "--quiet", ROOT, tree], check=True)
    subprocess.run([sys.executable, "setup.py", "-q", "sdist", "-d", tmp_path], cwd=tree, check=True)
    [archive] = tmp_path.glob("*.tar.gz")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    # An isolated build, as a user's `pip install` does it.
    subprocess.run([python, "-m", "pip", "install", "-q", f"{archive}[cli,server]"], check=True)
    code = "import cosxfer._native as n; assert n.COMPILED, n.KERNELS; print(n.KERNEL)"
    subprocess.run([python, "-c", code], cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "venv/bin/cosxfer", "demo", "--size", "20MiB"], cwd=tmp_path, check=True)
