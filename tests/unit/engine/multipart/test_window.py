"""The window of parts: bounded, in order, and empty after the first error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from cosxfer.engine.limiter import Limiter, Share
from cosxfer.engine.multipart.window import run_window as run_shared_window
from cosxfer.errors import TransportError


async def numbers(count: int) -> AsyncGenerator[int, None]:
    for number in range(count):
        yield number


async def run_window(items: AsyncGenerator[int, None], work: Callable[[int], Awaitable[None]], *, limit: int) -> None:
    with share_of(limit) as share:
        await run_shared_window(items, work, share=share, size_of=lambda _: 1)


def share_of(limit: int) -> Share:
    return Limiter(tasks=1, slots=limit).share(limit, usual=limit)


def others() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("limit", [1, 2, 9])
def test_every_item_is_processed_once_in_order_within_the_limit(count: int, limit: int) -> None:
    begun: list[int] = []
    now = most = 0

    async def work(item: int) -> None:
        nonlocal now, most
        begun.append(item)
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        now -= 1

    asyncio.run(run_window(numbers(count), work, limit=limit))
    assert begun == list(range(count))
    assert most <= limit
    assert most == min(limit, count) or count > limit


def test_no_more_items_are_taken_than_the_window_and_its_queue_hold() -> None:
    taken = 0

    async def counted() -> AsyncGenerator[int, None]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    async def main() -> None:
        task = asyncio.create_task(run_window(counted(), lambda _: asyncio.Event().wait(), limit=3))  # type: ignore[arg-type,return-value]
        for _ in range(50):
            await asyncio.sleep(0)
        # Three running, three in the queue, and one that the producer holds.
        assert taken == 7
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not others()

    asyncio.run(main())


def test_the_first_error_ends_everything_and_is_raised_unchanged() -> None:
    cause = ValueError("the cause")
    cancelled: list[int] = []

    async def work(item: int) -> None:
        if item == 2:
            raise TransportError("part 2") from cause
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    async def main() -> None:
        with pytest.raises(TransportError, match="part 2") as caught:
            await run_window(numbers(9), work, limit=3)
        assert caught.value.__cause__ is cause
        assert not others()

    asyncio.run(main())
    assert sorted(cancelled) == [0, 1]


def test_an_error_of_the_item_source_ends_the_work() -> None:
    async def broken() -> AsyncGenerator[int, None]:
        yield 1
        raise LookupError("no second item")

    async def main() -> None:
        with pytest.raises(LookupError, match="no second item"):
            await run_window(broken(), lambda _: asyncio.Event().wait(), limit=2)  # type: ignore[arg-type,return-value]
        assert not others()

    asyncio.run(main())
