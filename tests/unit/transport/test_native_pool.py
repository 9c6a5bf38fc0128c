"""The assignment of requests to connections, and when another connection is opened."""

from __future__ import annotations

import pytest

from cosxfer.transport.ceiling import FIRST_BACK_OFF_SECONDS, MAX_BACK_OFF_SECONDS
from cosxfer.transport.native_pool import (
    HTTP1_CONNECTIONS,
    HTTP2_CONNECTIONS,
    IDLE_SECONDS,
    MAX_HTTP2_CONNECTIONS,
    MAX_OPENING,
    MAX_STREAMS,
    OWN_CONNECTIONS,
    STREAMS_MEANWHILE,
    ConnectionLimits,
    OriginPool,
    Slot,
)


def http2_slot(name: str, streams: int = 100) -> Slot[str]:
    return Slot(name, http2=True, max_streams=streams)


def test_the_first_connection_decides_the_protocol_and_the_rest_wait_for_it() -> None:
    pool: OriginPool[str] = OriginPool(http2=None)
    assert pool.to_open(10) == 1
    pool.opening = 1
    assert pool.to_open(10) == 0


def test_http1_opens_a_connection_for_each_request_that_waits() -> None:
    pool: OriginPool[str] = OriginPool(http2=False)
    assert pool.to_open(3) == 3
    pool.opening = 2
    assert pool.to_open(3) == 1


def test_http1_uses_the_most_recently_used_connection() -> None:
    pool: OriginPool[str] = OriginPool(http2=False)
    for name in ("a", "b"):
        pool.opened(Slot(name, http2=False), now=0)
    first = pool.take()
    assert first is not None
    assert first.connection == "b"
    pool.give_back(first, now=1)
    assert pool.take() is first


def test_a_connection_that_is_not_reusable_is_not_used_again() -> None:
    pool: OriginPool[str] = OriginPool(http2=False)
    pool.opened(Slot("a", http2=False), now=0)
    slot = pool.take()
    assert slot is not None
    pool.give_back(slot, now=0, reusable=False)
    assert pool.take() is None


def test_http2_fills_connections_evenly_and_piles_up_only_when_all_are_there() -> None:
    pool: OriginPool[str] = OriginPool(http2=True)
    pool.opened(http2_slot("a"), now=0)
    assert pool.take() is not None
    assert pool.take() is None
    assert pool.to_open(1) == 1
    for number in range(HTTP2_CONNECTIONS - 1):
        pool.opened(http2_slot(str(number)), now=0)
    assert all(pool.take() for _ in range(HTTP2_CONNECTIONS - 1))
    assert {slot.active for slot in pool.slots} == {1}
    assert all(pool.take() for _ in range(3 * HTTP2_CONNECTIONS))
    assert {slot.active for slot in pool.slots} == {4}
    assert pool.to_open(100) == 0


def test_a_peer_that_accepts_few_streams_gets_no_more() -> None:
    pool: OriginPool[str] = OriginPool(http2=True)
    pool.opened(http2_slot("a", streams=1), now=0)
    assert pool.take() is not None
    assert pool.take() is None


def test_a_connection_without_known_settings_carries_one_request_and_the_others_wait() -> None:
    pool: OriginPool[str] = OriginPool(http2=True, limits=ConnectionLimits(http2=1))
    slot = Slot("a", http2=True)
    pool.opened(slot, now=0)
    assert pool.take() is slot
    assert pool.take() is None
    assert pool.to_open(3) == 0
    pool.spoke(slot, 100)
    assert pool.take() is slot


def test_a_stall_means_more_connections_than_usual() -> None:
    pool: OriginPool[str] = OriginPool(http2=True, limits=ConnectionLimits(http2=1))
    slot = http2_slot("a")
    pool.opened(slot, now=0)
    assert pool.take() is slot
    assert pool.take() is slot
    pool.stalled(slot)
    assert pool.take() is None
    assert pool.to_open(3) == 2


def test_nobody_counts_on_a_connection_whose_peer_does_not_speak() -> None:
    pool: OriginPool[str] = OriginPool(http2=True, limits=ConnectionLimits(http2=1))
    slot = Slot("a", http2=True)
    pool.opened(slot, now=0)
    assert pool.take() is slot
    assert pool.to_open(1) == 0
    pool.stalled(slot)
    assert pool.take() is None
    assert pool.to_open(1) == 1
    pool.give_back(slot, now=0)
    assert pool.take() is None
    pool.spoke(slot, 100)
    assert pool.take() is slot


def test_a_connection_that_has_not_spoken_during_a_whole_request_is_not_used_until_it_does() -> None:
    pool: OriginPool[str] = OriginPool(http2=True)
    slot = Slot("a", http2=True)
    pool.opened(slot, now=0)
    assert pool.take() is slot
    pool.give_back(slot, now=0)
    assert pool.take() is None
    assert pool.to_open(1) == 1
    pool.spoke(slot, 1)
    assert pool.take() is slot


def test_peers_that_never_speak_get_a_bounded_number_of_connections() -> None:
    pool: OriginPool[str] = OriginPool(http2=True, limits=ConnectionLimits(http2=1))
    while pool.to_open(50):
        slot = Slot("mute", http2=True)
        pool.opened(slot, now=0)
        assert pool.take() is slot
        pool.stalled(slot)
    assert len(pool.slots) == HTTP2_CONNECTIONS


def test_requests_keep_waiting_while_another_makes_progress() -> None:
    pool: OriginPool[str] = OriginPool(http2=True, opening=1)
    assert pool.is_alive()
    pool.opening = 0
    slot = Slot("a", http2=True)
    pool.opened(slot, now=0)
    assert not pool.is_alive()
    assert pool.take() is slot
    assert pool.is_alive()
    pool.stalled(slot)
    assert not pool.is_alive()
    pool.spoke(slot, 1)
    assert pool.is_alive()


def test_idle_connections_expire_and_busy_ones_do_not() -> None:
    pool: OriginPool[str] = OriginPool(http2=False)
    for name in ("a", "b"):
        pool.opened(Slot(name, http2=False), now=0)
    assert pool.take() is not None
    assert [slot.connection for slot in pool.expired(IDLE_SECONDS)] == ["a"]
    assert pool.take() is None


def test_http2_takes_the_connection_with_the_fewest_streams() -> None:
    pool: OriginPool[str] = OriginPool(http2=True)
    for name, active in (("a", 1), ("b", 0), ("c", 1)):
        pool.opened(http2_slot(name), now=0)
        next(slot for slot in pool.slots if slot.connection == name).active = active
    taken = pool.take()
    assert taken is not None
    assert (taken.connection, taken.active) == ("b", 1)


def test_a_connection_that_takes_no_more_requests_gets_none_and_another_one_is_opened() -> None:
    pool: OriginPool[str] = OriginPool(http2=True)
    slot = http2_slot("a")
    pool.opened(slot, now=0)
    slot.usable = False
    assert pool.take() is None
    assert pool.to_open(1) == 1


@pytest.mark.parametrize("http2", [False, True])
def test_a_connection_that_closed_while_idle_is_not_used(http2: bool) -> None:
    pool: OriginPool[str] = OriginPool(http2=http2)
    slot = Slot("a", http2=http2, max_streams=100)
    pool.opened(slot, now=0)
    pool.closed(slot)
    assert pool.take() is None
    assert not pool.slots


def test_http1_opens_a_bounded_number_of_connections() -> None:
    pool: OriginPool[str] = OriginPool(http2=False)
    for _ in range(HTTP1_CONNECTIONS - 1):
        pool.opened(Slot("", http2=False), now=0)
    assert pool.to_open(5) == 1


def test_a_bounded_number_of_connections_is_made_at_a_time() -> None:
    pool: OriginPool[str] = OriginPool(http2=False)
    assert pool.to_open(300) == MAX_OPENING
    pool.opening = MAX_OPENING
    assert pool.to_open(300) == 0
    pool.opening -= 1
    assert pool.to_open(300) == 1


def test_stalls_raise_the_number_of_connections_to_a_bound() -> None:
    pool: OriginPool[str] = OriginPool(http2=True)
    slot = http2_slot("a")
    pool.opened(slot, now=0)
    before = pool.to_open(1000)
    pool.stalled(slot)
    assert pool.to_open(1000) == before + 2
    for _ in range(MAX_HTTP2_CONNECTIONS):
        pool.stalled(slot)
    assert pool.to_open(1000) == MAX_HTTP2_CONNECTIONS - 1


def test_no_connection_gets_more_streams_than_our_bound_however_many_the_peer_allows() -> None:
    pool: OriginPool[str] = OriginPool(http2=True, limits=ConnectionLimits(http2=1))
    pool.opened(http2_slot("a", streams=10**6), now=0)
    assert sum(pool.take() is not None for _ in range(MAX_STREAMS + 50)) == MAX_STREAMS


def test_a_connection_that_was_given_back_after_it_left_is_not_idle() -> None:
    pool: OriginPool[str] = OriginPool(http2=False)
    slot = Slot("a", http2=False)
    pool.opened(slot, now=0)
    assert pool.take() is slot
    slot.usable = False
    pool.give_back(slot, now=1)
    assert pool.take() is None


def test_the_time_idle_counts_from_the_last_request() -> None:
    pool: OriginPool[str] = OriginPool(http2=False)
    slot = Slot("a", http2=False)
    pool.opened(slot, now=0)
    assert pool.take() is slot
    pool.give_back(slot, now=20)
    assert not list(pool.expired(IDLE_SECONDS + 19))
    assert list(pool.expired(IDLE_SECONDS + 20)) == [slot]


def test_the_limits_of_a_client_change_what_a_pool_opens_while_it_is_used() -> None:
    limits = ConnectionLimits(http1=2, http2=3)
    first: OriginPool[str] = OriginPool(http2=False, limits=limits)
    assert first.to_open(9) == 2
    limits.http1 = 5
    assert first.to_open(9) == 5
    second: OriginPool[str] = OriginPool(http2=True, limits=limits)
    assert second.to_open(9) == 3
    limits.http2 = 4
    assert second.to_open(9) == 4


def test_the_first_connections_leave_requests_to_those_that_are_coming() -> None:
    pool: OriginPool[str] = OriginPool(http2=True, limits=ConnectionLimits(http2=3), opening=1)
    new = Slot("b", http2=True)
    pool.opened(http2_slot("a"), now=0)
    pool.opened(new, now=0)
    for came in (lambda: None, lambda: pool.spoke(new, 100)):
        came()
        while pool.take():
            pass
        assert max(slot.active for slot in pool.slots) == STREAMS_MEANWHILE
    pool.opening = 0
    pool.opened(http2_slot("c"), now=0)
    assert all(pool.take() for _ in range(26))
    assert [slot.active for slot in pool.slots] == [10] * 3


# -- the level of the limiter ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1, 2, 4, 16, OWN_CONNECTIONS])
def test_up_to_a_level_each_request_has_a_connection_of_its_own(level: int) -> None:
    for http2 in (False, True):
        pool = pool_at(level, http2=http2)
        fill(pool, level)
        assert sorted(slot.active for slot in pool.slots) == [1] * level


@pytest.mark.parametrize("level", [OWN_CONNECTIONS + 1, 64, 128, 256, 1000])
def test_beyond_it_connections_still_grow_and_have_two_streams_at_most(level: int) -> None:
    pool, below = pool_at(level, http2=True), pool_at(level - 2, http2=True)
    fill(pool, level)
    fill(below, level - 2)
    assert len(below.slots) < len(pool.slots) < level
    assert max(slot.active for slot in pool.slots) == 2
    http1 = pool_at(level, http2=False)
    fill(http1, level)
    assert len(http1.slots) == level


@pytest.mark.parametrize("http2", [False, True])
def test_after_the_level_has_fallen_surplus_connections_are_not_used_and_expire(http2: bool) -> None:
    pool = pool_at(40, http2=http2)
    for slot in fill(pool, 40):
        pool.give_back(slot, now=0)
    pool.limits.resize(4)
    used = set()
    for now in range(200):
        taken = [pool.take() for _ in range(4)]
        used.update(taken)
        for slot in taken:
            assert slot is not None
            pool.give_back(slot, now=now)
    assert len(used) == 4
    assert set(pool.expired(100)) == set(pool.slots) - used


def test_requests_beyond_a_level_that_has_fallen_do_not_use_surplus_connections() -> None:
    pool = pool_at(40, http2=True)
    for slot in fill(pool, 40):
        pool.give_back(slot, now=0)
    pool.limits.resize(4)
    taken = [pool.take() for _ in range(40)]
    assert None not in taken
    assert len(set(taken)) == 4
    assert pool.to_open(5) == 0


@pytest.mark.parametrize("http2", [False, True])
def test_when_the_level_rises_requests_get_new_connections_at_once(http2: bool) -> None:
    pool = pool_at(4, http2=http2)
    fill(pool, 4)
    pool.limits.resize(16)
    assert pool.take() is None
    assert pool.to_open(12) == 12


def test_a_change_of_the_level_is_told() -> None:
    limits = ConnectionLimits()
    seen: list[int] = []

    class Transport:
        def change(self) -> None:
            seen.append(limits.http2)

    transport = Transport()
    limits.when_changed(transport.change)
    limits.resize(3)
    limits.resize(5)
    del transport  # the limits do not keep it
    limits.resize(7)
    assert seen == [3, 5]


def pool_at(level: int, *, http2: bool) -> OriginPool[str]:
    limits = ConnectionLimits()
    limits.resize(level)
    return OriginPool(http2=http2, limits=limits)


def fill(pool: OriginPool[str], requests: int) -> list[Slot[str]]:
    """Give each of so many requests a connection, as the transport does."""
    taken: list[Slot[str]] = []
    while len(taken) < requests:
        slot = pool.take()
        if slot is not None:
            taken.append(slot)
            continue
        count = pool.to_open(requests - len(taken))
        assert count
        for _ in range(count):
            pool.opened(Slot("", http2=bool(pool.http2), max_streams=100), now=0)
    return taken


# -- a server that limits connections ----------------------------------------------------------------------------------


def limited(works: int, *, http2: bool = False) -> OriginPool[str]:
    """A pool at level 64 whose server has accepted ``works`` connections and refused another."""
    pool = pool_at(64, http2=http2)
    fill(pool, works)
    assert pool.refused() == FIRST_BACK_OFF_SECONDS
    return pool


@pytest.mark.parametrize("http2", [False, True])
def test_after_a_refusal_no_more_connections_than_those_that_work_are_used(http2: bool) -> None:
    pool = limited(8, http2=http2)
    assert pool.to_open(56) == 0
    assert (pool.take() is not None) == http2  # further streams
    pool.closed(next(iter(pool.slots)))
    assert pool.to_open(56) == 1


def test_one_more_is_tried_after_a_while_and_success_allows_more_each_time() -> None:
    pool = limited(8)
    pool.ceiling.try_again()
    for allowed in (1, 1, 2, 4, 8):
        assert pool.to_open(56) == allowed
        new = fill(pool, allowed)
        for slot in new:
            pool.proved(slot)
    assert pool.refused() == FIRST_BACK_OFF_SECONDS


def test_each_refusal_waits_longer_and_a_burst_of_them_counts_once() -> None:
    pool = limited(8)
    seconds = FIRST_BACK_OFF_SECONDS
    for _ in range(12):
        assert pool.refused() is None
        pool.ceiling.try_again()
        assert pool.to_open(56) == 1
        seconds = min(2 * seconds, MAX_BACK_OFF_SECONDS)
        assert pool.refused() == seconds


def test_connections_that_are_being_made_are_not_replaced_when_the_first_ones_are_refused() -> None:
    pool = pool_at(64, http2=False)
    pool.opening = 63  # of 64
    pool.refused()
    assert pool.to_open(64) == 0
    for left in range(7, -1, -1):
        pool.opening = left
        pool.opened(Slot("", http2=False), now=0)
    assert pool.to_open(64) == 0
    assert sum(pool.take() is not None for _ in range(64)) == 8


def test_where_nothing_works_there_is_no_limit_but_an_outage() -> None:
    pool = limited(2)
    for slot in list(pool.slots):
        pool.closed(slot)
    assert pool.refused() is None
    assert pool.to_open(64) == 64


def test_a_connection_of_before_the_refusal_that_responds_allows_no_more() -> None:
    pool = limited(8)
    for slot in pool.slots:
        pool.proved(slot)
    assert pool.to_open(56) == 0
