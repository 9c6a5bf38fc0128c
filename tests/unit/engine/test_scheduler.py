"""The scheduler: counters in, limits out. The tuner's own rules are tested in ``test_tuning.py``."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cosxfer.address import ObjectAddress
from cosxfer.config import ClientConfig
from cosxfer.endpoint_memory import EndpointMemory, endpoint_key
from cosxfer.engine.limiter import Left, Limiter
from cosxfer.engine.scheduler import DEMAND, IDLE_TICKS, TICK_SECONDS, Scheduler, tasks_for
from cosxfer.errors import ThrottledError
from cosxfer.limits import MIB
from cosxfer.observation import Observation, Totals
from cosxfer.ops.traffic import Traffic
from cosxfer.planning import PREFERRED_PART_BYTES, STREAM_SECONDS, plan_parts
from cosxfer.transport.base import Transport
from cosxfer.transport.native_pool import ConnectionLimits
from cosxfer.tuning_rules import LOCAL_SEED_LEVEL, NEAR_SEED_LEVEL, SEED_LEVEL, Decision, Learned

ADDRESS = ObjectAddress("examplebucket-1250000000", "k", None)


class Line:
    """A transport whose sockets hold ``unacknowledged`` bytes, and whose I/O threads took ``thread_seconds``."""

    unacknowledged = 0
    round_trip = 0.0
    thread_seconds: tuple[float, ...] = ()

    def unacknowledged_bytes(self) -> int:
        return self.unacknowledged

    def io_thread_seconds(self) -> list[float]:
        return [*self.thread_seconds]

    def round_trip_seconds(self) -> float:
        return self.round_trip


class Bench:
    """A scheduler with a clock that a test moves."""

    def __init__(self, config: ClientConfig) -> None:
        self.now = 1000.0
        self.limiter = Limiter(tasks=1, slots=1)
        self.traffic = Traffic()
        self.line = Line()
        self.executor = ThreadPoolExecutor(1)
        self.tasks_wait = False
        self.scheduler = Scheduler(
            config,
            self.limiter,
            self.traffic,
            self.line,  # type: ignore[arg-type]
            executor=self.executor,
            work_waits=lambda: self.tasks_wait,
            clock=lambda: self.now,
        )

    async def tick(self, count: int = 1, *, sent: int = 0) -> None:
        """Let ticks pass; in each, ``sent`` bytes are sent and acknowledged."""
        for _ in range(count):
            self.now += TICK_SECONDS
            self.traffic.sent_bytes += sent
            if self.scheduler._timer is not None:
                self.scheduler._tick_now()
            await asyncio.sleep(0)

    async def send_small_until_refused(self, ticks: int, *, requests: int) -> None:
        """Fill all slots with small requests, finish so many in each tick, and have one refused."""
        self.tasks_wait = True
        for _ in range(SEED_LEVEL):
            await self.limiter.single.acquire(1000)
        for _ in range(ticks):
            self.traffic.requests_done += requests
            await self.tick(sent=30_000)
        self.traffic.note_failure(ThrottledError("slow down", status=503), asked_seconds=0.0)
        await self.tick()
        assert self.limiter.paced

    def release_all(self) -> None:
        """End what `send_small_until_refused` has begun."""
        for _ in range(SEED_LEVEL):
            self.limiter.single.release(1000)


def config(**settings: object) -> ClientConfig:
    return ClientConfig(endpoint_memory=False, **settings)  # type: ignore[arg-type]


def with_bench(test: Callable[[Bench], Awaitable[None]], settings: ClientConfig) -> None:
    async def main() -> None:
        bench = Bench(settings)
        try:
            await test(bench)
        finally:
            await bench.scheduler.aclose()
            bench.executor.shutdown()

    asyncio.run(main())


def http2_connections(level: int) -> int:
    """Connections of HTTP/2 at this level."""
    limits = ConnectionLimits()
    limits.resize(level)
    return limits.http2


def test_a_client_starts_from_the_seed_and_runs_some_tasks_more() -> None:
    async def test(bench: Bench) -> None:
        limiter = bench.limiter
        assert (limiter.slots, limiter.tasks) == (SEED_LEVEL, tasks_for(SEED_LEVEL))
        assert limiter.max_demand == DEMAND * SEED_LEVEL
        assert limiter.max_bytes == 192 * MIB
        assert limiter.connections.http2 == http2_connections(SEED_LEVEL)
        assert limiter.link is not None
        assert limiter.link.slots == SEED_LEVEL

    with_bench(test, config())


def test_a_transfer_is_planned_for_the_distance_that_the_first_connection_measured() -> None:
    async def test(bench: Bench) -> None:
        limiter = bench.limiter
        known = limiter.link_for(256, receives=True)
        assert known is not None
        assert known.slots == limiter.slots == SEED_LEVEL
        bench.line.round_trip, bench.traffic.latency_seconds = 0.00003, 0.002
        known = limiter.link_for(256, receives=True)
        assert known is not None
        assert known.slots == limiter.slots == LOCAL_SEED_LEVEL
        assert known.stream_bytes_per_second is not None
        assert STREAM_SECONDS * known.stream_bytes_per_second == pytest.approx(32 * MIB, rel=0.05)
        bench.line.round_trip = 0.2
        known = limiter.link_for(256, receives=True)
        assert known is not None
        assert (known.slots, known.stream_bytes_per_second) == (LOCAL_SEED_LEVEL, None)

    with_bench(test, config())


@pytest.mark.parametrize(
    ("receives", "latency", "slots"),
    [(True, 0.05, SEED_LEVEL), (True, 0.0, SEED_LEVEL), (False, 0.05, SEED_LEVEL), (False, 0.0, SEED_LEVEL)],
    ids=["a proxy on this machine", "no response yet", "an upload through a proxy", "an upload without a response"],
)
def test_few_connections_and_large_parts_are_for_a_server_that_answers_at_once(
    receives: bool, latency: float, slots: int
) -> None:
    async def test(bench: Bench) -> None:
        bench.line.round_trip, bench.traffic.latency_seconds = 0.00003, latency
        known = bench.limiter.link_for(256, receives=receives)
        assert known is not None
        assert (known.slots, known.stream_bytes_per_second) == (slots, None)

    with_bench(test, config())


def test_an_upload_to_this_machine_has_large_parts_and_many_connections() -> None:
    async def test(bench: Bench) -> None:
        bench.line.round_trip, bench.traffic.latency_seconds = 0.00003, 0.002
        known = bench.limiter.link_for(256)
        assert known is not None
        assert known.slots == bench.limiter.slots == SEED_LEVEL
        assert known.local
        bench.line.round_trip = 0.0005
        known = bench.limiter.link_for(256)
        assert known is not None
        assert not known.local
        assert known.slots == bench.limiter.slots == SEED_LEVEL  # the parts in flight stay
        assert plan_parts(2048 * MIB, known=known, window_bytes=2048 * MIB).part_size_bytes == PREFERRED_PART_BYTES

    with_bench(test, config())


def test_an_upload_to_a_near_server_has_fewer_connections() -> None:
    async def test(bench: Bench) -> None:
        bench.line.round_trip, bench.traffic.latency_seconds = 0.0005, 0.002
        known = bench.limiter.link_for(256)
        assert known is not None
        assert known.slots == bench.limiter.slots == NEAR_SEED_LEVEL
        assert not known.local

    with_bench(test, config())


def test_uploads_are_planned_with_the_time_of_a_response_and_downloads_without() -> None:
    async def test(bench: Bench) -> None:
        for seconds in (0.05, 0.004):
            bench.traffic.latency_seconds = seconds
            upload, download = bench.limiter.link_for(8), bench.limiter.link_for(8, receives=True)
            assert upload is not None
            assert download is not None
            assert (upload.response_seconds, download.response_seconds) == (seconds, None)

    with_bench(test, config())


def test_the_first_range_counts_as_the_first_response() -> None:
    async def test(bench: Bench) -> None:
        bench.line.round_trip = 0.00003
        share = bench.limiter.share(256, usual=256)
        await share.acquire(MIB, 0)
        bench.now += 0.01
        known = bench.limiter.link_for(256, receives=True)
        assert known is not None
        assert known.slots == LOCAL_SEED_LEVEL

    with_bench(test, config())


def test_a_wall_is_kept_whatever_the_distance() -> None:
    async def test(bench: Bench) -> None:
        bench.line.round_trip, bench.traffic.latency_seconds = 0.00003, 0.002
        bench.limiter.link_for(256, receives=True)
        assert bench.limiter.slots == 100

    with_bench(test, config(concurrency=100))


@pytest.mark.parametrize(
    ("settings", "slots", "tasks"),
    [
        ({"concurrency": 4, "file_parallel_limit": 3}, 12, 3),
        ({"file_parallel_limit": 2}, SEED_LEVEL, 2),
        ({"concurrency": 100}, 100, tasks_for(100)),
    ],
)
def test_numbers_are_walls(settings: dict[str, int], slots: int, tasks: int) -> None:
    async def test(bench: Bench) -> None:
        assert (bench.limiter.slots, bench.limiter.tasks) == (slots, tasks)

    with_bench(test, config(**settings))


def test_a_rising_goodput_raises_the_level_and_the_limits_follow() -> None:
    async def test(bench: Bench) -> None:
        share = bench.limiter.share(256, usual=256)
        share.tell_left(lambda: Left(2000, 2000 * MIB))  # too little for a look at a lower level
        for _ in range(SEED_LEVEL):
            await share.acquire(MIB, 0)
        for _ in range(10):
            await bench.tick(sent=bench.limiter.in_flight * MIB)
            while bench.limiter.in_flight < bench.limiter.slots:
                await share.acquire(MIB, 0)
        level = bench.limiter.slots
        assert level > SEED_LEVEL
        assert bench.limiter.tasks == tasks_for(level)
        assert bench.limiter.connections.http2 > http2_connections(SEED_LEVEL)

    with_bench(test, config())


def test_files_that_are_seldom_in_flight_do_not_lower_the_level_to_one() -> None:
    """Small files spend most of their time with the disk and the hash: a look finds few requests in flight."""

    async def test(bench: Bench) -> None:
        bench.tasks_wait = True
        single = bench.limiter.single
        assert single.try_acquire(1)
        for _ in range(5):
            for _ in range(7):
                assert single.try_acquire(MIB)
            for _ in range(7):
                single.release(MIB)
            bench.traffic.requests_done += 7
            await bench.tick(sent=7 * MIB)
        assert bench.limiter.slots == 8

    with_bench(test, config(file_parallel_limit=8))


def test_fixed_limits_do_not_move() -> None:
    async def test(bench: Bench) -> None:
        share = bench.limiter.share(4, usual=4)
        for _ in range(4):
            await share.acquire(MIB)
        sent = MIB
        for _ in range(30):
            await bench.tick(sent=sent)
            sent *= 2
        assert (bench.limiter.slots, bench.limiter.tasks, bench.limiter.max_demand) == (12, 3, None)

    with_bench(test, config(concurrency=4, file_parallel_limit=3))


def test_what_sockets_hold_is_not_goodput() -> None:
    async def test(bench: Bench) -> None:
        await bench.limiter.single.acquire(MIB)
        bench.traffic.sent_bytes = bench.line.unacknowledged = 100 * MIB
        await bench.tick()
        assert bench.scheduler.totals.bytes_acked == 0
        bench.line.unacknowledged = 30 * MIB
        await bench.tick()
        assert bench.scheduler.totals.bytes_acked == 70 * MIB

    with_bench(test, config())


def test_a_busy_io_thread_is_seen() -> None:
    async def test(bench: Bench) -> None:
        await bench.limiter.single.acquire(MIB)
        bench.line.thread_seconds = (5.0,)
        await bench.tick(sent=MIB)
        before = bench.scheduler._before
        bench.line.thread_seconds = (5.0 + 0.95 * TICK_SECONDS, 0.5 * TICK_SECONDS)  # the second one is new
        await bench.tick(sent=MIB)
        after = bench.scheduler._before
        assert after.busiest_thread_seconds(before) == pytest.approx(0.95 * TICK_SECONDS, abs=1e-9)
        assert before.busiest_thread_seconds(before) == 0

    with_bench(test, config())


def test_a_report_of_the_transport_that_comes_one_look_later_is_not_taken_for_a_change() -> None:
    async def test(bench: Bench) -> None:
        seen: list[tuple[float, float]] = []

        class Noted(Totals):
            def add(self, seen_now: Observation) -> None:
                seen.append((round(seen_now.seconds, 3), seen_now.bytes_acked))

        bench.scheduler.totals = Noted(cores=1)
        share = bench.limiter.share(256, usual=256)
        for _ in range(SEED_LEVEL):
            await share.acquire(MIB, 0)
        await bench.tick(sent=MIB)
        await bench.tick(sent=0)
        await bench.tick(sent=2 * MIB)
        await bench.tick(5, sent=0)
        assert seen[-3:] == [(0.1, MIB), (0.2, 2 * MIB), (0.5, 0)]

    with_bench(test, config())


def test_a_refusal_lowers_the_level_at_once_and_retry_after_pauses() -> None:
    async def test(bench: Bench) -> None:
        share = bench.limiter.share(256, usual=256)
        for _ in range(SEED_LEVEL):
            await share.acquire(MIB, 0)
        await bench.tick(sent=MIB)
        bench.traffic.note_failure(ThrottledError("slow down", status=503), asked_seconds=3.0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert bench.limiter.slots < SEED_LEVEL
        assert bench.limiter.paused
        await bench.tick(29)
        assert bench.limiter.paused
        await bench.tick(3)
        assert not bench.limiter.paused

    with_bench(test, config())


def test_the_clock_runs_on_if_a_pause_ends_while_nothing_is_in_flight() -> None:
    """Else the end of the pause would be in the future again, as far as the client has run."""

    async def test(bench: Bench) -> None:
        single = bench.limiter.single
        await single.acquire(1)
        await bench.tick(200, sent=1)
        bench.traffic.note_failure(ThrottledError("slow down", status=503), asked_seconds=2.0)
        await bench.tick()
        assert bench.limiter.paused
        single.release(1)
        later = asyncio.ensure_future(single.acquire(1))
        before = bench.scheduler._before.at
        await bench.tick(25, sent=1)
        assert later.done()
        assert not bench.limiter.paused
        assert bench.scheduler._before.at > before + 2.0

    with_bench(test, config())


def test_small_requests_start_at_the_rate_that_the_server_accepts() -> None:
    async def test(bench: Bench) -> None:
        single = bench.limiter.single
        await bench.send_small_until_refused(20, requests=30)
        bench.release_all()
        waiting = [asyncio.ensure_future(single.acquire(1000)) for _ in range(400)]
        begun = []
        for _ in range(10):
            before = sum(task.done() for task in waiting)
            await bench.tick()
            begun.append(sum(task.done() for task in waiting) - before)
            for _ in range(begun[-1]):
                single.release(1000)
        # About 600 requests in 2 seconds: at least 200 a second, if the server granted a burst of a second.
        assert begun[0] == 0, "nothing starts for a moment after a refusal"
        assert all(count <= 30 for count in begun), begun
        assert sum(begun) >= 60, begun
        for task in waiting:
            task.cancel()

    with_bench(test, config())


def test_requests_that_are_sent_again_count_against_the_rate() -> None:
    async def test(bench: Bench) -> None:
        await bench.send_small_until_refused(20, requests=30)
        await bench.tick(9)
        bench.release_all()
        assert not bench.limiter.held
        # 200 a second were saved up for 0.3 s: 60, and 20 more in a tick.
        bench.traffic.retries += 100
        await bench.tick()
        assert bench.limiter.held

    with_bench(test, config())


def test_the_trace_and_the_verdict_say_that_the_server_holds_requests_back(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        single = bench.limiter.single
        await bench.send_small_until_refused(10, requests=0)
        bench.release_all()
        waiting = [asyncio.ensure_future(single.acquire(1000)) for _ in range(400)]
        await bench.tick(8)
        for task in waiting:
            task.cancel()

    path = tmp_path / "trace"
    with_bench(test, config(trace=path))
    ticks = [tick for tick in map(json.loads, path.read_text().splitlines()) if tick["type"] == "tick"]
    assert ticks[-1]["limited_by"] == "server"
    assert ticks[-1]["requests_per_second"] >= 1.0
    assert "requests_per_second" not in ticks[0]


def test_a_rate_lets_a_request_start_although_the_client_was_idle() -> None:
    async def test(bench: Bench) -> None:
        single = bench.limiter.single
        await single.acquire(1000)
        await bench.tick(sent=1000)
        bench.traffic.note_failure(ThrottledError("slow down", status=503), asked_seconds=0.0)
        bench.tasks_wait = True
        await bench.tick()
        bench.tasks_wait = False
        assert bench.limiter.paced
        single.release(1000)
        bench.limiter.charge(3)
        await bench.tick(8 * IDLE_TICKS)
        later = asyncio.ensure_future(single.acquire(1000))
        await bench.tick(2)
        assert later.done()

    with_bench(test, config())


def test_a_pause_ends_although_nothing_is_in_flight_any_more() -> None:
    async def test(bench: Bench) -> None:
        single = bench.limiter.single
        await single.acquire(1)
        await bench.tick(sent=1)
        bench.traffic.note_failure(ThrottledError("slow down", status=503), asked_seconds=20.0)
        await bench.tick()
        assert bench.limiter.paused
        single.release(1)
        await bench.tick(5 * IDLE_TICKS)
        later = asyncio.ensure_future(single.acquire(1))
        await bench.tick(170)
        assert later.done()

    with_bench(test, config())


def test_without_requests_the_timer_ends_and_its_clock_stands() -> None:
    async def test(bench: Bench) -> None:
        single = bench.limiter.single
        await single.acquire(1)
        assert bench.scheduler._timer is not None
        await bench.tick()
        single.release(1)
        await bench.tick(IDLE_TICKS)
        assert bench.scheduler._timer is None
        seconds = bench.scheduler.totals.seconds
        bench.now += 3600
        await single.acquire(1)
        assert bench.scheduler._timer is not None
        await bench.tick()
        assert bench.scheduler.totals.seconds <= seconds + 2 * TICK_SECONDS

    with_bench(test, config())


def test_a_client_starts_from_what_an_earlier_one_has_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSXFER_STATE_DIR", str(tmp_path))
    settings = ClientConfig(endpoint="https://example.com")
    memory = EndpointMemory(tmp_path)
    memory.remember(endpoint_key(settings), Learned(level=80, stream_bytes_per_second=5e6))

    async def test(bench: Bench) -> None:
        await bench.limiter.single.acquire(1)
        assert bench.scheduler._recalling is not None
        await bench.scheduler._recalling
        assert bench.limiter.slots == 80
        assert bench.limiter.link is not None
        assert (bench.limiter.link.slots, bench.limiter.link.stream_bytes_per_second) == (80, 5e6)

    with_bench(test, settings)


def test_what_was_learned_is_remembered_when_the_client_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSXFER_STATE_DIR", str(tmp_path))
    settings = ClientConfig(endpoint="https://example.com")

    async def test(bench: Bench) -> None:
        share = bench.limiter.share(256, usual=256)
        for _ in range(SEED_LEVEL):
            await share.acquire(MIB, 0)
        await bench.tick(30, sent=MIB)

    with_bench(test, settings)
    assert EndpointMemory(tmp_path).recall(endpoint_key(settings)) is not None


def test_a_trace_has_the_ticks_and_the_transfers(tmp_path: Path) -> None:
    path = tmp_path / "trace"

    async def test(bench: Bench) -> None:
        observed = bench.limiter.single.observe(ADDRESS, size=5)
        assert observed is not None
        await bench.limiter.single.acquire(5)
        await bench.tick(3, sent=MIB)
        assert observed.judge(parts=1).bound_by
        observed.end(None)
        broken = bench.limiter.single.observe(ADDRESS, size=None)
        assert broken is not None
        broken.end(ValueError("broken"))

    with_bench(test, config(trace=str(path)))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["name"] for line in lines if line["type"] == "event"] == ["begun", "ended", "begun", "failed"]
    assert sum(line.get("bytes_acked", 0) for line in lines if line["type"] == "tick") == 3 * MIB


def test_a_transport_that_does_not_count_is_taken_at_its_word() -> None:
    async def main() -> None:
        traffic, limiter = Traffic(), Limiter(tasks=1, slots=1)
        transport: Transport = object()  # type: ignore[assignment]
        with ThreadPoolExecutor(1) as executor:
            scheduler = Scheduler(config(), limiter, traffic, transport, executor=executor, work_waits=lambda: False)
            await limiter.single.acquire(1)
            traffic.sent_bytes = 7
            scheduler._tick_now()
            assert scheduler.totals.bytes_acked == 7
            await scheduler.aclose()

    asyncio.run(main())


def test_the_tuner_learns_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(bench: Bench) -> None:
        told: list[tuple[float, float]] = []
        sent: list[float] = []
        observe = bench.scheduler._tuner.observe

        def recorded(now: float, **counters: Any) -> Decision:
            told.append((counters["requests_left"], counters["bytes_left"]))
            sent.append(counters["sent_in_flight"])
            return observe(now, **counters)

        monkeypatch.setattr(bench.scheduler._tuner, "observe", recorded)
        share, single = bench.limiter.share(8, usual=8), bench.limiter.single
        share.tell_left(lambda: Left(10, 10 * MIB))
        await share.acquire(MIB)
        await bench.tick(sent=MIB)
        assert told[-1] == (10, 10 * MIB)
        await single.acquire(5)
        await bench.tick(sent=MIB)
        assert told[-1] == (11, 10 * MIB + 5)
        # What the requests in flight have sent is left no longer, once the server has it.
        bench.traffic.open_bytes = 3 * MIB // 4
        bench.line.unacknowledged = MIB // 4
        await bench.tick(sent=MIB)
        assert (told[-1], sent[-1]) == ((11, 19 * MIB // 2 + 5), MIB // 2)
        bench.traffic.open_bytes = 9 * MIB  # a request that was given up has not ended yet
        await bench.tick(sent=MIB)
        assert (told[-1], sent[-1]) == ((11, 9 * MIB), MIB + 5)
        bench.traffic.open_bytes = bench.line.unacknowledged = 0
        bench.tasks_wait = True  # nobody knows how large they are
        await bench.tick(sent=MIB)
        assert told[-1] == (math.inf, math.inf)
        bench.tasks_wait = False
        share.release(MIB)
        share.tell_left(None)
        single.release(5)
        # The next transfer begins. As much as was sent before is expected.
        await single.acquire(7)
        await bench.tick(sent=MIB)
        assert told[-1] == (1, 5 * MIB)

    with_bench(test, config())
