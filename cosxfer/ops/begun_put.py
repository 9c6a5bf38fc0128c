"""PUT Object for many small files, without an asyncio task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cosxfer.cos.requests import CosRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import CosxferError
from cosxfer.ops.attempt import Attempt
from cosxfer.ops.session import Session
from cosxfer.transport.base import Begun


class Puts:
    """Requests that store small files, for the uploads of one batch. Used from one event loop."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._start: Callable[..., Begun | None] | None = getattr(session.transport, "begin", None)

    @property
    def works(self) -> bool:
        """Whether the transport can send a request without an asyncio task."""
        return self._start is not None

    def begin(self, request: CosRequest, then: Callable[[Attempt], None]) -> Attempt | None:
        """Send ``request`` once, if it need not wait. Its body is bytes in memory.

        Returns None if it has to wait, for keys or for a connection. ``then`` gets the attempt when it has ended, after
        this has returned. If it has failed, `Session.call` goes on with it.
        """
        session = self.session
        now = session.now()
        keys = session.keys.at_hand(now)
        if self._start is None or keys is None or session.in_outage:
            return None
        on_sent = request.on_sent or _nobody
        attempt = Attempt(self, (request,), keys[0], session.clock_offset, now, on_sent, then)
        try:
            if request.on_sent is not None:
                request = replace(request, on_sent=attempt.received)
            outgoing = session.outgoing(request, keys[0])
            attempt.begun = self._start(outgoing, attempt.ended)
        except (CosxferError, ValueError):
            return None  # `call` says why
        if attempt.begun is None:
            return None
        attempt.outgoing = outgoing
        return attempt

    def accept(self, attempt: Attempt, response: HttpResponse, *given: Any) -> None:
        """Raise if ``response`` is an error, or proves that other bytes are stored."""
        (request,) = given
        self.session.accept(request, attempt.outgoing, response, attempt.began)


def _nobody(_: int) -> None:
    """Nobody asks how many bytes were sent."""
