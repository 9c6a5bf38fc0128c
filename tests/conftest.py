"""What holds for all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

# A busy machine is no failure: no test depends on time.
settings.register_profile("cosxfer", deadline=None)
settings.load_profile("cosxfer")

# A shell ignores SIGINT for what it runs in the background, nohup SIGHUP; what tests start would inherit that.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
