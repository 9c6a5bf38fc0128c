"""Whether and when a request is retried: always within the limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.errors import CosxferError, ServerError, SourceError, ThrottledError, TransportError
from cosxfer.retry import RetryBudget, RetryPolicy, retry_delay

POLICY = RetryPolicy(max_attempts=10, base_seconds=0.05, throttled_base_seconds=1.0, cap_seconds=20.0)
random = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 9), random)
def test_a_delay_is_between_zero_and_a_bound_that_doubles(attempt: int, chance: float) -> None:
    delay = retry_delay(POLICY, TransportError("x"), attempt=attempt, random=chance)
    assert delay is not None
    assert 0 <= delay <= min(20.0, 0.05 * 2 ** (attempt - 1))


@given(st.integers(1, 10_000), random, st.one_of(st.none(), st.floats(0, 1e9)))
def test_a_throttled_delay_is_never_above_the_cap_nor_below_retry_after(
    attempt: int, chance: float, after: float | None
) -> None:
    policy = RetryPolicy(max_attempts=100_000)
    error = ThrottledError("x", status=503, retry_after_seconds=after)
    delay = retry_delay(policy, error, attempt=attempt, random=chance)
    assert delay is not None
    assert min(after or 0, policy.cap_seconds) <= delay <= policy.cap_seconds


def test_the_pause_for_a_running_attempt_is_longer_than_for_a_broken_connection() -> None:
    conflict = retry_delay(POLICY, ServerError("x", status=409, retryable=True), attempt=1, random=0.5)
    assert conflict == 0.25


def test_throttling_waits_longer_than_a_broken_connection() -> None:
    throttled = retry_delay(POLICY, ThrottledError("x", status=503), attempt=1, random=0.5)
    broken = retry_delay(POLICY, TransportError("x"), attempt=1, random=0.5)
    assert throttled == 0.5
    assert broken == 0.025


@pytest.mark.parametrize("attempt", [10, 11])
def test_the_last_attempt_is_final(attempt: int) -> None:
    assert retry_delay(POLICY, TransportError("x"), attempt=attempt, random=0.5) is None


@pytest.mark.parametrize("error", [CosxferError("x"), SourceError("x", path="p")])
def test_a_permanent_error_is_final(error: CosxferError) -> None:
    assert retry_delay(POLICY, error, attempt=1, random=0.5) is None


@given(st.lists(st.booleans(), max_size=400))
def test_a_budget_stays_between_zero_and_its_capacity(failed: list[bool]) -> None:
    budget = RetryBudget()
    for failure in failed:
        before = budget.tokens
        if failure:
            assert budget.take() is (before >= RetryBudget.COST)
        else:
            budget.give_back()
        assert 0 <= budget.tokens <= RetryBudget.CAPACITY


def test_a_spent_budget_is_refilled_by_successes() -> None:
    budget = RetryBudget()
    while budget.take():
        pass
    for _ in range(RetryBudget.COST):
        assert not budget.take()
        budget.give_back()
    assert budget.take()
