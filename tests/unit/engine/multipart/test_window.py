"""The window of parts: bounded, in order, and empty after the first error. Stragglers and what is given up."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from cosxfer.engine.limiter import Limiter, Share
from cosxfer.engine.multipart.hedge import HedgePolicy
from cosxfer.engine.multipart.window import LEAST_AHEAD_BYTES, MOST_AHEAD_BYTES, Flight, Request, Window
from cosxfer.errors import AccessDeniedError, CosxferError, SourceChangedError, TransportError
from tests.unit.virtual_time import run_in_virtual_time

LARGE = LEAST_AHEAD_BYTES
"""So that items are counted, not their bytes."""

Work = Callable[[Request[int]], Awaitable[str]]


async def numbers(count: int) -> AsyncGenerator[int, None]:
    for number in range(count):
        yield number


class Transfer:
    """A window over numbers, and what it has reported."""

    def __init__(
        self,
        work: Work,
        share: Share,
        *,
        hedging: bool = True,
        size: Callable[[int], int] = lambda _: 1,
        stall_seconds: float = 60.0,
    ) -> None:
        self.stored: list[tuple[int, str]] = []
        self.progress: list[int] = [0]
        self.policy = HedgePolicy[Flight[int]](hedging=hedging, stall_seconds=stall_seconds)
        self.window = Window(
            work,
            lambda item, result: self.stored.append((item, result)),
            share=share,
            size_of=size,
            policy=self.policy,
            on_sent=lambda amount: self.progress.append(self.progress[-1] + amount),
        )

    @property
    def items(self) -> list[int]:
        return sorted(item for item, _ in self.stored)


async def run_window(items: AsyncGenerator[int, None], work: Callable[[int], Awaitable[None]], *, limit: int) -> None:
    async def worked(request: Request[int]) -> str:
        await work(request.item)
        return ""

    with share_of(limit) as share:
        await Transfer(worked, share, size=lambda _: LARGE).window.run(items)


def share_of(limit: int) -> Share:
    return Limiter(tasks=1, slots=limit).share(limit, usual=limit)


def others() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


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


# -- how many are taken ahead -----------------------------------------------------------------------------------------


class Counted:
    """Endless items, and how many were taken."""

    def __init__(self) -> None:
        self.taken = 0

    async def items(self) -> AsyncGenerator[int, None]:
        while True:
            self.taken += 1
            yield self.taken


async def for_ever(_: object) -> str:
    await asyncio.Event().wait()
    return ""


async def taken_by(share: Share, *, size: int) -> int:
    source = Counted()
    task = asyncio.create_task(Transfer(for_ever, share, size=lambda _: size).window.run(source.items()))
    await turns(2000)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not others()
    return source.taken


def test_no_more_items_are_taken_than_the_window_and_its_queue_hold() -> None:
    async def main() -> None:
        # Three in flight, one that waits for a slot, two that are ready, and one in the producer's hand.
        assert await taken_by(share_of(3), size=LARGE) == 7

    asyncio.run(main())


def test_a_small_window_has_some_bytes_ready_while_the_next_batch_is_hashed() -> None:
    async def main() -> None:
        assert await taken_by(share_of(1), size=LEAST_AHEAD_BYTES // 8) == 1 + 1 + 8 + 1

    asyncio.run(main())


def test_a_large_window_has_no_more_ready_than_the_page_cache_may_hold() -> None:
    async def main() -> None:
        assert await taken_by(share_of(100), size=MOST_AHEAD_BYTES // 4) == 100 + 1 + 4 + 1

    asyncio.run(main())


def test_the_queue_follows_the_slots_of_the_client_and_not_the_limit_of_the_transfer() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=1, slots=4)
        source = Counted()
        share = limiter.share(256, usual=256)
        task = asyncio.create_task(Transfer(for_ever, share, size=lambda _: LARGE // 8).window.run(source.items()))
        await turns()
        small = source.taken
        assert small == 4 + 1 + 8 + 1
        limiter.resize(slots=24)
        await turns(200)
        assert limiter.in_flight == 24
        assert source.taken == 24 + 1 + 23 + 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert limiter.in_flight == 0

    asyncio.run(main())


# -- errors -----------------------------------------------------------------------------------------------------------


def test_the_first_error_ends_everything_and_is_raised_as_it_is() -> None:
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
            await run_window(broken(), for_ever, limit=2)  # type: ignore[arg-type]
        assert not others()

    asyncio.run(main())


def test_an_error_while_an_item_is_recorded_is_raised() -> None:
    async def main() -> None:
        def stored(item: int, result: str) -> None:
            raise RuntimeError("cannot record")

        policy = HedgePolicy[Flight[int]](hedging=True, stall_seconds=60.0)
        limiter = Limiter(tasks=1, slots=2)
        window = Window(
            at_once, stored, share=limiter.share(2, usual=2), size_of=lambda _: 1, policy=policy, on_sent=lambda _: None
        )
        with pytest.raises(RuntimeError, match="cannot record"):
            await window.run(numbers(5))
        assert window.failed_item == 0
        assert limiter.in_flight == 0

    asyncio.run(main())


async def at_once(_: object) -> str:
    return "done"


# -- hedging ----------------------------------------------------------------------------------------------------------


class Peer:
    """Does the work of a window: each request takes a second, or as its script says. A script is of one item."""

    def __init__(self, **scripts: Work) -> None:
        self.begun: list[tuple[float, int, bool]] = []
        self.cancelled: list[tuple[int, bool]] = []
        self.ended_early: list[str] = []
        self.scripts = {int(name.removeprefix("item")): script for name, script in scripts.items()}

    async def __call__(self, request: Request[int]) -> str:
        self.begun.append((asyncio.get_running_loop().time(), request.item, request.hedge))
        name = "hedge" if request.hedge else "first"
        if not request.hedge:
            request.begins(self.ended_early.append)
        try:
            if request.item in self.scripts:
                return await self.scripts[request.item](request)
            request.sent(1)
            await asyncio.sleep(1.0)
            return name
        except BaseException as error:
            request.sent(-request.count)
            if isinstance(error, asyncio.CancelledError):
                self.cancelled.append((request.item, request.hedge))
            raise
        finally:
            if not request.hedge:
                request.ends()

    @property
    def hedges(self) -> list[tuple[float, int]]:
        return [(began, item) for began, item, hedge in self.begun if hedge]


def by_request(first: Work, hedge: Work) -> Work:
    async def work(request: Request[int]) -> str:
        return await (hedge if request.hedge else first)(request)

    return work


def takes(seconds: float, *, sends: int = 1) -> Work:
    async def work(request: Request[int]) -> str:
        request.sent(sends)
        await asyncio.sleep(seconds)
        request.sent(1 - sends)
        return "hedge" if request.hedge else "first"

    return work


def fails(seconds: float, error: BaseException) -> Work:
    async def work(request: Request[int]) -> str:
        request.sent(1)
        await asyncio.sleep(seconds)
        raise error

    return work


SLOTS = 5
COUNT = 60
LAST = COUNT - 1
"""It begins at 11 s, with the last four others."""


class Result:
    def __init__(self, peer: Peer, transfer: Transfer, limiter: Limiter, error: BaseException | None, end: float):
        self.peer = peer
        self.transfer = transfer
        self.error = error
        self.end = end
        self.by_item = dict(transfer.stored)
        assert limiter.in_flight == limiter.bytes_in_flight == 0
        assert len(self.by_item) == len(transfer.stored)
        assert max(transfer.progress) <= COUNT
        if error is None:
            assert transfer.items == list(range(COUNT))
            assert transfer.progress[-1] == COUNT
        else:
            assert transfer.progress[-1] == len(transfer.stored)


def transferred(peer: Peer, *, slots: int = SLOTS, limit: int = SLOTS, hedging: bool = True) -> Result:
    """Run 60 items of a second each; nothing is left running, in flight, or counted twice."""

    async def main() -> Result:
        limiter = Limiter(tasks=1, slots=slots)
        error = None
        with limiter.share(limit, usual=limit) as share:
            transfer = Transfer(peer, share, hedging=hedging)
            try:
                await transfer.window.run(numbers(COUNT))
            except CosxferError as failure:
                error = failure
        assert not others()
        return Result(peer, transfer, limiter, error, asyncio.get_running_loop().time())

    return run_in_virtual_time(main())


def test_a_transfer_without_stragglers_sends_nothing_twice() -> None:
    result = transferred(Peer())
    assert not result.peer.hedges
    assert result.end == pytest.approx(12.0)


def test_a_straggler_is_sent_again_when_it_has_taken_twice_the_usual_time_and_the_first_success_wins() -> None:
    result = transferred(Peer(item59=by_request(takes(100.0), takes(1.0))))
    assert result.peer.hedges == [(pytest.approx(13.0), LAST)]
    assert result.by_item[LAST] == "hedge"
    assert result.peer.cancelled == [(LAST, False)]
    assert result.end == pytest.approx(14.0)


def test_a_hedge_that_loses_is_cancelled() -> None:
    result = transferred(Peer(item59=by_request(takes(2.5), takes(100.0))))
    assert len(result.peer.hedges) == 1
    assert result.by_item[LAST] == "first"
    assert result.peer.cancelled == [(LAST, True)]
    assert result.end == pytest.approx(13.5)


def test_a_straggler_is_hedged_once_however_long_both_take() -> None:
    result = transferred(Peer(item59=by_request(takes(500.0), takes(300.0))))
    assert len(result.peer.hedges) == 1
    assert result.by_item[LAST] == "hedge"


def test_a_straggler_in_the_middle_waits_for_an_idle_slot() -> None:
    result = transferred(Peer(item20=by_request(takes(100.0), takes(1.0))))
    (began, item), *more = result.peer.hedges
    assert (item, more) == (20, [])
    # The others are sent by four requests from then on; the first idle slot is at their end.
    assert began >= 13.0
    assert result.by_item[20] == "hedge"
    assert result.end < 20.0


def test_no_hedge_goes_beyond_the_limit_of_the_transfer() -> None:
    result = transferred(Peer(item20=by_request(takes(100.0), takes(1.0))), slots=50)
    assert result.peer.hedges[0][0] >= 13.0


def test_no_hedge_takes_a_slot_that_another_transfer_waits_for() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=2, slots=SLOTS)
        share, other = limiter.share(SLOTS, usual=SLOTS), limiter.share(SLOTS, usual=SLOTS)
        straggling, waiting = Peer(item59=by_request(takes(9.0), takes(1.0))), Peer()
        transfers = [Transfer(straggling, share), Transfer(waiting, other)]
        await asyncio.gather(*(transfer.window.run(numbers(COUNT)) for transfer in transfers))
        assert all(transfer.items == list(range(COUNT)) for transfer in transfers)
        ended = max(began for began, _, _ in waiting.begun)
        assert all(began >= ended for began, _ in straggling.hedges)

    run_in_virtual_time(main())


def test_hedges_are_a_twentieth_at_most() -> None:
    slow = by_request(takes(100.0), takes(1.0))
    result = transferred(Peer(item20=slow, item30=slow, item40=slow, item50=slow, item59=slow), slots=9, limit=9)
    assert len(result.peer.hedges) == COUNT // 20


def test_without_hedging_nothing_is_sent_twice() -> None:
    result = transferred(Peer(item59=by_request(takes(100.0), takes(1.0))), hedging=False)
    assert not result.peer.hedges
    assert result.by_item[LAST] == "first"


def test_a_hedge_that_fails_changes_nothing() -> None:
    refused = AccessDeniedError("no", status=403, code="AccessDenied")
    result = transferred(Peer(item59=by_request(takes(50.0), fails(1.0, refused))))
    assert result.error is None
    assert len(result.peer.hedges) == 1
    assert result.by_item[LAST] == "first"


def test_a_first_request_that_fails_for_a_passing_reason_leaves_it_to_the_hedge() -> None:
    result = transferred(Peer(item59=by_request(fails(4.0, TransportError("broke")), takes(10.0))))
    assert result.error is None
    assert result.by_item[LAST] == "hedge"


@pytest.mark.parametrize(("first", "hedge"), [(4.0, 10.0), (10.0, 4.0)])
def test_if_both_fail_the_error_is_that_of_the_first_request(first: float, hedge: float) -> None:
    errors = TransportError("the first"), TransportError("the hedge")
    result = transferred(Peer(item59=by_request(fails(first, errors[0]), fails(hedge, errors[1]))))
    assert result.error is errors[0]
    assert result.transfer.window.failed_item == LAST


def test_a_first_request_that_fails_for_good_does_not_wait_for_its_hedge() -> None:
    refused = AccessDeniedError("no", status=403, code="AccessDenied")
    result = transferred(Peer(item59=by_request(fails(4.0, refused), takes(100.0))))
    assert result.error is refused
    assert result.peer.cancelled == [(LAST, True)]


def test_a_hedge_that_finds_the_source_changed_ends_the_transfer() -> None:
    changed = SourceChangedError("changed", path="f", changed="mtime")
    result = transferred(Peer(item59=by_request(takes(100.0), fails(1.0, changed))))
    assert result.error is changed


def test_progress_counts_the_request_that_has_sent_more() -> None:
    async def first(request: Request[int]) -> str:
        request.sent(70)
        await asyncio.sleep(100.0)
        return ""

    async def hedge(request: Request[int]) -> str:
        for _ in range(10):
            request.sent(10)
            await asyncio.sleep(0.1)
        return ""

    async def main() -> None:
        with share_of(SLOTS) as share:
            peer = Peer(item59=by_request(first, hedge))
            transfer = Transfer(peer, share, size=lambda _: 100)
            await transfer.window.run(numbers(COUNT))
            # The 59 others send one byte each here.
            assert transfer.progress == sorted(transfer.progress)
            assert transfer.progress[-1] == LAST + 100

    run_in_virtual_time(main())


@pytest.mark.parametrize("seconds", [0.5, 11.5, 12.5, 13.0, 13.5, 13.999])
def test_a_transfer_that_is_cancelled_leaves_nothing_running(seconds: float) -> None:
    async def main() -> None:
        limiter = Limiter(tasks=1, slots=SLOTS)
        with limiter.share(SLOTS, usual=SLOTS) as share:
            peer = Peer(item59=by_request(takes(100.0), takes(1.0)))
            transfer = Transfer(peer, share)
            task = asyncio.create_task(transfer.window.run(numbers(COUNT)))
            await asyncio.sleep(seconds)
            assert bool(peer.hedges) == (seconds > 13.0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert not others()
        assert limiter.in_flight == limiter.bytes_in_flight == 0
        assert transfer.progress[-1] == len(transfer.stored)
        begun = len(peer.begun)
        await asyncio.sleep(1000.0)
        assert len(peer.begun) == begun

    run_in_virtual_time(main())


def test_nothing_wakes_up_while_nothing_straggles(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    look = Window._look

    def noted(self: Window[int, str]) -> None:
        looks.append(asyncio.get_running_loop().time())
        look(self)

    monkeypatch.setattr(Window, "_look", noted)
    quiet = transferred(Peer(item59=by_request(takes(5000.0), takes(1.0))), hedging=False)
    # Parts begin and end each second until 12 s. Then there is one request, and nothing can become of it.
    assert not [time for time in looks if 13.0 < time < 5000.0]
    assert len(looks) <= 4 * 14
    assert quiet.end == pytest.approx(5011.0)


# -- overdue ----------------------------------------------------------------------------------------------------------


def test_an_attempt_that_is_overdue_is_ended_with_the_figures_in_its_reason() -> None:
    reasons: list[tuple[float, str]] = []

    async def slow(request: Request[int]) -> str:
        ended = asyncio.get_running_loop().create_future()
        request.begins(ended.set_result)
        reason = await ended
        reasons.append((asyncio.get_running_loop().time(), reason))
        request.ends()
        request.sent(1)
        return "second attempt"

    async def main() -> None:
        with share_of(SLOTS) as share:
            transfer = Transfer(Peer(item5=slow), share, hedging=False)
            await transfer.window.run(numbers(4 * 80))
        assert dict(transfer.stored)[5] == "second attempt"

    run_in_virtual_time(main())
    assert reasons == [(pytest.approx(61.0), "not finished after 60 s, though other parts take 1.0 s")]


# -- giving up --------------------------------------------------------------------------------------------------------


def test_what_is_given_up_is_sent_again_and_nothing_is_lost() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=3, slots=12)
        peers = [Peer() for _ in range(3)]
        transfers = [Transfer(peer, limiter.share(8, usual=8), hedging=False) for peer in peers]
        running = [asyncio.create_task(transfer.window.run(numbers(COUNT))) for transfer in transfers]
        await asyncio.sleep(3.5)
        assert limiter.in_flight == 12
        begun = {(index, item): began for index, peer in enumerate(peers) for began, item, _ in peer.begun}
        assert limiter.abandon() == 0
        limiter.resize(slots=5)
        assert limiter.abandon() == 7
        assert limiter.abandon() == 0, "the first call's were counted again"
        await turns()
        assert limiter.in_flight == 5
        cancelled = {(index, item) for index, peer in enumerate(peers) for item, _ in peer.cancelled}
        assert len(cancelled) == 7
        kept = {key for key, began in begun.items() if began == 3.0} - cancelled
        assert len(kept) == 5
        limiter.resize(slots=9)
        await asyncio.gather(*running)
        for transfer, peer in zip(transfers, peers, strict=True):
            assert transfer.items == list(range(COUNT))
            assert transfer.progress[-1] == COUNT
            assert len(peer.begun) == COUNT + len(peer.cancelled)
        assert limiter.in_flight == limiter.bytes_in_flight == 0

    run_in_virtual_time(main())


def test_the_youngest_of_all_transfers_are_given_up() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=2, slots=4)
        old, young = Peer(), Peer()
        transfers = [Transfer(peer, limiter.share(2, usual=2), hedging=False) for peer in (old, young)]
        first = asyncio.create_task(transfers[0].window.run(numbers(2)))
        await asyncio.sleep(0.5)
        second = asyncio.create_task(transfers[1].window.run(numbers(2)))
        await asyncio.sleep(0.25)
        limiter.resize(slots=3)
        assert limiter.abandon() == 1
        await turns()
        assert (old.cancelled, young.cancelled) == ([], [(1, False)])
        await asyncio.gather(first, second)
        assert [item for _, item, _ in young.begun] == [0, 1, 1]

    run_in_virtual_time(main())


def test_an_item_that_was_given_up_goes_before_those_that_are_ready() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=1, slots=3)
        peer = Peer()
        transfer = Transfer(peer, limiter.share(3, usual=3), hedging=False)
        task = asyncio.create_task(transfer.window.run(numbers(9)))
        await asyncio.sleep(0.5)
        limiter.resize(slots=1)
        assert limiter.abandon() == 2
        await asyncio.sleep(0)
        await task
        # Item 3 waited for its slot already.
        assert sorted([item for _, item, _ in peer.begun][3:6]) == [1, 2, 3]
        assert transfer.items == list(range(9))

    run_in_virtual_time(main())


def test_of_a_straggler_the_hedge_is_given_up_and_the_first_request_goes_on() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=1, slots=SLOTS)
        peer = Peer(item59=by_request(takes(20.0), takes(100.0)))
        transfer = Transfer(peer, limiter.share(SLOTS, usual=SLOTS))
        task = asyncio.create_task(transfer.window.run(numbers(COUNT)))
        await asyncio.sleep(15.0)
        assert len(peer.hedges) == 1
        limiter.resize(slots=1)
        assert limiter.abandon() == 1
        await task
        assert peer.cancelled == [(LAST, True)]
        assert dict(transfer.stored)[LAST] == "first"
        assert len(peer.hedges) == 1

    run_in_virtual_time(main())


def test_a_hedge_that_is_given_up_after_the_first_request_has_failed_is_no_failure() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=2, slots=SLOTS + 1)
        tries: list[Work] = [fails(4.0, TransportError("broke")), takes(1.0)]

        async def first(request: Request[int]) -> str:
            return await tries.pop(0)(request)

        peer = Peer(item59=by_request(first, takes(100.0)))
        transfer = Transfer(peer, limiter.share(SLOTS, usual=SLOTS))
        task = asyncio.create_task(transfer.window.run(numbers(COUNT)))
        await asyncio.sleep(16.0)
        other = limiter.share(1, usual=1)
        await other.acquire(1)
        limiter.resize(slots=1)
        assert limiter.abandon() == 1
        await asyncio.sleep(1.0)
        other.release(1)
        await task
        assert peer.cancelled == [(LAST, True)]
        assert dict(transfer.stored)[LAST] == "first"

    run_in_virtual_time(main())


def test_what_is_given_up_when_it_has_just_succeeded_is_a_success() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=1, slots=2)
        gates = [asyncio.Event() for _ in range(3)]

        async def work(request: Request[int]) -> str:
            await gates[request.item].wait()
            return ""

        transfer = Transfer(work, limiter.share(2, usual=2), hedging=False)
        task = asyncio.create_task(transfer.window.run(numbers(2)))
        await turns()
        gates[1].set()
        await asyncio.sleep(0)
        limiter.resize(slots=1)
        limiter.abandon()
        gates[0].set()
        await task
        assert transfer.items == [0, 1]

    asyncio.run(main())


def test_a_window_that_has_ended_is_asked_no_more() -> None:
    async def main() -> None:
        limiter = Limiter(tasks=1, slots=2)
        transfer = Transfer(at_once, limiter.share(2, usual=2))
        await transfer.window.run(numbers(3))
        limiter.resize(slots=1)
        assert limiter.abandon() == 0
        assert not limiter._abandonable

    asyncio.run(main())


def test_an_item_that_was_stored_holds_no_memory() -> None:
    class Item:
        pass

    held: list[weakref.ref[Item]] = []

    async def items() -> AsyncGenerator[Item, None]:
        for _ in range(COUNT):
            item = Item()
            held.append(weakref.ref(item))
            yield item
            del item

    async def work(request: Request[Item]) -> str:
        request.begins(lambda _: None)
        index = held.index(weakref.ref(request.item))
        # What ended before is gone, but for what a loop may still have in its hands.
        assert sum(ref() is not None for ref in held[:index]) <= 4 * SLOTS
        request.sent(1)
        await asyncio.sleep(50.0 if index == LAST and not request.hedge else 1.0)
        request.ends()
        return ""

    async def main() -> None:
        with share_of(SLOTS) as share:
            policy = HedgePolicy[Flight[Item]](hedging=True, stall_seconds=60.0)
            window = Window(
                work,
                lambda item, result: None,
                share=share,
                size_of=lambda _: LARGE,
                policy=policy,
                on_sent=lambda _: None,
            )
            await window.run(items())
            await turns()
            assert not [ref for ref in held if ref() is not None]

    gc.disable()
    try:
        run_in_virtual_time(main())
    finally:
        gc.enable()
