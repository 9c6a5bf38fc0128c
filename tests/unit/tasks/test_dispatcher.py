"""Callbacks run in order, in their own thread, with only the newest progress, and block nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from cosxfer.tasks.dispatcher import Dispatcher


@pytest.fixture
def dispatcher() -> Dispatcher:
    return Dispatcher(name="cosxfer-test")


def settle(dispatcher: Dispatcher) -> None:
    left = dispatcher.delivered()
    if left is not None:
        left.result(30)


def blocked(dispatcher: Dispatcher) -> Callable[[], None]:
    """Block the thread until the returned function is called."""
    begun, go_on = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        begun.set()
        assert go_on.wait(30)

    dispatcher.post(wait, None)
    assert begun.wait(30)
    return go_on.set


def test_calls_come_in_the_order_in_which_they_were_posted(dispatcher: Dispatcher) -> None:
    seen: list[int] = []
    for number in range(1000):
        dispatcher.post(seen.append, number)
    settle(dispatcher)
    assert seen == list(range(1000))


def test_calls_run_in_one_other_thread(dispatcher: Dispatcher) -> None:
    seen: list[threading.Thread] = []
    for _ in range(3):
        dispatcher.post(lambda _: seen.append(threading.current_thread()), None)
    settle(dispatcher)
    assert len(set(seen)) == 1
    assert seen[0] is not threading.current_thread()
    assert seen[0].daemon


def test_posting_does_not_wait_for_a_slow_call(dispatcher: Dispatcher) -> None:
    seen: list[int] = []
    go_on = blocked(dispatcher)
    for number in range(100):
        dispatcher.post(seen.append, number)
    assert not seen
    go_on()
    settle(dispatcher)
    assert len(seen) == 100


def test_outdated_progress_is_dropped(dispatcher: Dispatcher) -> None:
    seen: list[object] = []
    go_on = blocked(dispatcher)
    report = dispatcher.reports(seen.append)
    for number in range(10_000):
        report(number)
    assert len(dispatcher._posted) == 2
    go_on()
    settle(dispatcher)
    assert seen == [0, 9999]


def test_a_newer_report_keeps_the_place_of_the_older_one(dispatcher: Dispatcher) -> None:
    seen: list[object] = []
    go_on = blocked(dispatcher)
    first = dispatcher.post_newer(None, seen.append, "10 %")
    dispatcher.post(seen.append, "another task")
    assert dispatcher.post_newer(first, seen.append, "20 %") is first
    go_on()
    settle(dispatcher)
    assert seen == ["20 %", "another task"]
    assert dispatcher.post_newer(first, seen.append, "30 %") is not first
    settle(dispatcher)
    assert seen[-1] == "30 %"


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit("mine"), KeyboardInterrupt("mine")])
def test_a_call_that_raises_is_logged_and_the_next_ones_run(
    dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    seen: list[int] = []

    def broken(_: object) -> None:
        raise error

    dispatcher.post(broken, None)
    dispatcher.post(seen.append, 1)
    settle(dispatcher)
    assert seen == [1]
    assert "mine" in caplog.text


def test_waiting_for_delivery_in_a_callback_does_not_deadlock(dispatcher: Dispatcher) -> None:
    seen: list[object] = []
    dispatcher.post(lambda _: seen.append(dispatcher.delivered()), None)
    dispatcher.post(seen.append, "next")
    settle(dispatcher)
    assert seen == [None, "next"]


def test_a_closed_dispatcher_calls_nothing_and_blocks_nobody(dispatcher: Dispatcher) -> None:
    seen: list[int] = []
    go_on = blocked(dispatcher)
    dispatcher.post(seen.append, 1)
    left = dispatcher.delivered()
    assert left is not None
    dispatcher.close()
    left.result(30)
    dispatcher.post(seen.append, 2)
    go_on()
    assert dispatcher.delivered() is None
    assert not seen


def test_the_thread_ends_when_idle_and_starts_again(dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosxfer.tasks.dispatcher.IDLE_SECONDS", 0.01)
    threads: list[threading.Thread] = []
    for _ in range(2):
        dispatcher.post(lambda _: threads.append(threading.current_thread()), None)
        settle(dispatcher)
        threads[-1].join(30)
        assert not threads[-1].is_alive()
    assert threads[0] is not threads[1]
