"""Libraries in C that tests load into other processes with LD_PRELOAD."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def preload(folder: Path, name: str) -> dict[str, str]:
    """Compile ``name``.c, which is beside this file, into ``folder``. Returns the environment that loads it.

    Skips the test if that is not possible here.
    """
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler and LD_PRELOAD")
    library, before = folder / f"{name}.so", os.environ.get("LD_PRELOAD")
    plain = {variable: value for variable, value in os.environ.items() if variable != "LD_PRELOAD"}
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(Path(__file__).with_name(f"{name}.c"))]
    subprocess.run(command, check=True, env=plain)
    # The libraries of the sanitizers, if they are in use, must come first.
    return {"LD_PRELOAD": f"{before} {library}" if before else str(library)}
