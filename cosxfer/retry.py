"""Decides whether and when a request is retried. Pure: time and randomness are arguments, and the caller waits.

Full jitter (a random delay from zero to a bound that doubles) spreads the retries of many parts. A token bucket for the
whole client ends a storm of retries against a server that fails permanently (source: AWS Architecture Blog,
"Exponential Backoff And Jitter"; the AWS SDKs' standard retry mode).

**Outages.** A transfer that has begun has something to lose, so its requests go on after `RetryPolicy.max_attempts` and
without tokens, until they have failed for `RetryPolicy.outage_seconds`. Two clocks count: that of the request, from its
first failure, and that of the transfer, from its first failure since its last success. The longer one decides. If
nothing of the client works, the requests take turns (`probe_seconds`); so a storm cannot arise. The pause between two
turns is about a tenth of the outage. Hence a transfer goes on soon after a short outage, and a long one costs few
requests.
"""

from __future__ import annotations

from cosxfer.errors import ConnectError, CosxferError, IntegrityError, ServerError, ThrottledError
from cosxfer.records import dataclass

PROBE_SHARE = 0.1
"""The mean pause between two probes, as a share of the time that the outage has lasted."""
SHORTEST_PROBE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Limits of the delay after the n-th attempt: ``base * 2^(n-1)``, at most ``cap``, in seconds."""

    max_attempts: int = 5
    base_seconds: float = 0.05
    connect_base_seconds: float = 0.2
    conflict_base_seconds: float = 0.5
    throttled_base_seconds: float = 1.0
    cap_seconds: float = 20.0
    outage_seconds: float = 0.0
    """How long the requests of a transfer that has begun may fail before it fails."""


class RetryBudget:
    """Tokens for retries, shared by all requests of a client. A retry takes some; each success returns one."""

    CAPACITY = 500
    COST = 5

    def __init__(self) -> None:
        self.tokens = self.CAPACITY
        self.successes = 0
        """Requests that have succeeded."""

    def take(self) -> bool:
        """Take the tokens for one retry. Returns False if there are too few."""
        if self.tokens < self.COST:
            return False
        self.tokens -= self.COST
        return True

    def give_back(self) -> None:
        """Return a token after a successful request."""
        self.successes += 1
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


_LATE_BODY = frozenset({"RequestTimeout", "RequestTimeOut", "UserNetworkTooSlow"})
"""Codes with status 400 that mean a bad line."""


def is_outage(error: CosxferError) -> bool:
    """Whether ``error`` is one that an outage causes: no response, a failure of the server, or throttling.

    A body that arrives damaged is none: its cause may be this machine. A conflict (409) lasts until the server has
    given up the earlier attempt.
    """
    if not error.retryable or isinstance(error, IntegrityError):
        return False
    return not isinstance(error, ServerError) or error.status != 400 or error.code in _LATE_BODY


def outage_left(policy: RetryPolicy, *, now: float, failing_since: float, transfer_failing_since: float) -> float:
    """Return for how many more seconds a request of a transfer that has begun is retried; not positive: no longer."""
    return min(failing_since, transfer_failing_since) + policy.outage_seconds - now


def probe_seconds(policy: RetryPolicy, *, outage_seconds: float, random: float) -> float:
    """Return the pause between two requests to a server of which nothing has worked for ``outage_seconds``."""
    mean = min(max(SHORTEST_PROBE_SECONDS, PROBE_SHARE * outage_seconds), policy.cap_seconds / 2)
    return 2 * random * mean


def asked_seconds(policy: RetryPolicy, error: CosxferError) -> float:
    """Return how many seconds the server asks the client to wait (Retry-After), up to the cap; 0 if it does not ask."""
    asked = error.retry_after_seconds if isinstance(error, ThrottledError) else None
    return 0.0 if asked is None else min(asked, policy.cap_seconds)
