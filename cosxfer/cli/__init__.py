"""The command line. It needs the extra ``cli`` and says so if the extra is missing.

This module imports almost nothing before it handles signals. Importing takes a moment, and Ctrl-C during it would end
in a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType


def main() -> None:
    """Run the command ``cosxfer``. A signal never shows a traceback. docs/command.md lists the exit codes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A signal that is ignored at the start stays ignored, as nohup requires.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    from cosxfer.cli.start import run

    run()


def _leave(number: int, frame: FrameType | None) -> None:
    if "--json" in sys.argv[1:]:
        kind = "KeyboardInterrupt" if number == signal.SIGINT else "TerminatedError"
        error = f'{{"error": {{"type": "{kind}", "message": "ended by a signal before any upload began"}}}}\n'
        with suppress(OSError):  # standard output is closed or has no reader
            os.write(1, error.encode())
    os._exit(128 + number)
