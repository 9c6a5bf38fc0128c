"""Trees deeper than the longest path, created and removed step by step."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def deep_folder(root: Path, names: list[str]) -> Iterator[int]:
    """Create nested folders ``names`` below ``root``, and give a descriptor of the innermost one.

    All of ``root`` is removed at the end, because pytest's own removal would recurse too deeply.
    """
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)
    try:
        for name in names:
            os.mkdir(name, dir_fd=fd)
            below = os.open(name, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)
        subprocess.run(["rm", "-rf", root], check=True)


def write_at(fd: int, name: str, content: bytes) -> None:
    """Create a file in the folder with the descriptor ``fd``."""
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=fd)
    try:
        os.write(file, content)
    finally:
        os.close(file)
