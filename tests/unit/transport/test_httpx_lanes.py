"""Which httpx client a request uses, and when one is made or closed. No network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import httpx
import pytest

from cosxfer.transport.httpx_lanes import Lane, Lanes
from cosxfer.transport.native_pool import IDLE_SECONDS, ConnectionLimits
from cosxfer.transport.progress import Progress
from cosxfer.transport.proxies import Proxy

PROXY = Proxy(name="HTTP_PROXY", url="http://proxy.example:1", scheme="http", where="proxy.example:1")


class FakeClient:
    def __init__(self) -> None:
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True


class Play:
    """Lanes of fake clients, and a clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, http2: bool = True, connections: int = 4) -> None:
        self.limits = ConnectionLimits(http2=connections)
        self.lanes = Lanes(self.limits)
        self.http2 = http2
        self.made: list[Lane] = []
        self.late = 0.0
        loop = asyncio.get_running_loop()
        real = loop.time
        monkeypatch.setattr(loop, "time", lambda: real() + self.late)

    def make(self, proxy: Proxy | None = None) -> Lane:
        self.made.append(Lane(cast(httpx.AsyncClient, FakeClient()), 1, self.http2, proxy))
        return self.made[-1]

    def pick(self, count: int = 1) -> list[Lane | None]:
        return [self.lanes.pick(None, self.make) for _ in range(count)]

    @property
    def closed(self) -> list[bool]:
        return [cast(FakeClient, lane.client).closed for lane in self.made]


Test = Callable[[Any], Coroutine[Any, Any, None]]


def in_play(**settings: Any) -> Callable[[Test], Callable[[pytest.MonkeyPatch], None]]:
    def decorate(test: Test) -> Callable[[pytest.MonkeyPatch], None]:
        def run(monkeypatch: pytest.MonkeyPatch) -> None:
            async def main() -> None:
                await test(Play(monkeypatch, **settings))

            asyncio.run(main())

        run.__doc__ = test.__doc__
        return run

    return decorate


@in_play()
async def test_each_request_gets_a_lane_up_to_the_limit_and_then_they_share(play: Play) -> None:
    play.pick(8)
    assert [lane.active for lane in play.made] == [2] * 4


@in_play()
async def test_a_lane_serves_one_proxy(play: Play) -> None:
    play.pick(4)
    assert play.lanes.pick(PROXY, lambda: play.make(PROXY)) is play.made[4]


@in_play()
async def test_surplus_lanes_are_not_used_and_are_closed_after_a_while(play: Play) -> None:
    for lane in play.pick(4):
        assert lane is not None
        await play.lanes.release(lane)
    play.limits.resize(1)
    for _ in range(3):
        (lane,) = play.pick()
        assert lane is play.made[0]
        await play.lanes.release(lane)
    play.late = IDLE_SECONDS - 5
    (lane,) = play.pick()
    assert lane is play.made[0]
    await play.lanes.release(lane)
    assert not any(play.closed)
    play.late = IDLE_SECONDS + 1
    play.pick()
    await play.lanes.aclose()
    assert len(play.made) == 4
    assert all(play.closed)


@in_play(http2=False)
async def test_after_a_refusal_requests_of_http1_wait_for_the_lanes_that_work(play: Play) -> None:
    first, second, third = play.pick(3)
    assert first is not None and second is not None and third is not None  # noqa: PT018
    play.lanes.prove(first)
    play.lanes.prove(second)
    assert play.lanes.refuse(third)
    await play.lanes.release(third)
    assert play.closed == [False, False, True]
    assert play.pick() == [None]
    waiting = asyncio.create_task(play.lanes.freed())
    await asyncio.sleep(0)
    await play.lanes.release(second)
    await waiting
    assert play.pick() == [second]
    await play.lanes.aclose()


@in_play()
async def test_after_a_refusal_requests_of_http2_share_the_lanes_that_work(play: Play) -> None:
    first, second = play.pick(2)
    assert first is not None and second is not None  # noqa: PT018
    play.lanes.prove(first)
    assert play.lanes.refuse(second)
    assert play.pick(3) == [first] * 3
    await play.lanes.aclose()


@in_play()
async def test_a_refusal_while_nothing_works_is_an_outage_for_all(play: Play) -> None:
    first, second = play.pick(2)
    assert first is not None and second is not None  # noqa: PT018
    assert play.lanes.refuse(first), "the second one may work soon"
    await play.lanes.release(first)
    assert play.pick() == [None]
    assert not play.lanes.refuse(second)
    assert play.lanes.outages == 1
    await play.lanes.aclose()


@in_play(http2=False)
async def test_a_lane_that_worked_before_is_no_reason_to_try_again(play: Play) -> None:
    """The line died: each connection that worked is gone, and new ones are refused."""
    first, second = play.pick(2)
    assert first is not None and second is not None  # noqa: PT018
    for lane in (first, second):
        play.lanes.prove(lane)
        await play.lanes.release(lane)
    tries = 0
    again = True
    while again:
        tries += 1
        assert tries <= 3, "it never ends"
        (lane,) = play.pick()
        if lane is None:
            play.lanes._try_again()
            continue
        again = play.lanes.refuse(lane)
        await play.lanes.release(lane, refused=again)
    assert play.lanes.outages == 1
    await play.lanes.aclose()


@in_play(http2=False, connections=1)
async def test_beside_a_request_that_has_a_connection_a_refused_one_waits(play: Play) -> None:
    lane, same = play.pick(2)
    assert lane is not None and lane is same  # noqa: PT018
    play.lanes.prove(lane)
    working = Progress(10)
    working.begins()
    lane.in_flight.add(working)
    assert play.lanes.refuse(lane)
    assert play.lanes.pick(None, play.make, avoid=lane) is None
    waiting = asyncio.create_task(play.lanes.freed())
    await asyncio.sleep(0)
    await play.lanes.release(lane, refused=True)
    await asyncio.sleep(0)
    assert not waiting.done(), "a refused request helps no other"
    lane.in_flight.discard(working)
    await play.lanes.release(lane)
    await waiting
    assert play.pick() == [lane]
    await play.lanes.aclose()
