"""Reads standard input, if an argument is ``-``."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import suppress

from cosxfer.cli.values import STREAM
from cosxfer.errors import SourceError

BLOCK_BYTES = 1024 * 1024


def is_given() -> bool:
    """Whether standard input is a pipe or a file, not closed and not a terminal."""
    return sys.stdin is not None and not sys.stdin.isatty()


def is_named(text: str) -> bool:
    """Whether ``text`` names standard input: ``-``, or a path such as ``/dev/stdin``."""
    if text == STREAM:
        return True
    with suppress(OSError, ValueError):
        return os.path.samestat(os.stat(text), os.fstat(0))  # noqa: PTH116
    return False


def read_blocks() -> Iterator[bytes]:
    """Read standard input to its end. Raises `SourceError` if it cannot be read.

    The program at the other end may have set non-blocking mode. Then a read without data is not the end.
    """
    # Not by sys.stdin: a thread that waits in it holds a lock, on which Python aborts at its exit.
    stdin = sys.stdin.fileno()
    try:
        while True:
            try:
                block = os.read(stdin, BLOCK_BYTES)
            except BlockingIOError:
                select.select([stdin], [], [])
                continue
            if not block:
                return
            yield block
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SourceError(f"standard input cannot be read: {reason}", path=STREAM) from error
