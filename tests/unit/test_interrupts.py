"""A signal that comes just before a blocking call begins to wait is seen, although the wait does not end."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

import pytest

import cosxfer
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.threads import SIGNAL_SECONDS, result_of
from cosxfer.transport.memory import MemoryTransport
from tests.unit.fake_cos import BUCKET, REGION, SECRET_ID, SECRET_KEY


def test_a_wait_for_a_future_looks_for_signals() -> None:
    waits: list[float | None] = []

    class Slow(Future[int]):
        def result(self, timeout: float | None = None) -> int:
            waits.append(timeout)
            if len(waits) == 3:
                self.set_result(7)
            return super().result(0)

    assert result_of(Slow()) == 7
    assert waits == [SIGNAL_SECONDS, SIGNAL_SECONDS, SIGNAL_SECONDS]


def test_a_wait_for_a_future_ends_in_time_and_raises_its_error() -> None:
    with pytest.raises(TimeoutError):
        result_of(Future(), 0)
    with pytest.raises(TimeoutError):
        result_of(Future(), 0.01)
    failed: Future[None] = Future()
    failed.set_exception(TimeoutError("its own"))
    with pytest.raises(TimeoutError, match="its own"):
        result_of(failed, 5)
    late: Future[int] = Future()
    timer = threading.Timer(0.05, late.set_exception, [TimeoutError("late")])
    timer.start()
    with pytest.raises(TimeoutError, match="late"):
        result_of(late)
    timer.join()


def test_a_blocking_call_looks_for_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    ended = threading.Event()

    class Running:
        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            waits.append(timeout)
            if len(waits) < 4:
                return False
            return ended.wait(30)

        def release(self) -> None:
            ended.set()

    async def call() -> int:
        while len(waits) < 4:
            time.sleep(0.001)  # noqa: ASYNC251 (the loop has nothing else to do)
        return 5

    client = cosxfer.Client(
        region=REGION,
        secret_id=SECRET_ID,
        secret_key=SECRET_KEY,
        transport=MemoryTransport(lambda request, body: _answer(request)),
    )
    with client:
        client.head_object(BUCKET, "k")
        monkeypatch.setattr("cosxfer.loop_thread.threading.Lock", Running)
        assert client._loop.run(call()) == 5
        monkeypatch.undo()
    # The first acquisition is that of the waiting call itself.
    assert all(0 < wait <= SIGNAL_SECONDS for wait in waits[1:])
    assert len(waits) == 4


def _answer(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=200, headers={"etag": '"x"', "content-length": "0"})
