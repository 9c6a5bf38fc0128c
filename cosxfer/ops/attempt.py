"""One attempt at a request that its caller follows and may end."""

from __future__ import annotations

import asyncio

from cosxfer.cos.requests import AttemptFollower, HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import TransportTimeoutError
from cosxfer.threads import settled
from cosxfer.transport.base import Transport


async def send_followed(transport: Transport, request: HttpRequest, follower: AttemptFollower) -> HttpResponse:
    """Send ``request`` once. If ``follower`` gives it up, this raises `TransportTimeoutError` with its reason.

    The transport runs in a task of its own. If the caller's task were cancelled instead, that could not be told apart
    from a cancellation by others. When this returns or raises, the transport has ended.
    """
    # The reason, or None if the transport has ended by itself.
    over: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def end(reason: str | None) -> None:
        if not over.done():
            over.set_result(reason)

    sending = asyncio.ensure_future(transport.send(request))
    sending.add_done_callback(lambda _: end(None))
    follower.begins(end)
    try:
        reason = await over
        if reason is not None:
            raise TransportTimeoutError(f"{request.method} {request.url}: {reason}", url=request.url)
        return await sending
    finally:
        follower.ends()
        sending.cancel()
        await settled(sending)
        del sending  # its exception has a traceback with this frame: a cycle
