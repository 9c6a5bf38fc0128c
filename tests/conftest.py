"""What holds for all tests."""

from __future__ import annotations

import signal

# A shell ignores SIGINT for what it runs in the background, nohup SIGHUP; what tests start would inherit that.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
