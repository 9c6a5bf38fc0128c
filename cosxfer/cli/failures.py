"""How a command ends: a readable paragraph on standard error and the exit code, never a traceback unless asked for."""

from __future__ import annotations

import logging
import os
import signal
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import typer

from cosxfer.errors import CosxferError, UsageError

FAILED, USAGE, INTERRUPTED = 1, 2, 130

_GIVEN_UP = (
    "what was under way was given up and cleaned up, unless a line above says what stays. If the last request had "
    "already reached the server the object may be there: look before you rely on either"
)


@contextmanager
def reported(*, debug: bool) -> Iterator[None]:
    """Run a command: its errors become messages and exit codes; SIGTERM and SIGHUP end it as Ctrl-C does."""
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="cosxfer: %(message)s", stream=sys.stderr
    )
    if debug:
        # What HTTP libraries log at this level holds signatures.
        for noisy in ("httpx", "httpcore", "hpack", "h2", "asyncio"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # What was ignored when we were started stays ignored: that is how nohup works.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        fail(f"interrupted; {_GIVEN_UP}", INTERRUPTED)
    except _TerminatedError as error:
        fail(f"terminated by {error.name}; {_GIVEN_UP}", error.code)
    except BrokenPipeError:
        # Whoever read our output has gone; the rest of it has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None
    except CosxferError as error:
        if debug:
            raise
        fail(_paragraph(error), USAGE if isinstance(error, UsageError) else FAILED)
    except Exception as error:
        if debug:
            raise
        fail(f"a fault of cosxfer itself: {type(error).__name__}: {error}. Run with --debug for the details", FAILED)


class _TerminatedError(BaseException):
    """A signal asked the command to end; as KeyboardInterrupt, it is no Exception, so that nothing swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name = signal.Signals(number).name
        self.code = 128 + number


def fail(message: str, code: int) -> NoReturn:
    """Print ``message`` on standard error and end with ``code``."""
    for paragraph in f"cosxfer: {message}".splitlines():
        print("\n".join(textwrap.wrap(paragraph, 110, break_long_words=False, break_on_hyphens=False)), file=sys.stderr)
    raise typer.Exit(code)


def _paragraph(error: CosxferError) -> str:
    notes = list(getattr(error, "__notes__", []))
    return ". ".join([str(error).rstrip("."), *notes])


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _TerminatedError(number)
