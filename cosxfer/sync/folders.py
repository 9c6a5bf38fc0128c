"""Opening the folder of a file below the root of a sync."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cosxfer.paths import open_path


@contextmanager
def folder_of(root: str, key: bytes) -> Iterator[tuple[int, list[str], str]]:
    """Open the folder of a file, following no link below ``root``. Gives it, the names of folders, and the file's."""
    *folders, name = [os.fsdecode(part) for part in key.split(b"/")]
    fd = open_path(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd, folders, name
    finally:
        os.close(fd)
