"""Runs code as an unprivileged user, because root ignores permissions."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

NOBODY = 65534


def reachable_by_others(path: Path) -> None:
    """Let other users enter the parent folders of ``path``, as far as the tests created them."""
    for folder in (path, *path.parents):
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)


def run_unprivileged(work: Callable[[], None]) -> None:
    """Run ``work`` in a child process, as nobody if this is root. An exception is printed and fails the test."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        pytest.fail("the unprivileged process failed; its output says why", pytrace=False)
