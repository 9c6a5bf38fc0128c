"""Ctrl-C and its kind: quiet while nothing is under way, an exception the first time, the end at once the second."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from cosxfer.cli.notices import show
from cosxfer.cli.output import say_object_at_once

ECHO_SECONDS = 0.3
"""``timeout`` and the like send the same signal twice, to the process and to its group: that is one request."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

LAST_WORDS_SECONDS = 1.0
"""How long the end may take that does not wait."""

_AT_ONCE = "ended at once, without cleaning up"

_AFTER_BARS = b"\n\x1b[?25h"
"""They hide the cursor."""


class TerminatedError(BaseException):
    """A signal asked the command to end; as KeyboardInterrupt, it is no Exception, so that nothing swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.name = signal.Signals(number).name


_left: Callable[[], Sequence[str]] | None = None


def leaves(left: Callable[[], Sequence[str]]) -> None:
    """From now on there is something to clean up; ``left`` says what stays if the process ends before that is done."""
    global _left
    _left = left


def quiet() -> None:
    """From now on, a signal ends the command without a word: there is nothing that it could leave behind."""
    _handle_by(_leave)


@contextmanager
def interruptible() -> Iterator[None]:
    """The first signal is an exception in the block, so that it can clean up; a second one does not wait for that."""
    global _left
    first: float | None = None
    ending = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first, ending
        now = time.monotonic()
        if first is None:
            first = now
            if _left is not None:
                with suppress(RuntimeError):  # in the middle of a write to the same stream
                    show(
                        "stopping; what was sent is being removed from the server. Once more ends at once and leaves it"
                    )
            raise KeyboardInterrupt if number == signal.SIGINT else TerminatedError(number)
        if not ending and now - first >= ECHO_SECONDS:
            ending = True
            _end_at_once(number)

    _handle_by(handle)
    try:
        yield
    finally:
        quiet()
        _left = None


def error_of(number: int, message: str) -> dict[str, object]:
    """What ``--json`` prints of the end by a signal."""
    kind = KeyboardInterrupt if number == signal.SIGINT else TerminatedError
    return {"error": {"type": kind.__name__, "message": message}}


def _handle_by(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in _SIGNALS:
        # What was ignored when we were started stays ignored: that is how nohup works.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    say_object_at_once(error_of(number, "ended by a signal; nothing was under way"))
    os._exit(128 + number)


def _end_at_once(number: int) -> None:
    # In another thread: this one may hold a lock that is needed to look, or be in the middle of a write.
    speaker = threading.Thread(target=_say_what_is_left, args=(number,), daemon=True)
    speaker.start()
    speaker.join(LAST_WORDS_SECONDS)
    say_object_at_once(error_of(number, _AT_ONCE))
    with suppress(OSError, ValueError):
        # Whoever reads slowly must not keep the process.
        if os.isatty(2) and select.select([], [2], [], 0)[1]:
            os.write(2, _AFTER_BARS)
    os._exit(128 + number)


def _say_what_is_left(number: int) -> None:
    show(_AT_ONCE)
    left = [] if _left is None else _left()
    say_object_at_once(error_of(number, "\n".join([_AT_ONCE, *left])))
    for line in left:
        show(line)
