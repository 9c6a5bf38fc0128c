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
        "_begins",
        "_counted",
        "_credentials",
        "_given",
        "_offset",
        "_on_moved",
        "_then",
        "began",
        "begun",
        "error",
        "failed_at",
        "outgoing",
        "response",
    )

    outgoing: HttpRequest
    """Gone when it has succeeded."""
    failed_at: float
    """When it has failed. The wait before the next attempt begins then, not when there is a slot for it."""

    def __init__(
        self,
        begins: Accepts,
        given: tuple[Any, ...],
        credentials: Credentials | None,
        offset: float,
        now: float,
        on_moved: Callable[[int], None] | None,
        then: Callable[[Attempt], None],
        *,
        began: float | None = None,
    ) -> None:
        """``began`` is when it has begun; None: now."""
        self._begins = begins
        self._given = given
        self._credentials = credentials
        self._offset = offset
        self.began = time.monotonic() if began is None else began
        self._ahead = now - offset - self.began
        self._on_moved = on_moved
        self._then = then
        self._counted = 0
        self.begun: Begun | None = None
        self.response: HttpResponse | None = None
        self.error: Exception | None = None

    def cancel(self) -> None:
        """End it. Its callback is called all the same."""
        if self.begun is not None:
            self.begun.cancel()

    def moved(self, count: int) -> None:
        """Count bytes that were sent or received, negative if they have to be moved again. For ``on_moved``."""
        self._counted += count
        traffic = self._begins.session.traffic
        traffic.sent_bytes += count
        traffic.open_bytes += count
        assert self._on_moved is not None
        self._on_moved(count)

    def ended(self, outcome: HttpResponse | Exception | None) -> None:
        """Take the outcome of the transport."""
        self.begun = None
        if isinstance(outcome, HttpResponse):
            self.response = outcome
            try:
                self._begins.accept(self, outcome, *self._given)
            except Exception as error:
                self.error = error
        else:
            self.error = outcome
        if self.error is not None:
            self.failed_at = time.monotonic()
        if isinstance(self.error, CosxferError):
            # At once: who goes on with it may have to wait for a slot first.
            self._begins.session.note_failure(self.error)
        if self._counted:
            if self.error is not None or outcome is None:
                self.moved(-self._counted)
            self._begins.session.traffic.open_bytes -= self._counted
        # The request holds a method of this object: without a cycle, nothing is left for the garbage collector.
        if self.error is None:
            del self.outgoing
        else:
            self.outgoing = replace(self.outgoing, on_sent=None)
        self._then(self)

    @property
    def is_followed(self) -> bool:
        """Whether somebody wants to know the bytes while they are on their way."""
        return self._on_moved is not None

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
