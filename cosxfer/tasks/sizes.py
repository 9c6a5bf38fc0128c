"""The sizes of files that are not open yet."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import Any

from cosxfer._native import slicing
from cosxfer.paths import stat_path


def size_of(path: str | os.PathLike[str] | None) -> int:
    """The size of a file before it is opened; 0 if that is unknown, as the transfer itself reports it.

    It is unknown in the thread of an event loop, where a slow file system would stall all that runs there.
    """
    if path is None or asyncio._get_running_loop() is not None:
        return 0
    try:
        found = stat_path(os.fsdecode(path))
    except (OSError, ValueError, TypeError):
        return 0
    # A directory has a size too, of which nothing will be sent.
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def sizes_of(paths: list[Any]) -> list[int]:
    """The sizes of many files, each as `size_of` returns it."""
    if asyncio._get_running_loop() is not None:
        return [0] * len(paths)
    # A path that is too long for a system call is left to `size_of`.
    return [size if size >= 0 else size_of(path) for path, size in zip(paths, slicing.sizes_of(paths), strict=True)]
