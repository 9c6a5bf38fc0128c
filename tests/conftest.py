"""Settings for all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# A busy machine must not fail a test, so there is no deadline.
settings.register_profile("cosxfer", deadline=None)
settings.load_profile("cosxfer")

# No test reads or changes what the user's clients have learned, and none learns from another.
os.environ["COSXFER_STATE_DIR"] = os.devnull

# A background job ignores SIGINT, and nohup SIGHUP. Processes that tests start would inherit that.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
