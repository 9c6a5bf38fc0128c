"""How many threads a crew has, and how often it is looked at."""

from __future__ import annotations

import asyncio

import pytest

from cosxfer.engine import thread_count
from cosxfer.engine.thread_count import MAX_THREADS, ThreadCount


class Crew:
    """Threads that never begin with the file that waits since ``since``."""

    def __init__(self, since: float | None) -> None:
        self.since = since
        self.widths: list[int] = []

    def oldest(self) -> float | None:
        return self.since

    def set_width(self, width: int) -> None:
        self.widths.append(width)


async def looks(count: ThreadCount, how_many: int) -> None:
    """Look so often, as the timer of ``count`` would."""
    loop = asyncio.get_running_loop()
    count.file_comes(loop, loop.time())
    for _ in range(how_many):
        assert count._timer is not None
        count._timer.cancel()
        count._look(loop)


def test_a_file_that_waits_doubles_the_threads() -> None:
    crew = Crew(since=-1000.0)

    async def main() -> None:
        count = ThreadCount(crew)
        await looks(count, 10)
        count.stop()

    asyncio.run(main())
    assert crew.widths[:5] == [2, 4, 8, 16, 32]
    assert max(crew.widths) == MAX_THREADS


def test_a_file_that_comes_while_others_are_delivered_brings_no_second_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each timer makes the next one, so a second one would never end."""
    monkeypatch.setattr(thread_count, "PATIENCE_SECONDS", 0.001)
    delivered = 0

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def deliver() -> bool:
            nonlocal delivered
            delivered += 1
            count.file_comes(loop, loop.time())
            return True

        count = ThreadCount(Crew(since=None), deliver)
        count.file_comes(loop, loop.time())
        while delivered < 20:  # noqa: ASYNC110 # there is nothing to wait for
            await asyncio.sleep(0.001)
        timers = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        assert len([handle for handle in timers if getattr(handle._callback, "__self__", None) is count]) == 1
        count.stop()

    asyncio.run(main())


def test_nothing_is_looked_at_after_the_end() -> None:
    async def main() -> None:
        count = ThreadCount(Crew(since=None), lambda: count.stop() or True)  # type: ignore[func-returns-value]
        await looks(count, 1)
        assert count._timer is None

    asyncio.run(main())
