"""The command line. It needs the extra ``cli``; without it, it says so.

It begins here, where little is imported yet: what is takes a moment, and Ctrl-C in it would end in a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType


def main() -> None:
    """Run the command ``cosxfer``, quiet at a signal from the first moment on; docs/command.md lists its exit codes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # What was ignored when we were started stays ignored: that is how nohup works.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    from cosxfer.cli.start import run

    run()


def _leave(number: int, frame: FrameType | None) -> None:
    if "--json" in sys.argv[1:]:
        kind = "KeyboardInterrupt" if number == signal.SIGINT else "TerminatedError"
        error = f'{{"error": {{"type": "{kind}", "message": "ended by a signal; nothing was under way"}}}}\n'
        with suppress(OSError):  # closed, or nobody reads it
            os.write(1, error.encode())
    os._exit(128 + number)
