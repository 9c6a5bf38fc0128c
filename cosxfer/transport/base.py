"""The interface between COS and the network: one request in, one response out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import TransportError

MAX_RESPONSE_BYTES = 16 * 1024 * 1024
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


class Begun(Protocol):
    """A request that was sent by `Begins.begin`."""

    def cancel(self) -> None:
        """End the request. Its callback is called all the same, when nothing is written to the sink any more."""
        ...


class Begins(Protocol):
    """A transport that can also send without an asyncio task. A transport of the caller need not."""

    def begin(self, request: HttpRequest, then: Callable[[HttpResponse | Exception | None], None]) -> Begun | None:
        """Send ``request`` if a connection is idle; returns None if it has to wait.

        It has a body that is bytes in memory; or no body, and a new sink in memory for the beginning of an object.

        ``then`` is called later on the event loop: with the response, with the error that `Transport.send` would
        raise, or with None if the server has not acted on the request. Raises what makes the request impossible.
        """
        ...


class Stores(Protocol):
    """A transport that sends many requests that differ in head and body alone (see `NativeTransport`)."""

    def store(self, like: HttpRequest, head: bytes, body: bytes, store: Any, /) -> bool:
        """Begin a request with this head and body, which is ``like`` another one in all else, if a connection is idle.

        ``store`` (a `BegunStore`) owns it, and nobody follows its bytes. Returns False if it has to wait. Raises what
        `Begins.begin` raises.
        """
        ...

    def proven(self, exchange: Any, crc64: int, md5: bytes, /) -> HttpResponse | None:
        """Return the response of one that has ended, if it proves the content by `HttpResponse.proves`."""
        ...

    def stored(self, exchange: Any, request: HttpRequest, /) -> HttpResponse | Exception | None:
        """Return the outcome of one that has ended, as the callback of `Begins.begin` gets it."""
        ...


class CountsUnacknowledged(Protocol):
    """A transport that knows what is on the way. A transport of the caller need not."""

    def unacknowledged_bytes(self) -> int:
        """Return how many bytes of the bodies of requests in flight were given to sockets (``on_sent``) and are not
        yet acknowledged by the peer. Behind a proxy, the proxy acknowledges."""
        ...


def unacknowledged_bytes(transport: Transport) -> int:
    """Return `CountsUnacknowledged.unacknowledged_bytes`; 0 if ``transport`` does not count them."""
    count: Callable[[], int] | None = getattr(transport, "unacknowledged_bytes", None)
    return 0 if count is None else count()


class CountsThreadTime(Protocol):
    """A transport that knows the CPU time of its I/O threads. A transport of the caller need not."""

    def io_thread_seconds(self) -> list[float]:
        """Return the CPU time of each I/O thread, in the order in which they were started; 0 for one that ended."""
        ...


def io_thread_seconds(transport: Transport) -> list[float]:
    """Return `CountsThreadTime.io_thread_seconds`; empty if ``transport`` does not know it."""
    read: Callable[[], list[float]] | None = getattr(transport, "io_thread_seconds", None)
    return [] if read is None else read()


class MeasuresRoundTrip(Protocol):
    """A transport that knows how far its servers are. A transport of the caller need not."""

    def round_trip_seconds(self) -> float:
        """Return the shortest round trip of TCP to the farthest host; 0 if it is not known."""
        ...


def round_trip_seconds(transport: Transport) -> float:
    """Return `MeasuresRoundTrip.round_trip_seconds`; 0 if ``transport`` does not measure it."""
    read: Callable[[], float] | None = getattr(transport, "round_trip_seconds", None)
    return 0.0 if read is None else read()


def copy_of(error: TransportError, url: str = "") -> TransportError:
    """Return a copy of the error for another request: each `raise` needs its own exception."""
    copy = type(error)(str(error), url=url or error.url)
    copy.retryable = error.retryable
    copy.__cause__ = error.__cause__
    return copy
