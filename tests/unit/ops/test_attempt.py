"""An attempt that its caller follows: it ends in one way only, and leaves nothing running."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import TransportError, TransportTimeoutError
from cosxfer.ops.attempt import send_followed
from cosxfer.transport.memory import MemoryTransport

ANSWER = HttpResponse(status=200, headers={})
REQUEST = HttpRequest(
    method="PUT",
    endpoint=resolve_endpoint("https://{bucket}.cos.{region}.myqcloud.com", bucket="b-1250000000", region="ap-x"),
    target="/k?partNumber=1",
    headers={},
)


class Follower:
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.give_up: Callable[[str], None] | None = None

    def begins(self, give_up: Callable[[str], None]) -> None:
        self.seen.append("begins")
        self.give_up = give_up

    def ends(self) -> None:
        self.seen.append("ends")
        self.give_up = None


class Hanging:
    """A server that never responds. Ending a request takes some turns of the loop, however often it is cancelled."""

    def __init__(self) -> None:
        self.ended = False

    async def __call__(self, request: HttpRequest, body: bytes) -> HttpResponse:
        try:
            await asyncio.Event().wait()
        finally:
            left = 5
            while left:
                left -= 1
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
            self.ended = True
        raise AssertionError


def others() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def send(handler: Callable[[HttpRequest, bytes], Awaitable[HttpResponse] | HttpResponse], follower: Follower):  # type: ignore[no-untyped-def]
    return send_followed(MemoryTransport(handler), REQUEST, follower)


def test_a_response_and_an_error_are_those_of_the_transport() -> None:
    broke = TransportError("broke")

    def fails(request: HttpRequest, body: bytes) -> HttpResponse:
        raise broke

    async def main() -> None:
        follower = Follower()
        assert await send(lambda request, body: ANSWER, follower) is ANSWER
        with pytest.raises(TransportError) as caught:
            await send(fails, follower)
        assert caught.value is broke
        assert follower.seen == ["begins", "ends"] * 2
        assert not others()

    asyncio.run(main())


def test_an_attempt_that_is_given_up_is_a_timeout_with_the_reason_and_has_ended() -> None:
    async def main() -> None:
        follower, server = Follower(), Hanging()
        task = asyncio.ensure_future(send(server, follower))
        await turns()
        assert follower.give_up is not None
        follower.give_up("not finished after 70 s")
        follower.give_up("again")
        with pytest.raises(TransportTimeoutError, match="/k: not finished after 70 s") as caught:
            await task
        assert caught.value.retryable
        assert (server.ended, follower.seen) == (True, ["begins", "ends"])
        assert not others()

        # The task that sent it goes on, for example with the next attempt.
        async def next_attempt() -> int:
            with pytest.raises(TransportTimeoutError):
                await send(Hanging(), follower)
            async with asyncio.timeout(60):
                await asyncio.sleep(0)
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()

        going_on = asyncio.ensure_future(next_attempt())
        await turns()
        assert follower.give_up is not None
        follower.give_up("slow")
        assert await going_on == 0

    asyncio.run(main())


@pytest.mark.parametrize("given_up", ["never", "before", "after"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_cancellation_is_a_cancellation_and_the_transport_has_ended(given_up: str, times: int) -> None:
    async def main() -> None:
        follower, server = Follower(), Hanging()
        task = asyncio.ensure_future(send(server, follower))
        await turns()
        give_up = follower.give_up
        assert give_up is not None
        if given_up == "before":
            give_up("too long")
            await asyncio.sleep(0)
        for _ in range(times):
            task.cancel()
            if given_up == "after":
                give_up("too long")
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.ended
        assert not others()

    asyncio.run(main())


def test_giving_up_an_attempt_that_has_ended_does_nothing() -> None:
    async def main() -> None:
        follower = Follower()
        gate = asyncio.Event()

        async def later(request: HttpRequest, body: bytes) -> HttpResponse:
            await gate.wait()
            return ANSWER

        task = asyncio.ensure_future(send(later, follower))
        await turns()
        give_up = follower.give_up
        assert give_up is not None
        gate.set()
        await task
        give_up("too long")
        assert task.result() is ANSWER

    asyncio.run(main())


def test_an_error_that_was_handled_holds_no_memory() -> None:
    class HeldError(TransportError):
        pass

    def fails(request: HttpRequest, body: bytes) -> HttpResponse:
        raise HeldError("broke")

    async def main() -> None:
        try:
            await send(fails, Follower())
        except HeldError as error:
            held = weakref.ref(error)
        await turns()
        assert held() is None

    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()
