"""One attempt at a request that its caller follows and may end."""

from __future__ import annotations

import asyncio

from cosxfer.cos.requests import AttemptFollower, HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import TransportTimeoutError
from cosxfer.transport.base import Transport


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
