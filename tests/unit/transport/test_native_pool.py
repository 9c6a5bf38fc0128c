"""The assignment of requests to connections, and when another connection is opened."""

from __future__ import annotations

import pytest

from cosxfer.transport.native_pool import (
    HTTP1_CONNECTIONS,
    HTTP2_CONNECTIONS,
    IDLE_SECONDS,
    MAX_HTTP2_CONNECTIONS,
    MAX_STREAMS,
    STREAMS_PER_CONNECTION,
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
    taken = [pool.take() for _ in range(STREAMS_PER_CONNECTION)]
    assert all(taken)
    assert pool.take() is None
    assert pool.to_open(1) == 1
    for number in range(HTTP2_CONNECTIONS - 1):
        pool.opened(http2_slot(str(number)), now=0)
    assert all(pool.take() for _ in range(STREAMS_PER_CONNECTION * HTTP2_CONNECTIONS * 2))
    assert {slot.active for slot in pool.slots} <= {5, 6, 7, 4}
    assert pool.to_open(100) == 0


def test_a_peer_that_accepts_few_streams_gets_no_more() -> None:
    pool: OriginPool[str] = OriginPool(http2=True)
    pool.opened(http2_slot("a", streams=1), now=0)
    assert pool.take() is not None
    assert pool.take() is None


def test_a_connection_without_known_settings_carries_one_request_and_the_others_wait() -> None:
    pool: OriginPool[str] = OriginPool(http2=True)
    slot = Slot("a", http2=True)
    pool.opened(slot, now=0)
    assert pool.take() is slot
    assert pool.take() is None
    assert (pool.to_open(1), pool.to_open(3)) == (0, 1)
    slot.max_streams = 100
    assert pool.take() is slot


def test_a_stall_means_more_connections_with_fewer_streams() -> None:
    pool: OriginPool[str] = OriginPool(http2=True)
    slot = http2_slot("a")
    pool.opened(slot, now=0)
    pool.stalled(slot)
    assert pool.take() is not None
    assert pool.take() is None
    assert pool.to_open(3) == 3


def test_nobody_counts_on_a_connection_whose_peer_does_not_speak() -> None:
    pool: OriginPool[str] = OriginPool(http2=True)
    slot = Slot("a", http2=True)
    pool.opened(slot, now=0)
    assert pool.take() is slot
    assert pool.to_open(1) == 0
    pool.stalled(slot)
    assert pool.to_open(1) == 1
    pool.give_back(slot, now=0)
    assert pool.take() is None
    pool.spoke(slot, 100)
    assert pool.take() is slot


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
    assert pool.to_open(HTTP1_CONNECTIONS + 5) == HTTP1_CONNECTIONS
    pool.opening = HTTP1_CONNECTIONS - 1
    assert pool.to_open(HTTP1_CONNECTIONS + 5) == 1


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
    pool: OriginPool[str] = OriginPool(http2=True, opening=HTTP2_CONNECTIONS - 1)
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
    limits = ConnectionLimits(http1=2, http2=3, streams=1)
    first: OriginPool[str] = OriginPool(http2=False, limits=limits)
    assert first.to_open(9) == 2
    limits.http1 = 5
    assert first.to_open(9) == 5
    second: OriginPool[str] = OriginPool(http2=True, limits=limits)
    assert second.to_open(9) == 3
    limits.http2, limits.streams = 4, 2
    assert second.to_open(5) == 3
    assert second.to_open(9) == 4
