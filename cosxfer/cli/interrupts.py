"""Handling of SIGINT, SIGTERM and SIGHUP.

While no upload runs, a signal ends the command silently. During uploads, the first signal raises an exception and the
second ends the process at once.
"""

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
"""``timeout`` sends the same signal twice, to the process and to its group. Within this time it counts as one."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

LAST_WORDS_SECONDS = 1.0
"""How long the last messages may delay the end of the process."""

_GIVEN_UP = (
    "running uploads were aborted and their parts deleted, unless a line above says otherwise. If the last request "
    "reached the server, the object may exist; check before you rely on it"
)
_KEPT = (
    "what was sent is kept: the same command goes on. cosxfer uploads list shows it. If the last request reached the "
    "server, the object may exist; check before you rely on it"
)

_STOPPING_KEPT = "stopping; the uploaded parts are kept. A second Ctrl-C ends at once"
_STOPPING_GIVEN_UP = "stopping and deleting the uploaded parts. A second Ctrl-C ends at once and leaves them"

_NOTHING_SENT = "nothing was being uploaded"

_AT_ONCE = "ended at once, without cleaning up"

_AFTER_BARS = b"\n\x1b[?25h"
"""Shows the cursor again, which progress bars hide."""


class TerminatedError(BaseException):
    """A signal ends the command. Like KeyboardInterrupt it is no Exception, so no handler swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.name = signal.Signals(number).name


_left: Callable[[], Sequence[str]] | None = None
_stopping = ""
_became = _NOTHING_SENT


def leaves(left: Callable[[], Sequence[str]], *, keeps: bool) -> None:
    """Register ``left``: it returns what stays on the server if the process ends without cleaning up.

    ``keeps`` says that an interrupt leaves the parts on the server, so that a later command goes on with them.
    """
    cleans_up(left, stopping=_STOPPING_KEPT if keeps else _STOPPING_GIVEN_UP, became=_KEPT if keeps else _GIVEN_UP)


def cleans_up(left: Callable[[], Sequence[str]], *, stopping: str, became: str) -> None:
    """Register ``left`` as `leaves` does, the message about the first signal, and `what_became` of the work then."""
    global _left, _stopping
    _left, _stopping = left, stopping
    ended_by_signal(became)


def ended_by_signal(became: str) -> None:
    """Set the sentence that `what_became` returns from now on."""
    global _became
    _became = became


def what_became() -> str:
    """Return a sentence about the work that a signal has ended."""
    return _became


def quiet() -> None:
    """From now on, a signal ends the command silently, because there is nothing to clean up."""
    _handle_by(_leave)


@contextmanager
def interruptible() -> Iterator[None]:
    """The first signal raises an exception, so that the block can clean up. A second one ends the process at once."""
    global _left
    first: float | None = None
    ending = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first, ending
        now = time.monotonic()
        if first is None:
            first = now
            if _left is not None:
                with suppress(RuntimeError):  # the signal interrupted a write to the same stream
                    show(_stopping)
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
    """Return what ``--json`` prints if a signal ends the command."""
    kind = KeyboardInterrupt if number == signal.SIGINT else TerminatedError
    return {"error": {"type": kind.__name__, "message": message}}


def _handle_by(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in _SIGNALS:
        # A signal that is ignored at the start stays ignored, as nohup requires.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    say_object_at_once(error_of(number, "ended by a signal before any upload began"))
    os._exit(128 + number)


def _end_at_once(number: int) -> None:
    # Use another thread: this one may hold a lock that is needed, or be inside a write.
    speaker = threading.Thread(target=_say_what_is_left, args=(number,), daemon=True)
    speaker.start()
    speaker.join(LAST_WORDS_SECONDS)
    say_object_at_once(error_of(number, _AT_ONCE))
    with suppress(OSError, ValueError):
        # A slow reader must not delay the end.
        if os.isatty(2) and select.select([], [2], [], 0)[1]:
            os.write(2, _AFTER_BARS)
    os._exit(128 + number)


def _say_what_is_left(number: int) -> None:
    show(_AT_ONCE)
    left = [] if _left is None else _left()
    say_object_at_once(error_of(number, "\n".join([_AT_ONCE, *left])))
    for line in left:
        show(line)
