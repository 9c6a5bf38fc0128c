"""The event loop of a blocking client: calls that come while it is busy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from cosxfer.errors import CosxferError
from cosxfer.loop_thread import LoopThread
from tests.waiting import PATIENCE_SECONDS, until

CALLS = 20


async def nothing() -> None:
    """Closes nothing."""


async def number(value: int) -> int:
    return value


@contextmanager
def busy(loop_thread: LoopThread, pool: ThreadPoolExecutor) -> Iterator[threading.Event]:
    """A loop that is blocked until the event is set."""
    inside, goes_on = threading.Event(), threading.Event()

    async def block() -> None:
        inside.set()
        goes_on.wait(PATIENCE_SECONDS)

    blocking = pool.submit(loop_thread.run, block())
    assert inside.wait(PATIENCE_SECONDS)
    yield goes_on
    goes_on.set()
    blocking.result(PATIENCE_SECONDS)


def test_calls_that_come_while_the_loop_is_busy_wake_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loop_thread = LoopThread(name="test", at_end=nothing)
    wakes: list[object] = []
    with ThreadPoolExecutor(CALLS + 1) as pool:
        with busy(loop_thread, pool) as goes_on:
            loop = loop_thread.started()
            wake = loop.call_soon_threadsafe
            monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *given: wakes.append(given) or wake(*given))
            calls = [pool.submit(loop_thread.run, number(value)) for value in range(CALLS)]
            until(lambda: len(loop_thread._submitted) == CALLS)
            goes_on.set()
            assert [call.result(PATIENCE_SECONDS) for call in calls] == [*range(CALLS)]
        assert len(wakes) == 1
    loop_thread.close()


def test_calls_that_come_before_the_end_do_not_wait_for_ever() -> None:
    loop_thread = LoopThread(name="test", at_end=nothing)

    async def long() -> None:
        await asyncio.sleep(PATIENCE_SECONDS)

    with ThreadPoolExecutor(CALLS + 2) as pool:
        with busy(loop_thread, pool) as goes_on:
            calls = [pool.submit(loop_thread.run, long()) for _ in range(CALLS)]
            until(lambda: len(loop_thread._submitted) == CALLS)
            closing = pool.submit(loop_thread.close)
            until(lambda: loop_thread.closed)
            goes_on.set()
        for call in calls:
            with pytest.raises(CosxferError, match="closed"):
                call.result(PATIENCE_SECONDS)
        closing.result(PATIENCE_SECONDS)
    with pytest.raises(CosxferError, match="closed"):
        loop_thread.run(number(1))
