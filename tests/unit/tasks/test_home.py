"""A client belongs to the event loop of its first call, and to its process."""

from __future__ import annotations

import asyncio
import os

import pytest

import cosxfer
from cosxfer.tasks.home import Home


@pytest.fixture
def loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.close()
    return loop


def test_another_loop_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    home = Home()
    assert not home.bound
    assert home.gone
    home.bind(loop)
    home.bind(loop)
    assert home.bound
    other = asyncio.new_event_loop()
    other.close()
    with pytest.raises(cosxfer.CosxferError, match="another event loop"):
        home.bind(other)


def test_a_forked_child_is_refused(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home()
    home.bind(loop)
    home.check_process()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert not home.bound
    with pytest.raises(cosxfer.CosxferError, match="before this process was forked"):
        home.check_process()


def test_a_step_runs_on_the_loop_and_is_refused_when_that_is_closed() -> None:
    home, steps = Home(), []

    async def main() -> None:
        home.bind(asyncio.get_running_loop())
        assert home.post(lambda: steps.append("ran"))
        assert not steps
        await asyncio.sleep(0)

    asyncio.run(main())
    assert steps == ["ran"]
    assert home.gone
    assert not home.post(lambda: steps.append("again"))
