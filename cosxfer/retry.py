"""Decides whether and when a request is retried. Pure: randomness is an argument, and the caller waits.

Full jitter (a random delay from zero to a bound that doubles) spreads the retries of many parts. A token bucket for the
whole client ends a storm of retries against a server that fails permanently (source: AWS Architecture Blog,
"Exponential Backoff And Jitter"; the AWS SDKs' standard retry mode).
"""

from __future__ import annotations

from cosxfer.errors import ConnectError, CosxferError, ServerError, ThrottledError
from cosxfer.records import dataclass


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Limits of the delay after the n-th attempt: ``base * 2^(n-1)``, at most ``cap``, in seconds."""

    max_attempts: int = 5
    base_seconds: float = 0.05
    connect_base_seconds: float = 0.2
    conflict_base_seconds: float = 0.5
    throttled_base_seconds: float = 1.0
    cap_seconds: float = 20.0


class RetryBudget:
    """Tokens for retries, shared by all requests of a client. A retry takes some; each success returns one."""

    CAPACITY = 500
    COST = 5

    def __init__(self) -> None:
        self.tokens = self.CAPACITY

    def take(self) -> bool:
        """Take the tokens for one retry. Returns False if there are too few."""
        if self.tokens < self.COST:
            return False
        self.tokens -= self.COST
        return True

    def give_back(self) -> None:
        """Return a token after a successful request."""
        self.tokens = min(self.CAPACITY, self.tokens + 1)


def retry_delay(policy: RetryPolicy, error: CosxferError, *, attempt: int, random: float) -> float | None:
    """Return how many seconds to wait after the failed ``attempt`` (from 1), or None if its error is final.

    ``random`` is in [0, 1). A server's Retry-After is a lower bound, up to the cap.
    """
    if not error.retryable or attempt >= policy.max_attempts:
        return None
    base = policy.base_seconds
    if isinstance(error, ThrottledError):
        base = policy.throttled_base_seconds
    elif isinstance(error, ConnectError):
        # A restart of a server takes some seconds.
        base = policy.connect_base_seconds
    elif isinstance(error, ServerError) and error.status == 409:
        # The earlier attempt has to end first.
        base = policy.conflict_base_seconds
    delay = random * min(policy.cap_seconds, base * 2.0 ** min(attempt - 1, 30))
    return max(delay, asked_seconds(policy, error))


def asked_seconds(policy: RetryPolicy, error: CosxferError) -> float:
    """Return how many seconds the server asks the client to wait (Retry-After), up to the cap; 0 if it does not ask."""
    asked = error.retry_after_seconds if isinstance(error, ThrottledError) else None
    return 0.0 if asked is None else min(asked, policy.cap_seconds)
