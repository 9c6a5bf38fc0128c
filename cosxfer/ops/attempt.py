"""One attempt at a request: one that its caller follows and may end, and one without an asyncio task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cosxfer.cos.requests import AttemptFollower, HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.credentials import Credentials
from cosxfer.errors import CosxferError, TransportTimeoutError
from cosxfer.records import dataclass
from cosxfer.transport.base import Begun, Transport


@dataclass(frozen=True)
class Signing:
    """The keys and the clock that signed a request or a form; for `Session.learn` if the server refuses it."""

    credentials: Credentials | None
    offset: float
    ahead: float
    """The wall clock minus the monotonic clock at that time. If it differs later, the wall clock was set."""


class Attempt:
    """An attempt of `Session.begin`. ``response`` is set if there was one, even if it was refused.

    ``error`` says why it has failed. Both are None if the server has not acted on the request.
    """

    __slots__ = ("_accept", "_failed", "_then", "begun", "error", "outgoing", "response", "signing")

    def __init__(
        self,
        signing: Signing,
        outgoing: HttpRequest,
        accept: Callable[[HttpResponse], None],
        failed: Callable[[], None],
        then: Callable[[Attempt], None],
    ) -> None:
        self.signing = signing
        self.outgoing = outgoing
        self._accept = accept
        self._failed = failed
        self._then = then
        self.begun: Begun | None = None
        self.response: HttpResponse | None = None
        self.error: Exception | None = None

    def cancel(self) -> None:
        """End it. Its callback is called all the same."""
        if self.begun is not None:
            self.begun.cancel()

    def ended(self, outcome: HttpResponse | CosxferError | None) -> None:
        """Take the outcome of the transport."""
        self.begun = None
        if isinstance(outcome, HttpResponse):
            self.response = outcome
            try:
                self._accept(outcome)
            except Exception as error:
                self.error = error
        else:
            self.error = outcome
        if self.error is not None or outcome is None:
            self._failed()
        self._then(self)

    @property
    def has_failed(self) -> bool:
        """Whether `Session.call` may go on with it: it counts as an attempt."""
        return self.error is not None

    def outcome(self) -> tuple[HttpResponse | None, Exception]:
        """Return the response, if there was one, and the error."""
        assert self.error is not None
        return self.response, self.error


async def send_followed(transport: Transport, request: HttpRequest, follower: AttemptFollower) -> HttpResponse:
    """Send ``request`` once. If ``follower`` gives it up, this raises `TransportTimeoutError` with its reason.

    When this returns or raises, the transport has ended.
    """
    task = asyncio.current_task()
    assert task is not None
    cancelled_before = task.cancelling()
    given_up: str | None = None

    def give_up(reason: str) -> None:
        nonlocal given_up
        if given_up is None:
            given_up = reason
            task.cancel()

    follower.begins(give_up)
    try:
        return await transport.send(request)
    except asyncio.CancelledError:
        # As `asyncio.timeout` does: a cancellation by others, before or after ours, stays one.
        if given_up is not None and task.cancelling() - 1 <= cancelled_before:
            raise TransportTimeoutError(f"{request.method} {request.url}: {given_up}", url=request.url) from None
        raise
    finally:
        follower.ends()
        if given_up is not None:
            task.uncancel()
