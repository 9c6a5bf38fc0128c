"""The limiter: never more than its limits, in order, and nothing is lost when they change or a waiter gives up."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from cosxfer.engine.limiter import PACE_BURST_SECONDS, Left, Limiter, Share


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def acquiring(share: Share, size: int = 1) -> asyncio.Task[None]:
    return asyncio.create_task(share.acquire(size))


def test_slots_are_given_in_the_order_of_the_waiting() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=1, slots=1)
        share = limiter.share(9, usual=9)
        await share.acquire(1)
        waiting = [acquiring(share) for _ in range(3)]
        await turns()
        for index in range(3):
            assert [task.done() for task in waiting] == [True] * index + [False] * (3 - index)
            share.release(1)
            await turns()
        assert limiter.in_flight == 1

    run(main)


def test_a_share_at_its_own_limit_does_not_hold_up_another() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=2, slots=8)
        narrow, wide = limiter.share(1, usual=8), limiter.share(8, usual=8)
        await narrow.acquire(1)
        blocked = acquiring(narrow)
        await turns()
        free = acquiring(wide)
        await turns()
        assert (blocked.done(), free.done()) == (False, True)
        narrow.release(1)
        await turns()
        assert blocked.done()
        assert (narrow.in_flight, wide.in_flight, limiter.in_flight) == (1, 1, 2)

    run(main)


def test_bytes_in_flight_are_limited_and_a_part_larger_than_that_is_sent_alone() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=1, slots=9, max_bytes=10)
        share = limiter.share(9, usual=9)
        await share.acquire(6)
        second = acquiring(share, 5)
        await turns()
        assert not second.done()
        share.release(6)
        await turns()
        assert second.done()
        large = acquiring(share, 100)
        await turns()
        assert not large.done()
        share.release(5)
        await turns()
        assert large.done()
        assert limiter.bytes_in_flight == 100

    run(main)


def test_a_large_part_is_not_overtaken_for_ever_by_small_ones() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=2, slots=9, max_bytes=10)
        share, other = limiter.share(9, usual=9), limiter.share(9, usual=9)
        await share.acquire(4)
        large = acquiring(share, 8)
        await turns()
        small = acquiring(other, 1)
        await turns()
        assert not large.done()
        assert not small.done()
        share.release(4)
        await turns()
        assert large.done()
        assert small.done()

    run(main)


def test_limits_change_while_transfers_run() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=1, slots=1)
        share = limiter.share(9, usual=9)
        waiting = [acquiring(share) for _ in range(4)]
        await turns()
        assert limiter.in_flight == 1
        limiter.resize(slots=3)
        await turns()
        assert limiter.in_flight == 3
        limiter.resize(slots=1)
        share.release(1)
        share.release(1)
        await turns()
        assert limiter.in_flight == 1
        assert not waiting[3].done()
        share.release(1)
        await turns()
        assert waiting[3].done()

    run(main)


def test_the_limit_of_a_share_changes_while_it_waits() -> None:
    async def main() -> None:
        share = Limiter(tasks=1, slots=9).share(1, usual=9)
        waiting = [acquiring(share) for _ in range(3)]
        await turns()
        assert [task.done() for task in waiting] == [True, False, False]
        share.resize(3)
        await turns()
        assert all(task.done() for task in waiting)
        assert share.limit == 3

    run(main)


def test_a_transfer_that_asks_for_more_than_usual_adds_slots_while_it_runs() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=1, slots=4)
        with limiter.share(10, usual=4) as share:
            assert limiter.slots == 10
            for _ in range(10):
                await share.acquire(1)
            for _ in range(10):
                share.release(1)
        assert limiter.slots == 4

    run(main)


@pytest.mark.parametrize("given_at_the_same_time", [False, True])
def test_a_waiter_that_is_cancelled_takes_no_slot_with_it(given_at_the_same_time: bool) -> None:
    async def main() -> None:
        limiter = Limiter(tasks=1, slots=1)
        share = limiter.share(9, usual=9)
        await share.acquire(1)
        cancelled, next_one = acquiring(share), acquiring(share)
        await turns()
        if given_at_the_same_time:
            share.release(1)
            cancelled.cancel()
        else:
            cancelled.cancel()
            await turns()
            share.release(1)
        await turns()
        assert cancelled.cancelled()
        assert next_one.done()
        assert limiter.in_flight == 1

    run(main)


def test_more_tasks_are_announced_and_fewer_are_not() -> None:
    limiter = Limiter(tasks=3, slots=12)
    told: list[int] = []
    limiter.when_more_tasks(lambda: told.append(limiter.tasks))
    limiter.resize(tasks=5)
    limiter.resize(tasks=2)
    limiter.resize(slots=1)
    assert told == [5]
    assert (limiter.tasks, limiter.slots, limiter.max_bytes) == (2, 1, None)


# -- idle slots, and requests that are given up -----------------------------------------------------------------------


def test_an_idle_slot_is_taken_at_once_or_not_at_all() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=2, slots=2, max_bytes=10)
        share, narrow = limiter.share(9, usual=9), limiter.share(1, usual=9)
        assert narrow.try_acquire(1)
        assert not narrow.try_acquire(1), "its own limit"
        assert not share.try_acquire(10), "the bytes"
        assert share.try_acquire(9)
        assert (limiter.in_flight, limiter.bytes_in_flight) == (2, 10)
        share.release(9)
        limiter.resize(slots=1)
        assert not share.try_acquire(1), "the slots"
        narrow.release(1)
        assert share.try_acquire(1)
        share.release(1)
        assert (limiter.in_flight, limiter.bytes_in_flight) == (0, 0)

    run(main)


def test_an_idle_slot_is_not_taken_before_those_that_wait_for_it() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=2, slots=9, max_bytes=10)
        share, other = limiter.share(9, usual=9), limiter.share(9, usual=9)
        await share.acquire(4)
        large = acquiring(other, 8)
        await turns()
        assert not share.try_acquire(1), "the large one would wait longer"
        large.cancel()
        await turns()
        assert share.try_acquire(1)

    run(main)


def test_a_share_that_waits_at_its_own_limit_leaves_idle_slots_to_others() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=2, slots=3)
        narrow, other = limiter.share(1, usual=9), limiter.share(9, usual=9)
        await narrow.acquire(1)
        waiting = acquiring(narrow)
        await turns()
        assert other.try_acquire(1)
        narrow.release(1)
        await turns()
        assert waiting.done()
        assert limiter.in_flight == 2

    run(main)


def test_the_capacity_of_a_share_is_its_limit_or_the_slots_of_all() -> None:
    limiter = Limiter(tasks=1, slots=4)
    share = limiter.share(6, usual=9)
    assert share.capacity == 4
    limiter.resize(slots=50)
    assert share.capacity == 6
    share.resize(60)
    assert share.capacity == 50
    limiter.resize(slots=0)
    assert share.capacity == 1


class Requests:
    """The requests of a share by the time of their beginning; one that was given up ends when `end` is called."""

    def __init__(self, share: Share, *began: float) -> None:
        self.share = share
        self.live = list(began)
        self.given_up: list[float] = []
        for _ in began:
            assert share.try_acquire(1)
        share.when_abandoned(lambda: [(began, lambda began=began: self.give_up(began)) for began in self.live])

    def give_up(self, began: float) -> None:
        self.live.remove(began)
        self.given_up.append(began)

    def end(self) -> None:
        self.share.release(1)


def test_the_youngest_requests_of_all_shares_beyond_the_slots_are_given_up() -> None:
    limiter = Limiter(tasks=3, slots=9)
    first = Requests(limiter.share(9, usual=9), 1.0, 4.0, 7.0)
    second = Requests(limiter.share(9, usual=9), 2.0, 5.0, 8.0)
    third = Requests(limiter.share(9, usual=9), 3.0, 6.0, 9.0)
    assert limiter.abandon() == 0
    limiter.resize(slots=5)
    assert limiter.abandon() == 4
    assert (first.given_up, second.given_up, third.given_up) == ([7.0], [8.0], [9.0, 6.0])


def test_requests_that_have_not_ended_yet_are_not_given_up_again_for() -> None:
    limiter = Limiter(tasks=1, slots=4)
    requests = Requests(limiter.share(9, usual=9), 1.0, 2.0, 3.0, 4.0)
    limiter.resize(slots=2)
    assert limiter.abandon() == 2
    assert limiter.abandon() == 0
    requests.end()
    assert limiter.abandon() == 0
    limiter.resize(slots=1)
    assert limiter.abandon() == 1
    assert requests.live == [1.0]


def test_what_cannot_be_given_up_counts_all_the_same() -> None:
    limiter = Limiter(tasks=2, slots=4)
    other = limiter.share(9, usual=9)
    assert other.try_acquire(1)
    assert other.try_acquire(1)
    requests = Requests(limiter.share(9, usual=9), 1.0, 2.0)
    limiter.resize(slots=3)
    assert limiter.abandon() == 1
    limiter.resize(slots=1)
    assert limiter.abandon() == 1
    assert limiter.abandon() == 0
    assert not requests.live


class Recorder:
    """A waiter that is no future."""

    def __init__(self, name: str, served: list[str]) -> None:
        self.name = name
        self.served = served

    def done(self) -> bool:
        return False

    def set_result(self, result: None, /) -> None:
        self.served.append(self.name)


def test_waiters_without_an_event_loop_are_served_in_their_order() -> None:
    limiter = Limiter(tasks=1, slots=1)
    large, small = limiter.share(10, usual=10), limiter.share(10, usual=10)
    served: list[str] = []
    for name, share in (("a", large), ("b", large), ("c", small), ("d", large)):
        share.queue(8, Recorder(name, served))
    assert served == ["a"]
    large.release(8)
    assert served == ["a", "b"]
    limiter.resize(slots=3)
    assert served == ["a", "b", "c", "d"]
    assert (limiter.in_flight, limiter.bytes_in_flight, limiter.waiting) == (3, 24, False)


def test_more_tasks_may_begin_if_they_may_want_more_slots() -> None:
    limiter = Limiter(tasks=3, slots=4, max_demand=4)
    calls: list[int] = []
    limiter.when_more_tasks(lambda: calls.append(limiter.max_demand or 0))
    limiter.resize(slots=2, max_demand=2)
    assert calls == []
    limiter.resize(slots=8, max_demand=8)
    assert calls == [8]
    limiter.resize(tasks=4, max_demand=9)
    assert calls == [8, 9]


def test_what_is_left_counts_the_single_requests_that_wait() -> None:
    limiter = Limiter(tasks=1, slots=1)
    served: list[str] = []
    limiter.single.queue(8, Recorder("a", served))
    limiter.single.queue(5, Recorder("b", served))
    other = limiter.share(1, usual=1)
    other.queue(3, Recorder("c", served))
    assert limiter.left == (2, 13)
    other.tell_left(lambda: Left(4, 40))
    assert limiter.left == (6, 53)
    limiter.single.release(8)
    assert limiter.left == (5, 45)
    other.tell_left(None)
    assert limiter.left == (1, 5)


def test_the_most_requests_in_flight_are_those_since_the_last_question() -> None:
    limiter = Limiter(tasks=1, slots=3)
    share = limiter.share(3, usual=3)
    assert share.try_acquire(1)
    assert share.try_acquire(1)
    share.release(1)
    share.release(1)
    assert limiter.take_most_in_flight() == 2
    assert limiter.take_most_in_flight() == 0
    assert share.try_acquire(1)
    assert limiter.take_most_in_flight() == 1
    assert limiter.take_most_in_flight() == 1


def test_at_a_rate_so_many_requests_start_in_a_second() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=1, slots=100)
        share = limiter.share(100, usual=100)
        limiter.pace(50.0, 0.0)
        waiting = [acquiring(share) for _ in range(40)]
        await turns()
        assert limiter.paced
        assert limiter.held
        assert limiter.in_flight == 0
        started = []
        for _ in range(4):
            limiter.pace(50.0, 0.1)
            await turns()
            started.append(sum(task.done() for task in waiting))
        assert started == [5, 10, 15, 20]
        limiter.pace(math.inf, 0.1)
        await turns()
        assert limiter.in_flight == 40
        assert not limiter.paced

    run(main)


def test_what_was_saved_up_while_nothing_started_is_a_small_burst() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=1, slots=100)
        share = limiter.share(100, usual=100)
        limiter.pace(50.0, 0.0)
        limiter.pace(50.0, 3600.0)
        for _ in range(40):
            acquiring(share)
        await turns()
        assert limiter.in_flight == 50 * PACE_BURST_SECONDS
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    run(main)


def test_the_slowest_rate_still_lets_a_request_start() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=1, slots=100)
        limiter.pace(1.0, 0.0)
        waiting = acquiring(limiter.share(100, usual=100))
        for _ in range(11):
            limiter.pace(1.0, 0.1)
            await turns()
        assert waiting.done()

    run(main)


def test_an_idle_slot_is_not_taken_above_the_rate() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=1, slots=100)
        share = limiter.share(100, usual=100)
        limiter.pace(10.0, 0.0)
        assert not share.try_acquire(1)
        limiter.pace(10.0, 0.1)
        assert share.try_acquire(1)
        limiter.pace(10.0, 0.5)
        limiter.charge(5)
        assert not share.try_acquire(1)

    run(main)
