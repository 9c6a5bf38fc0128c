"""Output of the command: results on standard output, messages for people on standard error."""

from __future__ import annotations

import json
import os
import select
import sys
import textwrap
from collections.abc import Mapping
from contextlib import suppress

from cosxfer.foreign import printable as printable  # the command's modules import it from here

WIDTH = 110
"""Maximum columns of a paragraph."""


_object_due = False


class OutputError(Exception):
    """Standard output cannot be written; the message is the system's reason."""

    reader_left = False
    """Whether the program at the other end of the pipe reads no more."""


def prepare() -> None:
    """Make the standard streams safe to use, even if some are closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Otherwise a socket or a file would get this number, and the messages.
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        # Characters that the locale cannot encode are escaped, so that they end no upload.
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def say(text: str) -> None:
    """Write a line to standard output and flush it. Raises `OutputError`."""
    if sys.stdout is None:
        raise OutputError("it is closed")
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        raise unwritten(error) from error


def unwritten(error: OSError | ValueError) -> OutputError:
    """Return the error for an unwritable standard output, and discard all further output."""
    # The interpreter flushes again when it exits and would report the same error.
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    failure = OutputError((getattr(error, "strerror", None) or str(error)).lower())
    failure.reader_left = isinstance(error, BrokenPipeError)
    return failure


class Lines:
    """Writes many lines to standard output, in blocks unless it is a terminal. Raises `OutputError`.

    With ``as_json`` each line is an object, and an error of the block becomes the last one.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            expect_object(False)  # an empty list is no line
        if not isinstance(error, OutputError):
            self.flush()

    def object(self, value: Mapping[str, object]) -> None:
        self.write(json.dumps(value))

    def write(self, text: str) -> None:
        if sys.stdout is None:
            raise OutputError("it is closed")
        try:
            sys.stdout.write(text + "\n")
        except (OSError, ValueError) as error:
            raise unwritten(error) from error

    def flush(self) -> None:
        if sys.stdout is None:
            return
        try:
            sys.stdout.flush()
        except (OSError, ValueError) as error:
            raise unwritten(error) from error


def write_bytes(data: bytes | memoryview) -> None:
    """Write all of ``data`` to standard output, without a buffer. Raises `OutputError`.

    The program at the other end may have set non-blocking mode. Then the call waits until it reads.
    """
    left = memoryview(data)
    try:
        while left:
            try:
                left = left[os.write(1, left) :]
            except BlockingIOError:
                select.select([], [1], [])
    except OSError as error:
        raise unwritten(error) from error


def expect_object(due: bool) -> None:
    """Set whether the command owes one JSON object on standard output (``--json``)."""
    global _object_due
    _object_due = due


def object_is_due() -> bool:
    """Whether the object was requested and not yet written."""
    return _object_due


def say_object(value: Mapping[str, object]) -> None:
    """Write the object. Raises `OutputError`."""
    expect_object(False)
    say(json.dumps(value))


def say_object_at_once(value: Mapping[str, object]) -> None:
    """Write the object if it is due and writing does not block. Takes no lock, so a signal handler may call it."""
    if not _object_due:
        return
    expect_object(False)
    with suppress(OSError, ValueError):
        if select.select([], [1], [], 0)[1]:
            os.write(1, json.dumps(value).encode() + b"\n")


def tell(*paragraphs: str) -> None:
    """Write messages to standard error. Errors of writing are ignored.

    A paragraph that begins with a space is a command to copy, so it stays on one line.
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
    """Write lines to standard error unchanged."""
    text = "".join(f"{line}\n" for line in lines)
    left = memoryview(text.encode(getattr(sys.stderr, "encoding", None) or "utf-8", errors="backslashreplace"))
    # Not with sys.stderr: a signal handler cannot wait for its lock.
    with suppress(OSError):
        while left:
            left = left[os.write(2, left) :]
