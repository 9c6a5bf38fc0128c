"""One attempt at a request: one that its caller follows and may end, and one without an asyncio task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from cosxfer.cos.requests import AttemptFollower, HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.credentials import Credentials
from cosxfer.errors import TransportTimeoutError
from cosxfer.records import dataclass
from cosxfer.transport.base import Begun, Transport


@dataclass(frozen=True)
class Signing:
    """The keys and the clock that signed a request or a form; for `Session.learn` if the server refuses it."""

    credentials: Credentials | None
    offset: float
    ahead: float
    """The wall clock minus the monotonic clock at that time. If it differs later, the wall clock was set."""


class Accepts(Protocol):
    """What begins attempts. The arguments of `accept` after the response are those that it gave to the attempt."""

    session: Any

    def accept(self, attempt: Attempt, response: HttpResponse, *given: Any) -> None:
        """Raise if the response is an error, or not what was asked for."""
        ...


class Attempt:
    """One attempt of `Gets.begin` or `Puts.begin`. ``response`` is set if there was one, even if it was refused.

    ``error`` says why it has failed. Both are None if the server has not acted on the request.
    """

    __slots__ = (
        "_ahead",
        "_counted",
        "_credentials",
        "_gets",
        "_given",
        "_offset",
        "_on_received",
        "_then",
        "began",
        "begun",
        "error",
        "outgoing",
        "response",
    )

    outgoing: HttpRequest
    """Gone when it has succeeded."""

    def __init__(
        self,
        gets: Accepts,
        given: tuple[Any, ...],
        credentials: Credentials | None,
        offset: float,
        now: float,
        on_received: Callable[[int], None],
        then: Callable[[Attempt], None],
    ) -> None:
        self._gets = gets
        self._given = given
        self._credentials = credentials
        self._offset = offset
        self.began = time.monotonic()
        self._ahead = now - offset - self.began
        self._on_received = on_received
        self._then = then
        self._counted = 0
        self.begun: Begun | None = None
        self.response: HttpResponse | None = None
        self.error: Exception | None = None

    def cancel(self) -> None:
        """End it. Its callback is called all the same."""
        if self.begun is not None:
            self.begun.cancel()

    def received(self, count: int) -> None:
        """Count bytes that were received, negative if they have to be received again."""
        self._counted += count
        self._gets.session.traffic.sent_bytes += count
        self._on_received(count)

    def ended(self, outcome: HttpResponse | Exception | None) -> None:
        """Take the outcome of the transport."""
        self.begun = None
        if isinstance(outcome, HttpResponse):
            self.response = outcome
            try:
                self._gets.accept(self, outcome, *self._given)
            except Exception as error:
                self.error = error
        else:
            self.error = outcome
        if self._counted and (self.error is not None or outcome is None):
            self.received(-self._counted)
        # The request holds a method of this object: without a cycle, nothing is left for the garbage collector.
        if self.error is None:
            del self.outgoing
        else:
            self.outgoing = replace(self.outgoing, on_sent=None)
        self._then(self)

    @property
    def signing(self) -> Signing:
        """The keys and the clock that signed it."""
        return Signing(self._credentials, self._offset, self._ahead)

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
