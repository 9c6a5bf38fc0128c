"""Timeouts of requests and connections, with a fake clock."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Mapping
from typing import Any

import pytest

from cosxfer.server import patience
from cosxfer.server.patience import IDLE_SECONDS, PAUSE_SECONDS, Patience

CLIENT = ("127.0.0.1", 1)
SCOPE = {"type": "http", "client": CLIENT}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def go(self, patient: Patience, seconds: float) -> None:
        """Let other tasks run, advance the clock, and check the timeouts."""
        await asyncio.sleep(0)
        self.now += seconds
        patient._sweep()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(patience, "time", types.SimpleNamespace(monotonic=clock.monotonic))
    return clock


class Client:
    """Controls each receive and send of a request, one at a time."""

    def __init__(self) -> None:
        self.gate = asyncio.Semaphore(0)

    async def receive(self) -> Mapping[str, Any]:
        await self.gate.acquire()
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(self, message: Mapping[str, Any]) -> None:
        await self.gate.acquire()


@pytest.mark.parametrize("way", ["receive", "send"])
def test_a_request_ends_if_its_client_pauses_for_too_long(clock: Clock, way: str) -> None:
    async def main() -> None:
        done: list[int] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            try:
                while True:
                    await (receive() if way == "receive" else send({"type": "http.response.body"}))
                    done.append(1)
            finally:
                done.append(0)

        patient, client = Patience(app), Client()
        task = asyncio.create_task(patient(SCOPE, client.receive, client.send))
        for _ in range(3):
            await clock.go(patient, PAUSE_SECONDS - 1)
            client.gate.release()
            await clock.go(patient, 0)
        assert done == [1, 1, 1]
        assert not task.done()
        await clock.go(patient, PAUSE_SECONDS)
        await asyncio.wait_for(task, 10)
        assert done == [1, 1, 1, 0]

    asyncio.run(main())


def test_a_request_that_works_may_take_its_time(clock: Clock) -> None:
    async def main() -> None:
        working = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await working.wait()

        patient, client = Patience(app), Client()
        task = asyncio.create_task(patient(SCOPE, client.receive, client.send))
        await clock.go(patient, 10 * PAUSE_SECONDS)
        assert not task.done()
        working.set()
        await task

    asyncio.run(main())


def test_a_request_that_is_cancelled_by_another_stays_cancelled(clock: Clock) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()

        client = Client()
        task = asyncio.create_task(Patience(app)(SCOPE, client.receive, client.send))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_connection_without_a_request_for_too_long_is_closed(clock: Clock) -> None:
    async def main() -> None:
        cut: list[bool] = []
        working = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await working.wait()

        patient, client = Patience(app), Client()
        forget = patient.watch(CLIENT, lambda: cut.append(True))
        await clock.go(patient, IDLE_SECONDS - 1)
        task = asyncio.create_task(patient(SCOPE, client.receive, client.send))
        await clock.go(patient, 10 * IDLE_SECONDS)
        assert not cut
        working.set()
        await task
        await clock.go(patient, IDLE_SECONDS - 1)
        assert not cut
        await clock.go(patient, 1)
        assert cut == [True]
        forget()
        await clock.go(patient, IDLE_SECONDS)
        assert cut == [True]

    asyncio.run(main())


def test_a_new_connection_from_the_address_of_an_old_one_is_watched(clock: Clock) -> None:
    async def main() -> None:
        cut: list[str] = []
        patient = Patience(Client().receive)
        forget_old = patient.watch(CLIENT, lambda: cut.append("old"))
        patient.watch(CLIENT, lambda: cut.append("new"))
        forget_old()
        await clock.go(patient, IDLE_SECONDS)
        assert cut == ["new"]

    asyncio.run(main())
