"""The seam between COS and the network: one request in, one answer out."""

from __future__ import annotations

from typing import Protocol

from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Longest body that is collected in memory; an answer of COS is far below. A longer one is a `ProtocolError`."""


class Transport(Protocol):
    """Sends requests over connections of its own. Used from one event loop."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Send ``request`` once and return the answer, whatever its status.

        Raises a `cosxfer.errors.TransportError` where there is no complete answer: refused, cut, stalled, not HTTP.
        Errors that the body raises while it is read come through unchanged. Cancelling ends the request alone.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...
