"""Counts what the scheduler needs to know of a client's requests. Used from the client's event loop."""

from __future__ import annotations

from collections.abc import Callable

from cosxfer.errors import CosxferError, ThrottledError, TransportTimeoutError

SMALL_BYTES = 256 * 1024
"""The bytes of a body up to this size are counted when its request has succeeded, not while it is sent."""


class Traffic:
    """Counters of one client. They only grow, except for those of bytes: an attempt that ends takes its bytes back."""

    __slots__ = (
        "latency_seconds",
        "on_refused",
        "open_bytes",
        "refused",
        "requests_done",
        "retries",
        "retry_after_seconds",
        "sent_bytes",
    )

    def __init__(self) -> None:
        self.sent_bytes = 0
        """Bytes of bodies that were given to sockets, without those of failed attempts."""
        self.open_bytes = 0
        """Those of requests that have not ended. The bodies up to `SMALL_BYTES` may be missing."""
        self.requests_done = 0
        """Requests with a body that succeeded."""
        self.refused = 0
        """Requests that the server throttled, or that timed out."""
        self.retry_after_seconds = 0.0
        """What the last refusal asked for; 0 if it asked for nothing."""
        self.latency_seconds = 0.0
        """The shortest time of a request without a body until now, on an open connection if that is known; 0: none."""
        self.retries = 0
        """Requests that were sent again."""
        self.on_refused: Callable[[], None] | None = None
        """Called after each refusal."""

    def note_latency(self, seconds: float) -> None:
        """A request without a body took so long."""
        self.latency_seconds = min(seconds, self.latency_seconds or seconds)

    def note_failure(self, error: CosxferError, *, asked_seconds: float) -> None:
        """Count ``error`` if it says that too many requests are in flight. The server asked for a pause so long."""
        if not isinstance(error, ThrottledError | TransportTimeoutError):
            return
        self.refused += 1
        self.retry_after_seconds = asked_seconds
        if self.on_refused is not None:
            self.on_refused()
