"""Published packages work: a source distribution builds its native core, and a wheel needs no system libraries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
pytestmark = [pytest.mark.deep, pytest.mark.timeout(600)]
FAST_BUILD = {**os.environ, "COSXFER_CFLAGS": "-O0"}
"""A third of the time. What is built is not measured here."""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages that `make wheel` builds from this commit."""
    tree = tmp_path_factory.mktemp("wheel") / "tree"
    subprocess.run(["git", "clone", "--quiet", ROOT, tree], check=True)
    done = subprocess.run(
        [tree / ".ci/wheel.sh"], env={**FAST_BUILD, "PYTHON": sys.executable}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return tree / "dist"


def installed(package: str, folder: Path) -> Path:
    """The bin folder of a new virtual environment with ``package``."""
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", package], env=FAST_BUILD, check=True)
    return folder / "bin"


def test_a_source_distribution_builds_and_installs_with_its_native_core(dist: Path, tmp_path: Path) -> None:
    [archive] = dist.glob("*.tar.gz")
    # An isolated build, like that of a user's `pip install`.
    programs = installed(f"{archive}[cli,server]", tmp_path / "venv")
    code = "import cosxfer._native as n; assert n.COMPILED, n.KERNELS; print(n.KERNEL)"
    subprocess.run([programs / "python", "-c", code], cwd=tmp_path, check=True)
    subprocess.run([programs / "cosxfer", "demo", "--size", "20MiB"], cwd=tmp_path, check=True)


def test_the_wheel_uploads_without_a_compiler_and_without_the_systems_libnghttp2(dist: Path, tmp_path: Path) -> None:
    [wheel] = dist.glob("*.whl")
    programs = installed(f"{wheel}[cli,server]", tmp_path / "venv")
    environment = {"PATH": str(programs), "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    code = (
        "import cosxfer._native as n, cosxfer._native.wire as w; assert n.COMPILED\n"
        "loaded = {line.split()[-1] for line in open('/proc/self/maps') if 'nghttp2' in line}\n"
        "assert len(loaded) == 1 and 'cosxfer.libs' in loaded.pop(), loaded\n"
    )
    subprocess.run([programs / "python", "-c", code], cwd=tmp_path, env=environment, check=True)
    demo = [str(programs / "cosxfer"), "demo", "--size", "20MiB"]
    hidden = hiding_libnghttp2(demo)
    done = subprocess.run(hidden, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def hiding_libnghttp2(command: list[str]) -> list[str]:
    """``command`` in a mount namespace without libnghttp2, or unchanged if we may not create one."""
    libraries = sorted({str(path.resolve()) for path in Path("/usr/lib").glob("*/libnghttp2.so*")})
    unshare = shutil.which("unshare")
    mount = shutil.which("mount")
    if os.getuid() or not unshare or not mount:
        return command
    binds = " && ".join(f"{mount} --bind /dev/null {path}" for path in libraries)
    return [unshare, "-m", "/bin/sh", "-c", f'{binds or "true"} && exec "$@"', "sh", *command]
