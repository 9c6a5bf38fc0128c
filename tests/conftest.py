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

    Otherwise it visits them all again and again, which is an eighth of the time of all tests. It also runs less often.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000)
        gc.enable()


LONG_SECONDS = 120
"""The time-out of tests that name none: see pyproject.toml."""
ALL_WAYS = ("test_main_job.py", "test_ambiguous.py", "test_bodies.py", "test_tls.py")
"""Files whose tests of httpx, the transport of last resort, are not deep."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, object, object]:
    """Check httpx in some files, and in all with ``make test-deep``. Begin with the long tests."""
    for item in items:
        parameters = item.name.partition("[")[2]
        if "httpx" in parameters and (item.path.name not in ALL_WAYS or "httpx-2" in parameters):
            item.add_marker(pytest.mark.deep)
    try:
        return (yield)
    finally:
        items[:] = long_ones_first(alternate(items), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


WAITING = ("tests/functional/", "tests/e2e/")
"""Folders whose tests wait for servers and commands."""


def alternate(items: list[pytest.Item]) -> list[pytest.Item]:
    """Spread the files whose tests wait evenly among those whose tests compute, so that no core is idle for long."""
    waiting: dict[str, list[pytest.Item]] = {}
    computing: dict[str, list[pytest.Item]] = {}
    for item in items:
        path = item.nodeid.partition("::")[0]
        (waiting if path.startswith(WAITING) else computing).setdefault(path, []).append(item)
    places = [
        (place / len(files), number, tests)
        for number, files in enumerate((waiting, computing))
        for place, tests in enumerate(files.values())
    ]
    return [item for _, _, tests in sorted(places, key=lambda each: each[:2]) for item in tests]


def long_ones_first(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Order the tests so that each worker, which gets a range of them, begins with those of the longest time-outs.

    Otherwise one worker may begin the longest one when the others have nothing left to do.
    """
    limits = {item: limit for item in items if (limit := _time_out(item)) > LONG_SECONDS}
    if not limits:
        return items
    slow = sorted(limits, key=lambda item: -limits[item])
    others = [item for item in items if item not in limits]
    share = -(-len(items) // workers)
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        mine = slow[worker::workers]
        ordered += mine
        ordered += others[: max(0, share - len(mine))]
        del others[: max(0, share - len(mine))]
    return ordered + others


def _time_out(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker is not None and marker.args else 0.0


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """A test that has run the command in this process may have left its log levels."""
    for name in ("cosxfer", "cosxfer.retry", "cosxfer.resume"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.config.option.collectonly and any(item.nodeid.startswith(WAITING) for item in session.items):
        forked.install()


def pytest_sessionfinish() -> None:
    forked.remove()
