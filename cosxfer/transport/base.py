"""The interface between COS and the network: one request in, one response out."""

from __future__ import annotations

from typing import Protocol

from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Longest response body that is collected in memory. COS sends far less. A longer one is a `ProtocolError`."""


class Transport(Protocol):
    """Sends requests over its own connections. Used from one event loop."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Send ``request`` once and return the response, whatever its status.

        Raises a `cosxfer.errors.TransportError` if there is no complete response: refused, cut, stalled, not HTTP.
        Errors that the body raises while it is read are raised unchanged. A cancellation ends only this request.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...
