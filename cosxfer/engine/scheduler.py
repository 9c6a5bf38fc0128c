"""The scheduler: moves the limiter of a client to the level that its tuner finds, and records what it sees.

While requests are in flight, a timer reads the counters every 100 ms and asks `cosxfer.tuning.Tuner` how many requests
may be in flight. A refusal by the server is read at once. Without requests nothing runs, and the scheduler's clock
stands.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from itertools import zip_longest
from typing import ParamSpec, TypeVar
from weakref import WeakMethod

from cosxfer.address import ObjectAddress
from cosxfer.config import ClientConfig, window_bytes
from cosxfer.endpoint_memory import EndpointMemory, endpoint_key, state_directory
from cosxfer.engine.limiter import Left, Limiter
from cosxfer.models import Verdict
from cosxfer.observation import Observation, Totals, Wall
from cosxfer.ops.traffic import Traffic
from cosxfer.planning import LinkKnowledge
from cosxfer.records import dataclass
from cosxfer.threads import in_thread
from cosxfer.trace import Trace
from cosxfer.transport.base import Transport, io_thread_seconds, round_trip_seconds, unacknowledged_bytes
from cosxfer.tuning import Tuner
from cosxfer.tuning_rules import (
    LOCAL_RESPONSE_SECONDS,
    LOCAL_SECONDS,
    LOCAL_STREAM_BYTES_PER_SECOND,
    LOCAL_UPLOAD_SECONDS,
    MAX_LEVEL,
    Decision,
    Learned,
)
from cosxfer.verdict import Facts, judge
from cosxfer.walls import walls

P = ParamSpec("P")
R = TypeVar("R")

TICK_SECONDS = 0.1
IDLE_TICKS = 10
"""The timer ends after so many ticks without a request."""
LEAST_SPARE_TASKS = 4
DEMAND = 3
"""Tasks with several parts begin until they want this many times the slots: each waits for Initiate and Complete."""
LATE_SECONDS = 0.5
"""How long a look waits for a report of the transport. A busy machine delays it."""
FULL_RATE = 0.9
"""From this share of ``max_bytes_per_second`` on, the rate limit holds requests back."""


def tasks_for(level: int) -> int:
    """Return how many tasks keep ``level`` requests in flight: some more, which open or hash their files meanwhile."""
    return level + max(LEAST_SPARE_TASKS, level // 4)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Scheduler:
    """Drives the limiter of one client; used from its event loop.

    ``work_waits`` tells whether tasks wait for a place. ``executor`` runs what touches files.
    """

    def __init__(
        self,
        config: ClientConfig,
        limiter: Limiter,
        traffic: Traffic,
        transport: Transport,
        *,
        executor: Executor,
        work_waits: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._limiter = limiter
        self._traffic = traffic
        self._transport = transport
        self._executor = executor
        self._work_waits = work_waits
        self._clock = clock
        self._walls = walls(config)
        self._tuner = self._new_tuner(None)
        self._memory = EndpointMemory(state_directory(os.environ)) if self._remembers else None
        self._recalling: asyncio.Task[None] | None = None
        self._remembered: Learned | None = None
        self.totals = Totals(cores=usable_cores())
        """Sums over all ticks; `verdict.judge` takes the difference of two of them."""
        self._trace = None if config.trace is None else Trace(config.trace, config)
        self._timer: asyncio.TimerHandle | None = None
        self._running = False
        """From the first request on until the timer ends. During a look there is no timer, but the clock runs."""
        self._stopped_at: float | None = None
        self._stopped_seconds = 0.0
        """How long the timer did not run, the time before the first request included."""
        self._idle_ticks = 0
        self._look_is_due = False
        self._requests_per_second = math.inf
        self._hold_until = self._paced_at = 0.0
        self._acked_bytes = 0
        self._earlier_bytes = 0
        """Acknowledged when nothing was in flight: of earlier transfers."""
        self._before = _Counters()
        limiter.resize(max_bytes=window_bytes(config.memory_budget_bytes))
        limiter.when_busy(_weakly(self._begin))
        limiter.observe = _weakly(self._observe)
        limiter.before_plan = _weakly(self._seed)
        traffic.on_refused = _weakly(self._look_soon)
        self._move(self._tuner.level)

    @property
    def known(self) -> LinkKnowledge:
        """What is known of the link, for the part size."""
        learned = self._tuner.learned() or self._remembered
        response_seconds = self._traffic.latency_seconds or None
        if learned is None:
            return LinkKnowledge(slots=self._tuner.level, response_seconds=response_seconds)
        return LinkKnowledge(
            slots=learned.level,
            stream_bytes_per_second=learned.stream_bytes_per_second,
            response_seconds=response_seconds,
        )

    def _seed(self, receives: bool) -> float | None:
        """A transfer of many parts is about to be planned: how far is the server?

        Returns what a request brings at least if it is on this machine, else None. An upload to it starts with many
        parts: that costs less CPU, because the socket buffers take most of them at once.
        """
        level, trip = self._tuner.level, 0.0
        response_seconds = self._traffic.latency_seconds or self._clock() - self._stopped_seconds
        if response_seconds < LOCAL_RESPONSE_SECONDS:
            trip = round_trip_seconds(self._transport)
        local = 0 < trip < (LOCAL_SECONDS if receives else LOCAL_UPLOAD_SECONDS)
        stays = local and not receives
        if self._tuner.seed(self._traffic.latency_seconds, trip if receives else 0.0, stays=stays) != level:
            self._move(self._tuner.level)
        self._limiter.link = self.known
        return LOCAL_STREAM_BYTES_PER_SECOND if local else None

    # -- the timer ----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """A request starts, and none was in flight."""
        self._earlier_bytes = self._acked_bytes
        if self._running:
            return
        self._running = True
        now = self._clock()
        if self._stopped_at is None:
            self._stopped_seconds = now
            self._recall()
        else:
            self._stopped_seconds += now - self._stopped_at
        self._idle_ticks = 0
        self._start_timer()
        self._before = self._counters(now - self._stopped_seconds)
        self._look_soon()

    def _start_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick_now)

    def _tick_now(self) -> None:
        """The timer has fired."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._look()
        busy = self._limiter.in_flight or self._limiter.waiting
        self._idle_ticks = 0 if busy else self._idle_ticks + 1
        if self._idle_ticks < IDLE_TICKS or self._limiter.held:
            self._start_timer()  # only a look ends it
        else:
            self._running, self._stopped_at = False, self._clock()

    def _look_soon(self) -> None:
        # Not now: the limiter may be in the middle of a step.
        if self._running and not self._look_is_due:
            self._look_is_due = True
            asyncio.get_running_loop().call_soon(self._look)

    async def aclose(self) -> None:
        """End the timer, and remember what was learned."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._recalling is not None:
            self._recalling.cancel()
        if self._trace is not None:
            await in_thread(self._executor, self._trace.close)
        learned = self._tuner.learned()
        if self._memory is not None and learned is not None and learned != self._remembered:
            await in_thread(self._executor, self._memory.remember, endpoint_key(self._config), learned)

    # -- one look -----------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        self._look_is_due = False
        now = self._clock() - self._stopped_seconds
        limiter, traffic = self._limiter, self._traffic
        self._pace(now)
        # What the sockets hold has not arrived yet, and may be megabytes for each connection.
        unacknowledged = unacknowledged_bytes(self._transport)
        acked = max(self._acked_bytes, traffic.sent_bytes - unacknowledged)
        if self._is_stale(now, acked):
            return
        self._acked_bytes = acked
        waiting = limiter.waiting or self._work_waits()
        sent_in_flight = min(max(0, traffic.open_bytes - unacknowledged), limiter.bytes_in_flight)
        left = self._left(sent_in_flight)
        counters = self._counters(now)
        decision = self._tuner.observe(
            now,
            bytes_acked=self._acked_bytes,
            requests_done=traffic.requests_done,
            in_flight=limiter.in_flight,
            most_in_flight=limiter.take_most_in_flight(),
            bytes_in_flight=limiter.bytes_in_flight,
            sent_in_flight=sent_in_flight,
            waiting=waiting,
            requests_left=left.requests,
            bytes_left=left.size,
            latency_seconds=traffic.latency_seconds,
            busy_seconds=counters.busiest_thread_seconds(self._before),
            refused=traffic.refused,
            retry_after_seconds=traffic.retry_after_seconds,
        )
        if limiter.paced:
            limiter.charge(counters.retries - self._before.retries)  # they have their slots already
        self._record(counters, decision, waiting=waiting)
        self._obey(decision, now)

    def _left(self, sent_in_flight: int) -> Left:
        """What is left to send, as the tuner should see it: without what the requests in flight have sent.

        A client that has sent one file after the other will go on: it is expected to send as much again. Without that,
        it would never have the time for a probe.
        """
        if self._work_waits():
            return Left(math.inf, math.inf)
        left = self._limiter.left
        return Left(left.requests, max(left.size - sent_in_flight, self._earlier_bytes))

    def _is_stale(self, now: float, acked: int) -> bool:
        """Whether the next look has to tell what happened.

        The transport reports as often as this looks. A report that comes one look later would look like a goodput that
        falls to nothing and then doubles.
        """
        before, traffic = self._before, self._traffic
        changed = traffic.requests_done != before.requests_done or traffic.refused != before.refused
        if changed or acked > self._acked_bytes or not before.at:
            return False
        return now - before.at < LATE_SECONDS

    def _pace(self, now: float) -> None:
        """Let requests start as the last decision says, for the time since the last look."""
        seconds, self._paced_at = now - self._paced_at, now
        self._limiter.pace(self._requests_per_second, seconds)
        paused = now < self._hold_until
        if paused != self._limiter.paused:
            self._limiter.pause(paused)

    def _obey(self, decision: Decision, now: float) -> None:
        if decision.changed:
            self._move(decision.level)
        if decision.abandon and not self._walls.are_fixed:
            self._limiter.abandon()
        self._requests_per_second, self._hold_until = decision.requests_per_second, decision.hold_until
        self._pace(now)

    def _move(self, level: int) -> None:
        tasks = tasks_for(level) if self._walls.tasks is None else self._walls.tasks
        self._limiter.resize(slots=level, tasks=tasks, max_demand=None if self._walls.are_fixed else DEMAND * level)
        self._limiter.connections.resize(level)
        self._limiter.link = self.known

    # -- what it saw --------------------------------------------------------------------------------------------------

    def _counters(self, now: float) -> _Counters:
        traffic = self._traffic
        return _Counters(
            at=now,
            acked_bytes=self._acked_bytes,
            requests_done=traffic.requests_done,
            refused=traffic.refused,
            retries=traffic.retries,
            cpu_seconds=time.process_time(),
            thread_seconds=(time.thread_time(), *io_thread_seconds(self._transport)),
            hashing_seconds=self._limiter.hashing_seconds,
        )

    def _record(self, after: _Counters, decision: Decision, *, waiting: bool) -> None:
        before = self._before
        self._before = after
        limiter = self._limiter
        seconds = after.at - before.at
        seen = Observation(
            at=after.at,
            seconds=seconds,
            level=limiter.slots,
            reason=decision.reason,
            in_flight=limiter.in_flight,
            waiting=waiting,
            bytes_acked=after.acked_bytes - before.acked_bytes,
            requests_done=after.requests_done - before.requests_done,
            refused=after.refused - before.refused,
            retries=after.retries - before.retries,
            cpu_seconds=after.cpu_seconds - before.cpu_seconds,
            busiest_thread_seconds=after.busiest_thread_seconds(before),
            source_wait_seconds=self._idle_slots() * seconds if limiter.starving else 0.0,
            hashing_seconds=after.hashing_seconds - before.hashing_seconds,
            limited_by=self._wall(after.acked_bytes - before.acked_bytes, seconds),
            requests_per_second=decision.requests_per_second if decision.requests_per_second < math.inf else 0.0,
        )
        self.totals.add(seen)
        if self._trace is not None:
            self._trace.observe(seen)

    def _idle_slots(self) -> int:
        return max(0, self._limiter.slots - self._limiter.in_flight)

    def _wall(self, acked_bytes: float, seconds: float) -> Wall:
        """Which limit besides the level holds requests back."""
        limiter, rate = self._limiter, self._config.max_bytes_per_second
        if rate is not None and acked_bytes >= FULL_RATE * rate * seconds:
            return "rate"
        if limiter.memory_is_full:
            return "memory"
        if not self._idle_slots() or limiter.paused:
            return ""
        if limiter.paced:
            return "server" if limiter.waiting else ""
        tasks_wait = self._walls.tasks is not None and self._work_waits()
        return "user" if limiter.waiting or tasks_wait else ""

    # -- transfers ----------------------------------------------------------------------------------------------------

    def _observe(self, address: ObjectAddress, *, size: int | None, limit: int) -> _Observed:
        return _Observed(self, address, size=size, limit=min(limit, self._walls.most_slots))

    def note(self, event: str, address: ObjectAddress, **more: object) -> None:
        """Write an event of a transfer to the trace."""
        if self._trace is not None:
            at = self._clock() - self._stopped_seconds
            self._trace.event(event, at=at, bucket=address.bucket, key=address.shown_key, **more)

    def facts(self, *, limit: int, parts: int) -> Facts:
        """Return what a verdict on a transfer has to know."""
        return Facts(
            user_limit=limit if limit < MAX_LEVEL else None,
            parts=parts,
            max_bytes_per_second=self._config.max_bytes_per_second,
            memory_budget_bytes=self._config.memory_budget_bytes,
        )

    # -- the memory of the endpoint -----------------------------------------------------------------------------------

    @property
    def _remembers(self) -> bool:
        return self._config.endpoint_memory and not self._walls.are_fixed

    def _new_tuner(self, learned: Learned | None) -> Tuner:
        return Tuner(least=self._walls.least_slots, most=self._walls.most_slots, learned=learned)

    def _recall(self) -> None:
        if self._memory is not None:
            self._recalling = asyncio.ensure_future(self._recalled(self._memory))

    async def _recalled(self, memory: EndpointMemory) -> None:
        learned = await in_thread(self._executor, memory.recall, endpoint_key(self._config))
        # Reading takes a millisecond. If it took so long that something was measured, that is better knowledge.
        if learned is not None and self._tuner.learned() is None:
            self._remembered = learned
            self._tuner = self._new_tuner(learned)
            self._move(self._tuner.level)


def _weakly(method: Callable[P, R]) -> Callable[P, R | None]:
    """Return a function that calls a bound method while its object lives.

    The limiter and the scheduler are no cycle then: a client that nobody closed is freed at once, and its threads end.
    """
    reference = WeakMethod(method)

    def call(*arguments: P.args, **options: P.kwargs) -> R | None:
        alive = reference()
        return None if alive is None else alive(*arguments, **options)

    return call


class _Observed:
    """See `cosxfer.engine.limiter.Observed`."""

    def __init__(self, scheduler: Scheduler, address: ObjectAddress, *, size: int | None, limit: int) -> None:
        self._scheduler = scheduler
        self._address = address
        self._limit = limit
        self._begin = scheduler.totals.copy()
        self._verdict: Verdict | None = None
        scheduler.note("begun", address, size=size)

    def judge(self, *, parts: int) -> Verdict:
        """Return what bounded the transfer until now."""
        facts = self._scheduler.facts(limit=self._limit, parts=parts)
        self._verdict = judge(self._scheduler.totals - self._begin, facts)
        return self._verdict

    def end(self, error: BaseException | None) -> None:
        """Note the end in the trace."""
        if error is None:
            self._scheduler.note("ended", self._address, verdict=self._verdict)
        else:
            self._scheduler.note("failed", self._address, error=str(error))


@dataclass(kw_only=True, slots=True)
class _Counters:
    """The counters at one look."""

    at: float = 0.0
    acked_bytes: int = 0
    requests_done: int = 0
    refused: int = 0
    retries: int = 0
    cpu_seconds: float = 0.0
    thread_seconds: tuple[float, ...] = ()
    """CPU time of the event loop's thread, and of each I/O thread."""
    hashing_seconds: float = 0.0

    def busiest_thread_seconds(self, before: _Counters) -> float:
        """Return the CPU time of the thread that used most of it since ``before``."""
        pairs = zip_longest(self.thread_seconds, before.thread_seconds, fillvalue=0.0)
        return max(now - earlier for now, earlier in pairs)
