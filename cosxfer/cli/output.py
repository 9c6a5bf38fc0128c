"""What the command writes: what was asked for on standard output, what a person should know on standard error."""

from __future__ import annotations

import json
import os
import select
import sys
import textwrap
from collections.abc import Mapping
from contextlib import suppress

from cosxfer.foreign import printable as printable  # the command's modules take it from here

WIDTH = 110
"""Columns of a paragraph, on a terminal that has as many."""


_object_due = False


class OutputError(Exception):
    """Standard output cannot be written; the message is the system's reason."""


def prepare() -> None:
    """Make the standard streams safe to use, whatever the command was started with."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # A socket or a file would take the number, and get what is meant for a person.
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        # What the locale has no bytes for is escaped; it ends no upload.
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def say(text: str) -> None:
    """Write a line to standard output, all of it and now. Raises `OutputError`."""
    if sys.stdout is None:
        raise OutputError("it is closed")
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        raise unwritten(error) from error


def unwritten(error: OSError | ValueError) -> OutputError:
    """What to raise where standard output cannot be written. What is still to be written to it goes nowhere."""
    # The interpreter flushes once more at its end, and would complain of the same.
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OutputError((getattr(error, "strerror", None) or str(error)).lower())


def expect_object(due: bool) -> None:
    """Say whether one JSON object is due on standard output, whatever happens: ``--json``."""
    global _object_due
    _object_due = due


def object_is_due() -> bool:
    """Whether it was asked for, and has not been written."""
    return _object_due


def say_object(value: Mapping[str, object]) -> None:
    """Write the object. Raises `OutputError`."""
    expect_object(False)
    say(json.dumps(value))


def say_object_at_once(value: Mapping[str, object]) -> None:
    """Write the object if it is due and can be written without waiting, with no lock: for the handler of a signal."""
    if not _object_due:
        return
    expect_object(False)
    with suppress(OSError, ValueError):
        if select.select([], [1], [], 0)[1]:
            os.write(1, json.dumps(value).encode() + b"\n")


def tell(*paragraphs: str) -> None:
    """Write for a person, on standard error; where that is impossible there is nobody to tell it.

    A paragraph that begins with a space is a command to copy: it stays on one line.
    """
    lines = []
    width = WIDTH
    with suppress(OSError):
        width = max(20, min(WIDTH, os.get_terminal_size(2).columns))
    for paragraph in paragraphs:
        if paragraph.startswith(" "):
            lines.append(printable(paragraph))
            continue
        lines += textwrap.wrap(printable(paragraph), width, break_long_words=False, break_on_hyphens=False)
    put(*lines)


def put(*lines: str) -> None:
    """Write lines to standard error as they are."""
    text = "".join(f"{line}\n" for line in lines)
    left = memoryview(text.encode(getattr(sys.stderr, "encoding", None) or "utf-8", errors="backslashreplace"))
    # Not by way of sys.stderr: its lock cannot be waited for in a signal handler.
    with suppress(OSError):
        while left:
            left = left[os.write(2, left) :]
