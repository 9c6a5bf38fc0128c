"""Lists the native threads of this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PATIENCE_SECONDS = 30.0


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def native_threads() -> int:
    """The threads of all file services of this process."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # the thread has just ended
            names.append((task / "comm").read_text().strip())
    return names.count("cosxfer-files")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
