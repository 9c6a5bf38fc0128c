"""Which parts straggle: decided from sizes and times alone."""

from __future__ import annotations

import random

import pytest

from cosxfer.engine.multipart.hedge import (
    EXTRA_SHARE,
    FEWEST_PARTS,
    RECENT_PARTS,
    SHORTEST_SECONDS,
    HedgePolicy,
    may_hedge,
)

SIZE = 8_000_000
STALL = 60.0


def policy_after(
    *seconds: float, size: int = SIZE, hedging: bool = True, stall_seconds: float = STALL
) -> HedgePolicy[int]:
    """A policy that has seen parts which took these times, and is now at time 0. Their keys are negative."""
    policy = HedgePolicy[int](hedging=hedging, stall_seconds=stall_seconds)
    for index, taken in enumerate(seconds):
        policy.begin(-index - 1, size, -taken)
        policy.finish(-index - 1, 0.0)
    return policy


def test_a_part_is_late_after_twice_the_time_of_nine_in_ten() -> None:
    policy = policy_after(*([3.0] * 19), 90.0)
    policy.begin(1, SIZE, 0.0)
    assert policy.decide(5.0).next_at == pytest.approx(6.0)
    assert list(policy.decide(5.99).late) == []
    assert policy.decide(6.0).late == [1]


def test_no_part_is_late_before_one_second() -> None:
    policy = policy_after(*[0.01] * 20)
    policy.begin(1, SIZE, 0.0)
    verdict = policy.decide(0.5)
    assert (list(verdict.late), verdict.next_at) == ([], SHORTEST_SECONDS)
    assert policy.decide(SHORTEST_SECONDS).late == [1]


def test_nothing_is_late_before_enough_parts_have_finished() -> None:
    policy = policy_after(*[0.1] * (FEWEST_PARTS - 1))
    for part in range(20):
        policy.begin(part, SIZE, 0.0)
    verdict = policy.decide(1e6)
    assert (list(verdict.late), list(verdict.overdue), verdict.next_at) == ([], [], None)
    policy.finish(0, 1e6)
    assert policy.decide(1e6).next_at is not None


def test_only_recent_parts_count() -> None:
    policy = policy_after(*[100.0] * 30, *[2.0] * RECENT_PARTS)
    policy.begin(1, SIZE, 0.0)
    assert policy.decide(4.0).late == [1]


def test_the_time_of_a_small_part_counts_in_proportion_for_a_large_one_and_not_the_other_way_round() -> None:
    policy = policy_after(*[2.0] * 60)
    policy.begin(1, 2 * SIZE, 0.0)
    policy.begin(2, SIZE // 8, 0.0)
    assert policy.decide(4.0).late == [2]
    verdict = policy.decide(7.99)
    assert verdict.late == [2]
    assert verdict.next_at == pytest.approx(8.0)
    assert sorted(policy.decide(8.0).late) == [1, 2]


def test_a_part_is_hedged_once() -> None:
    policy = policy_after(*[1.0] * 60)
    policy.begin(1, SIZE, 0.0)
    assert policy.decide(2.0).late == [1]
    policy.hedge(1)
    verdict = policy.decide(50.0)
    assert (list(verdict.late), verdict.next_at) == ([], None)
    # Nor is its next attempt.
    policy.rest(1, 60.0)
    policy.begin(1, SIZE, 61.0)
    assert list(policy.decide(100.0).late) == []


@pytest.mark.parametrize(("finished", "hedged"), [(18, 0), (19, 1), (38, 1), (39, 2), (100, 4)])
def test_hedged_parts_have_at_most_a_twentieth_of_the_bytes_begun(finished: int, hedged: int) -> None:
    policy = policy_after(*[1.0] * finished)
    # One straggler after the other, so that they are never more than one in ten.
    count = 0
    for part in range(10):
        policy.begin(part, SIZE, 100.0 * part)
        late = policy.decide(100.0 * part + 90.0).late
        if not late:
            break
        assert late == [part]
        policy.hedge(part)
        policy.finish(part, 100.0 * part + 90.0)
        count += 1
        finished += 1
        if count == hedged:
            break
    assert count == hedged


def test_the_budget_holds_for_any_sizes_and_times() -> None:
    rng = random.Random(13)
    policy = HedgePolicy[int](hedging=True, stall_seconds=STALL)
    now, begun, hedged, in_flight = 0.0, 0, 0, dict[int, int]()
    for part in range(3000):
        size = rng.choice([1_000_000, 8_000_000, 64_000_000])
        policy.begin(part, size, now)
        in_flight[part] = size
        begun += size
        now += rng.expovariate(1.0)
        while len(in_flight) > 8 or (in_flight and rng.random() < 0.3):
            policy.finish(done := rng.choice(list(in_flight)), now)
            del in_flight[done]
        for late in policy.decide(now).late:
            policy.hedge(late)
            hedged += in_flight[late]
            assert hedged <= EXTRA_SHARE * begun
    assert hedged


def test_of_several_late_parts_the_latest_comes_first() -> None:
    policy = policy_after(*[1.0] * 60)
    policy.begin(1, SIZE, 3.0)
    policy.begin(2, SIZE, 0.0)
    policy.begin(3, SIZE, 4.0)
    assert policy.decide(9.0).late == [2, 1, 3]


def test_a_link_that_slows_down_makes_no_part_late() -> None:
    policy = policy_after(*[1.0] * 50)
    for part in range(16):
        policy.begin(part, SIZE, 0.1 * part)
    now, looks = 0.0, 0
    while now < 1000.0:
        verdict = policy.decide(now)
        assert list(verdict.late) == []
        assert verdict.next_at is not None
        assert verdict.next_at > now
        now, looks = verdict.next_at, looks + 1
    # Each look is later than the one before in proportion, so that they are few.
    assert looks < 40


def test_a_few_slow_parts_among_many_are_late_in_spite_of_each_other() -> None:
    policy = policy_after(*[1.0] * RECENT_PARTS)
    for part in range(5):
        policy.begin(part, SIZE, 0.0)
    assert len(policy.decide(2.0).late) == 2  # the budget of 55 parts
    six = policy_after(*[1.0] * RECENT_PARTS)
    for part in range(6):
        six.begin(part, SIZE, 0.0)
    assert list(six.decide(30.0).late) == []


def test_the_wait_before_a_retry_does_not_count() -> None:
    policy = policy_after(*[1.0] * 60)
    policy.begin(1, SIZE, 0.0)
    policy.rest(1, 0.5)
    verdict = policy.decide(100.0)
    assert (list(verdict.late), verdict.next_at) == ([], None)
    policy.begin(1, SIZE, 100.0)
    assert policy.decide(101.9).next_at == pytest.approx(102.0)
    assert policy.decide(102.0).late == [1]


def test_without_hedging_nothing_is_late() -> None:
    for policy in (policy_after(*[1.0] * 60, hedging=False), policy_after(*[1.0] * 60)):
        policy.stop_hedging()
        policy.begin(1, SIZE, 0.0)
        verdict = policy.decide(1e6)
        assert (list(verdict.late), verdict.next_at) == ([], None)


def test_a_part_that_was_not_sent_is_no_example() -> None:
    policy = policy_after(*[4.0] * 20)
    policy.finish(99, 5.0)  # the server had it
    policy.begin(1, SIZE, 5.0)
    assert policy.decide(6.0).next_at == pytest.approx(13.0)


# -- overdue ----------------------------------------------------------------------------------------------------------


def overtake(policy: HedgePolicy[int], times: int, *, began: float, seconds: float) -> None:
    for part in range(1000, 1000 + times):
        policy.begin(part, SIZE, began)
        policy.finish(part, began + seconds)


def test_a_part_that_others_overtake_is_overdue_after_ten_times_their_time() -> None:
    policy = policy_after(*[20.0] * 20, hedging=False)
    policy.begin(1, SIZE, 0.0)
    overtake(policy, 3, began=1.0, seconds=20.0)
    verdict = policy.decide(199.0)
    assert (list(verdict.overdue), verdict.next_at) == ([], 200.0)
    assert policy.decide(200.0).overdue == [(1, 200.0, 20.0)]


def test_no_part_is_overdue_before_the_stall_timeout() -> None:
    policy = policy_after(*[1.0] * 20, hedging=False)
    policy.begin(1, SIZE, 0.0)
    overtake(policy, 3, began=1.0, seconds=1.0)
    assert list(policy.decide(STALL - 0.1).overdue) == []
    assert [overdue.part for overdue in policy.decide(STALL).overdue] == [1]


def test_a_part_that_fewer_than_three_overtake_is_never_overdue() -> None:
    policy = policy_after(*[1.0] * 20, hedging=False)
    policy.begin(7, SIZE, 0.0)  # began before, so that it overtakes nobody
    policy.begin(1, SIZE, 0.5)
    overtake(policy, 2, began=1.0, seconds=1.0)
    policy.finish(7, 3.0)
    verdict = policy.decide(1e6)
    assert (list(verdict.overdue), verdict.next_at) == ([], None)


def test_parts_that_overtake_slowly_raise_the_limit() -> None:
    policy = policy_after(*[1.0] * 40, hedging=False)
    policy.begin(1, SIZE, 0.0)
    overtake(policy, 3, began=1.0, seconds=50.0)
    verdict = policy.decide(499.0)
    assert (list(verdict.overdue), verdict.next_at) == ([], 500.0)


def test_each_ending_of_a_part_doubles_its_next_limit() -> None:
    policy = policy_after(*[20.0] * 20, hedging=False)
    now = 0.0
    for limit in (200.0, 400.0, 800.0):
        policy.begin(1, SIZE, now)
        overtake(policy, 3, began=now + 1.0, seconds=20.0)
        assert list(policy.decide(now + limit - 1.0).overdue) == []
        assert [overdue.part for overdue in policy.decide(now + limit).overdue] == [1]
        policy.time_out(1)
        now += limit
        policy.rest(1, now)


def test_a_new_attempt_was_overtaken_by_nobody() -> None:
    policy = policy_after(*[1.0] * 20, hedging=False)
    policy.begin(1, SIZE, 0.0)
    overtake(policy, 3, began=1.0, seconds=1.0)
    policy.rest(1, 10.0)
    policy.begin(1, SIZE, 11.0)
    assert list(policy.decide(1e6).overdue) == []


# -- which objects ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"x-cos-storage-class": "STANDARD"}, True),
        ({"x-cos-storage-class": "standard"}, True),
        ({"x-cos-storage-class": "MAZ_STANDARD"}, True),
        ({"x-cos-storage-class": "STANDARD_IA"}, False),
        ({"x-cos-storage-class": "INTELLIGENT_TIERING"}, False),
        ({"x-cos-storage-class": "ARCHIVE"}, False),
        ({"x-cos-storage-class": "DEEP_ARCHIVE"}, False),
        ({"x-cos-storage-class": "MAZ_STANDARD_IA"}, False),
        ({"x-cos-storage-class": "MAZ_INTELLIGENT_TIERING"}, False),
        ({"x-cos-storage-class": "MAZ_ARCHIVE"}, False),
        ({"x-cos-storage-class": "MAZ_DEEP_ARCHIVE"}, False),
        ({"x-cos-storage-class": "COLD_OF_THE_FUTURE"}, False),
        ({"x-cos-server-side-encryption": "AES256"}, True),
        ({"x-cos-server-side-encryption": "cos/kms"}, False),
        ({"x-cos-server-side-encryption-customer-algorithm": "AES256"}, False),
        ({"x-cos-server-side-encryption-customer-key": "a2V5"}, False),
    ],
)
def test_parts_are_sent_twice_only_into_standard_storage_and_with_an_md5_as_etag(
    headers: dict[str, str], allowed: bool
) -> None:
    assert may_hedge(headers) is allowed
