"""Settings for all tests."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

from tests import forked

# A busy machine must not fail a test, so there is no deadline.
settings.register_profile("cosxfer", deadline=None)
settings.load_profile("cosxfer")

# No test reads or changes what the user's clients have learned, and none learns from another.
os.environ["COSXFER_STATE_DIR"] = os.devnull

# A background job ignores SIGINT, and nohup SIGHUP. Processes that tests start would inherit that.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the garbage collector skip the ten thousand collected tests, which live to the end of the session.

    Otherwise it visits them all again and again, which is an eighth of the time of all tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


ALL_WAYS = ("test_main_job.py", "test_ambiguous.py", "test_bodies.py", "test_tls.py")
"""Files whose tests of httpx, the transport of last resort, are not deep."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let ``make test`` check httpx in some files only; ``make test-deep`` checks it in all."""
    for item in items:
        parameters = item.name.partition("[")[2]
        if "httpx" in parameters and (item.path.name not in ALL_WAYS or "httpx-2" in parameters):
            item.add_marker(pytest.mark.deep)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """A test that has run the command in this process may have left its log levels."""
    for name in ("cosxfer", "cosxfer.retry", "cosxfer.resume"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def pytest_collection_finish(session: pytest.Session) -> None:
    starting = ("tests/functional/", "tests/e2e/")
    if not session.config.option.collectonly and any(item.nodeid.startswith(starting) for item in session.items):
        forked.install()


def pytest_sessionfinish() -> None:
    forked.remove()
