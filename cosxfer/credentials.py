"""Access keys: passed by the caller, from the environment, or from a provider of temporary keys. A repr hides them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from copy import copy
from dataclasses import field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from cosxfer.binding import explains_arguments
from cosxfer.errors import CosxferError, CredentialsError, UsageError
from cosxfer.foreign import clean_logger
from cosxfer.limits import LAST_SECOND
from cosxfer.records import dataclass
from cosxfer.threads import in_thread

logger = clean_logger("cosxfer")

REFRESH_MARGIN_SECONDS = 60
"""Temporary keys are renewed this long before they expire, so that a request signed now is still valid on arrival."""


@explains_arguments
@dataclass(frozen=True, kw_only=True)
class Credentials:
    """An access key, permanent or temporary.

    ``token`` and ``expires_at`` (Unix seconds) belong to temporary keys; ``expires_at`` None means never.
    """

    secret_id: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires_at: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("secret_id", self.secret_id), ("secret_key", self.secret_key), ("token", self.token)):
            if value is None and name == "token":
                continue
            if not isinstance(value, str) or not value:
                raise CredentialsError(f"{name} is empty or not a string; give the access key's {name}")
            if not (value.isascii() and value.isprintable()) or value != value.strip():
                raise CredentialsError(
                    f"{name} has spaces at its ends, control characters or non-ASCII characters; copy it again"
                )
        ends = self.expires_at
        if ends is None:
            return
        if isinstance(ends, bool) or not isinstance(ends, int | float) or not abs(ends) <= LAST_SECOND:
            raise CredentialsError(
                "expires_at is not a time; it must be a number of seconds (not milliseconds) since 1970, or None"
            )


CredentialsProvider: TypeAlias = Callable[[], Credentials | Awaitable[Credentials]]
"""Returns temporary keys. It may be a coroutine function. Any other function is called in a thread."""


def from_environment(environment: Mapping[str, str]) -> Credentials | None:
    """Read ``COS_SECRET_ID``, ``COS_SECRET_KEY`` and ``COS_TOKEN``. Returns None if neither key is set."""
    secret_id, secret_key = environment.get("COS_SECRET_ID"), environment.get("COS_SECRET_KEY")
    if not secret_id and not secret_key:
        return None
    if not secret_id or not secret_key:
        missing = "COS_SECRET_KEY" if secret_id else "COS_SECRET_ID"
        raise CredentialsError(f"{missing} is not set; set both COS_SECRET_ID and COS_SECRET_KEY")
    return Credentials(secret_id=secret_id, secret_key=secret_key, token=environment.get("COS_TOKEN") or None)


_asking: ContextVar[CredentialsResolver | None] = ContextVar("_asking", default=None)
"""The resolver for which this context runs a provider. Threads and tasks that it starts inherit it."""


class CredentialsResolver:
    """Returns valid credentials. Calls a provider again before its last keys expire.

    ``source`` None means anonymous access.
    """

    def __init__(self, source: Credentials | CredentialsProvider | None) -> None:
        self.source = source
        self._provider = None if source is None or isinstance(source, Credentials) else source
        self._current = source if isinstance(source, Credentials) else None
        self._doubted: Credentials | None = None
        self._lock = asyncio.Lock()
        self._failures = 0
        """How often the provider has failed."""
        self._failure: CosxferError | None = None
        """Its last failure, without a traceback."""

    async def get(self, now: float) -> Credentials | None:
        """Return credentials valid at ``now`` (Unix seconds), or None for anonymous access.

        Calls that wait while the provider works share its result, also its failure. A failure that may pass is
        ``retryable``.
        """
        if self._provider is None:
            if self._current is not None and not _valid(self._current, now, margin=0):
                raise CredentialsError(
                    "the temporary keys have expired and there is no provider to renew them; "
                    f"pass a callable as credentials {_ended(self._current, now)}"
                )
            return self._current
        if _asking.get() is self:
            raise CredentialsError("the credentials provider uses the client that is waiting for it")
        failures = self._failures
        async with self._lock:
            if self._failure is not None and failures != self._failures:
                raise copy(self._failure)
            if self._current is None or not _valid(self._current, now, margin=REFRESH_MARGIN_SECONDS):
                token = _asking.set(self)
                try:
                    self._current = await _ask(self._provider)
                except CosxferError as error:
                    # The old keys may still be valid: the renewal was early, or the server gave no reason.
                    at_hand = self._current or self._doubted
                    if at_hand is None or not _valid(at_hand, now, margin=0):
                        self._has_failed(error)
                        raise
                    self._current = at_hand
                    logger.warning("%s; using the previous keys until they expire", error)
                finally:
                    _asking.reset(token)
                if not _valid(self._current, now, margin=0):
                    expired = CredentialsError(
                        f"the credentials provider returned keys that have already expired {_ended(self._current, now)}"
                    )
                    expired.retryable = True
                    self._has_failed(expired)
                    raise expired
                self._failure = None
            return self._current

    def at_hand(self, now: float) -> tuple[Credentials | None] | None:
        """Return what `get` would return without waiting; None if it would wait, or fail."""
        current = self._current
        if current is None:
            return (None,) if self._provider is None else None
        margin = 0.0 if self._provider is None else REFRESH_MARGIN_SECONDS
        return (current,) if _valid(current, now, margin=margin) else None

    def _has_failed(self, error: CosxferError) -> None:
        self._failures += 1
        self._failure = copy(error)

    def is_current(self, used: Credentials | None) -> bool:
        """Whether `get` may still return ``used``."""
        return self._current is used

    def discard(self, used: Credentials | None, *, doubted: bool = False) -> bool:
        """Forget ``used``, which the server refused as expired. Return whether the provider can return other keys.

        ``doubted`` says that the server gave no reason. The keys are then used again if the provider fails.
        """
        if self._provider is None:
            return False
        if self._current is used:
            self._current = None
            self._doubted = used if doubted else None
        return True


def _valid(credentials: Credentials, now: float, *, margin: float) -> bool:
    return credentials.expires_at is None or credentials.expires_at - margin > now


def _ended(credentials: Credentials, now: float) -> str:
    """Return when the keys expired and the time of the local clock, which may be wrong."""
    ended, clock = [
        datetime.fromtimestamp(max(0, seconds), UTC).strftime("%Y-%m-%d %H:%M:%S")
        for seconds in (credentials.expires_at or 0, now)
    ]
    return f"(they expired at {ended} UTC; the local clock says {clock})"


async def _ask(provider: CredentialsProvider) -> Credentials:
    try:
        answer: Credentials | Awaitable[Credentials]
        if inspect.iscoroutinefunction(provider):
            answer = provider()
        else:
            blocking: Callable[[], Any] = provider
            answer = await in_thread(None, blocking)
        credentials = await answer if inspect.isawaitable(answer) else answer
    except CosxferError as error:
        error.retryable = not isinstance(error, UsageError)
        raise
    except Exception as error:
        failed = CredentialsError(f"the credentials provider failed: {type(error).__name__}: {error}")
        failed.retryable = True
        raise failed from error
    if not isinstance(credentials, Credentials):
        raise CredentialsError(
            f"the credentials provider returned {type(credentials).__name__}; it must return cosxfer.Credentials"
        )
    return credentials
