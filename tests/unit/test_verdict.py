"""Verdicts: each of them from a transfer that it is right for, and none that is nonsense."""

from __future__ import annotations

import heapq
import math
import random
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cosxfer.limits import MIB
from cosxfer.models import BoundBy, Verdict
from cosxfer.observation import CAUSES, Observation, Totals, Wall
from cosxfer.tuning import Tuner
from cosxfer.tuning_rules import MAX_LEVEL
from cosxfer.verdict import Facts, judge
from tests.unit.test_observation import ticks, totals_of

MB = 1e6
TICK = 0.1


@dataclass(frozen=True, kw_only=True)
class Line:
    """A client, its source and its network, as a fluid model. Speeds are bytes per second."""

    capacity: float = math.inf
    one_request: float = 10 * MB
    """The most that one request gets."""
    source: float = math.inf
    source_hashes: bool = False
    fixed: int | None = None
    """The caller's limit."""
    most: int = MAX_LEVEL
    rate: float = math.inf
    budget: float = math.inf
    refuses_beyond: int = 10**9
    cpu: float = 0.0
    """CPU seconds per byte."""
    cores: float = 4
    noise: float = 0.03


def send(line: Line, size: float, *, part: float = 8 * MIB, totals: Totals | None = None, seed: int = 1) -> Totals:
    """Send ``size`` bytes with the real tuner; return the sums of this transfer.

    All requests in flight share the goodput. Each gets a little more or less than the others, as parts do.
    """
    chance = random.Random(seed)
    tuner = Tuner(least=line.fixed or 1, most=line.fixed or line.most)
    totals = totals or Totals(cores=line.cores)
    begin = totals.copy()
    waiting_parts = math.ceil(size / part)
    parts: list[float] = []  # the service at which each part in flight is done
    service = speed = acked = refused = 0.0
    done, level, now = 0, tuner.level, totals.seconds
    while parts or waiting_parts:
        now += TICK
        allowed = min(level, max(1, int(line.budget // part))) if line.budget < math.inf else level
        wanted = min(allowed, len(parts) + waiting_parts)
        accepted = min(wanted, line.refuses_beyond)
        network = min(line.capacity, line.rate, accepted * line.one_request)
        if line.cpu:
            network = min(network, line.cores / line.cpu)
        fed = wanted
        if line.source < network:
            fed, network = max(1, round(line.source / line.one_request)), line.source
        while len(parts) < fed and waiting_parts:
            heapq.heappush(parts, service + min(part, size) * chance.uniform(0.8, 1.2))
            waiting_parts -= 1
        in_flight = len(parts)
        speed += (network - speed) * 0.7  # new connections start slowly
        moved = speed * TICK * (1 + chance.uniform(-line.noise, line.noise))
        service += moved / max(1, in_flight)
        before = done
        while parts and parts[0] <= service:
            heapq.heappop(parts)
            done += 1
        acked += moved
        refusals = max(0, in_flight - line.refuses_beyond)
        refused += refusals
        if refusals:  # the youngest are sent again later
            parts = heapq.nsmallest(in_flight - refusals, parts)
            waiting_parts += in_flight - refusals - len(parts) + refusals
        source_wait = max(0, wanted - in_flight) * TICK if fed < wanted else 0.0
        walls: dict[Wall, bool] = {
            "rate": network == line.rate,
            "memory": allowed < level,
            "user": line.fixed is not None and bool(waiting_parts),
        }
        totals.add(
            Observation(
                at=now,
                seconds=TICK,
                level=level,
                in_flight=in_flight,
                waiting=bool(waiting_parts) and not source_wait,
                bytes_acked=moved,
                requests_done=done - before,
                refused=refusals,
                retries=refusals,
                cpu_seconds=moved * (line.cpu or 0.1e-9),
                source_wait_seconds=source_wait,
                hashing_seconds=TICK if line.source_hashes else 0.0,
                limited_by=next((wall for wall, holds in walls.items() if holds and not source_wait), ""),
                connections=in_flight,
            )
        )
        level = tuner.observe(
            now,
            bytes_acked=acked,
            requests_done=done,
            in_flight=in_flight,
            bytes_in_flight=in_flight * part,
            bytes_left=max(0.0, size - acked),
            requests_left=waiting_parts + in_flight,
            waiting=bool(waiting_parts) and not source_wait,
            refused=refused,
        ).level
    return totals - begin


def facts_of(line: Line, **more: Any) -> Facts:
    return Facts(user_limit=line.fixed, most=line.most, **more)


def test_the_link_bounds_if_more_requests_bring_nothing() -> None:
    verdict = judge(send(Line(capacity=200 * MB), 4000 * MB))
    assert verdict.bound_by == "link"
    assert verdict.share > 0.9
    assert verdict.advice == ""
    assert "MB/s with" in verdict.text
    assert verdict.text.endswith(", and more of them brought next to nothing.")


def test_the_next_transfer_at_the_held_level_is_bound_by_the_link_too() -> None:
    line = Line(capacity=200 * MB)
    steady = Totals(cores=4)
    for tick in range(40):  # 4 s of a hold: no other level was measured
        steady.add(busy_tick(tick, level=24, goodput=200 * MB))
    verdict = judge(steady, facts_of(line))
    assert verdict.bound_by == "link"
    assert "more of them" not in verdict.text


def busy_tick(tick: int, *, level: int, goodput: float, **more: Any) -> Observation:
    seen = Observation(at=tick * TICK, seconds=TICK, level=level, in_flight=level, waiting=True)
    return replace(seen, bytes_acked=goodput * TICK, **more)


def test_connections_bound_if_goodput_follows_the_largest_level() -> None:
    line = Line(one_request=1 * MB, capacity=3000 * MB)
    verdict = judge(send(line, 12_000 * MB), facts_of(line))
    assert verdict.bound_by == "connections"
    assert verdict.share > 0.8
    assert "kB/s for each of them" in verdict.text
    assert verdict.advice


def test_the_transports_wall_of_connections_bounds() -> None:
    totals = Totals(cores=4)
    for tick in range(50):
        totals.add(busy_tick(tick, level=64, goodput=64 * MB, limited_by="connections"))
    assert judge(totals).bound_by == "connections"


@pytest.mark.parametrize("fixed", [1, 4, 32])
def test_a_limit_of_the_caller_bounds_if_goodput_follows_it(fixed: int) -> None:
    line = Line(fixed=fixed, capacity=2000 * MB)
    verdict = judge(send(line, fixed * 100 * MB), facts_of(line))
    assert verdict.bound_by == "user limit"
    assert verdict.share > 0.8
    assert f"A limit of the caller of {fixed} in flight bounded" in verdict.text
    assert "10.0 MB/s for each of them" in verdict.text or "1 request in flight" in verdict.text
    assert "auto" in verdict.advice


def test_a_limit_of_the_caller_beyond_the_plateau_is_no_bound() -> None:
    """The last parts show it: with fewer in flight the goodput is the same."""
    line = Line(fixed=64, capacity=50 * MB)
    assert judge(send(line, 2000 * MB), facts_of(line)).bound_by == "link"


def test_the_rate_limit_bounds() -> None:
    line = Line(rate=20 * MB)
    verdict = judge(send(line, 200 * MB), facts_of(line, max_bytes_per_second=line.rate))
    assert verdict.bound_by == "rate limit"
    assert verdict.share > 0.9
    assert "rate limit of 20.0 MB/s bounded" in verdict.text
    assert "max_bytes_per_second" in verdict.advice


def test_the_memory_budget_bounds() -> None:
    line = Line(budget=12 * 8 * MIB, capacity=1000 * MB)
    verdict = judge(send(line, 2000 * MB), facts_of(line, memory_budget_bytes=96 * MIB))
    assert verdict.bound_by == "memory budget"
    assert verdict.text.startswith("The memory budget of 96.0 MiB held requests back for ")


def test_a_memory_budget_beyond_the_plateau_is_no_bound() -> None:
    totals = Totals(cores=4)
    for tick in range(60):
        in_flight = 12 if tick < 50 else 6
        totals.add(busy_tick(tick, level=32, goodput=120 * MB, limited_by="memory"))
        totals.add(replace(busy_tick(tick, level=32, goodput=120 * MB), in_flight=in_flight, limited_by="memory"))
    assert judge(totals).bound_by == "link"


def test_reading_bounds_if_slots_wait_for_the_source() -> None:
    verdict = judge(send(Line(source=60 * MB), 1200 * MB))
    assert verdict.bound_by == "reading"
    assert verdict.share > 0.9
    assert "% of the slots waited for data" in verdict.text


def test_a_level_that_was_reduced_to_the_source_is_still_bound_by_it() -> None:
    """The tuner gives up slots that stay idle. Then all slots are busy, but more would wait for the source again."""
    totals = Totals(cores=4)
    for tick in range(60):
        if tick < 6:
            seen = busy_tick(tick, level=32, goodput=60 * MB, source_wait_seconds=26 * TICK)
            totals.add(replace(seen, in_flight=6, waiting=False))
        else:
            totals.add(busy_tick(tick, level=6, goodput=60 * MB))
    assert totals.causes["sending"] > totals.causes["reading"]
    assert judge(totals).bound_by == "reading"


def test_hashing_bounds_if_slots_wait_while_threads_compute() -> None:
    line = Line(source=60 * MB, source_hashes=True, cpu=1 / (60 * MB), cores=8)
    verdict = judge(send(line, 1200 * MB))
    assert verdict.bound_by == "hashing"
    assert verdict.share > 0.9


def test_pages_that_are_read_while_hashing_are_reading() -> None:
    line = Line(source=60 * MB, source_hashes=True, cpu=0.1 / (60 * MB), cores=8)
    assert judge(send(line, 1200 * MB)).bound_by == "reading"


def test_the_client_bounds_if_all_its_cores_are_busy() -> None:
    line = Line(cpu=20e-9, cores=2)  # 100 MB/s
    verdict = judge(send(line, 4000 * MB))  # long enough for the looks of the tuner to count little
    assert verdict.bound_by == "client cpu"
    assert re.search(r"(1\.9|2\.0) of 2 cores were busy", verdict.text)


def test_one_busy_thread_bounds_on_a_machine_of_many_cores() -> None:
    totals = Totals(cores=64)
    for tick in range(30):
        totals.add(busy_tick(tick, level=16, goodput=MB, cpu_seconds=0.12, busiest_thread_seconds=0.099))
    verdict = judge(totals)
    assert verdict.bound_by == "client cpu"
    assert verdict.text.startswith("One busy thread of the client bounded")
    assert "several processes" in verdict.advice


@pytest.mark.parametrize("beyond", [3, 20, 100])
def test_the_server_throttles_if_it_refuses(beyond: int) -> None:
    verdict = judge(send(Line(refuses_beyond=beyond, one_request=5 * MB), beyond * 100 * MB, part=MIB))
    assert verdict.bound_by == "throttling"
    assert "it refused" in verdict.text


def test_refusals_beyond_what_fills_the_link_are_no_bound() -> None:
    line = Line(capacity=170 * MB, one_request=7 * MB, refuses_beyond=60)
    totals = send(line, 4000 * MB)
    assert totals.refused >= 3
    assert judge(totals, facts_of(line)).bound_by == "link"


def test_a_chance_refusal_is_no_throttling() -> None:
    totals = Totals(cores=4)
    for tick in range(100):
        totals.add(busy_tick(tick, level=24, goodput=200 * MB, refused=int(tick == 20), requests_done=2))
    assert judge(totals).bound_by == "link"


def test_a_long_retry_after_is_throttling_though_it_is_one_refusal() -> None:
    totals = Totals(cores=4)
    for tick in range(100):
        seen = busy_tick(tick, level=24, goodput=200 * MB, refused=int(tick == 20))
        totals.add(replace(seen, in_flight=0, bytes_acked=0) if 20 < tick < 90 else seen)
    assert judge(totals).bound_by == "throttling"


def test_few_parts_bound_if_slots_are_free_and_nothing_waits() -> None:
    line = Line(capacity=2000 * MB, one_request=10 * MB)
    verdict = judge(send(line, 4 * 64 * MIB, part=64 * MIB), facts_of(line, parts=4))
    assert verdict.bound_by == "too few parts"
    assert verdict.share > 0.9
    assert "allowed; the transfer has 4 parts." in verdict.text


def test_few_parts_that_fill_the_link_are_no_bound() -> None:
    line = Line(capacity=20 * MB)
    assert judge(send(line, 10 * 64 * MIB, part=64 * MIB)).bound_by == "link"


def test_a_transfer_that_ends_in_the_ramp_is_unknown() -> None:
    verdict = judge(send(Line(one_request=40 * MB, capacity=20_000 * MB), 3000 * MB))
    assert verdict.bound_by == "unknown"
    assert "ended before the number of requests" in verdict.text


def test_silence_is_unknown_and_said() -> None:
    totals = Totals(cores=4)
    for tick in range(50):
        totals.add(busy_tick(tick, level=32, goodput=100 * MB if tick > 40 else 0))
    verdict = judge(totals)
    assert verdict.bound_by == "unknown"
    assert "of 5.0 s the server acknowledged nothing" in verdict.text


def test_the_verdict_is_about_one_transfer_and_not_the_ones_before() -> None:
    totals = Totals(cores=4)
    assert judge(send(Line(source=60 * MB), 6000 * MB, totals=totals)).bound_by == "reading"
    assert judge(send(Line(capacity=200 * MB), 2000 * MB, totals=totals)).bound_by == "link"


@pytest.mark.parametrize("size", [1, 1000, MIB, 8 * MIB])
def test_a_tiny_transfer_is_unknown_or_has_too_few_parts(size: int) -> None:
    verdict = judge(send(Line(one_request=100 * MB), size))
    assert verdict.bound_by in ("unknown", "too few parts")
    check(verdict)


def test_no_observation_is_unknown() -> None:
    verdict = judge(Totals(cores=1))
    assert (verdict.bound_by, verdict.share) == ("unknown", 1.0)
    assert "0.00 s" in verdict.text


def test_of_causes_that_tie_the_first_wins() -> None:
    def tie(*causes: str) -> Verdict:
        totals = totals_of(busy_tick(0, level=1, goodput=MB))
        totals.causes.update(dict.fromkeys(CAUSES, 0.0))
        totals.seconds = float(len(causes))
        totals.refused = 10
        for cause in causes:
            totals.causes[cause] = 1.0  # type: ignore[index]
        return judge(totals)

    assert tie("user limit", "reading").bound_by == "reading"
    assert tie("reading", "user limit").share == 0.5
    assert tie("silent", "too few parts").bound_by == "too few parts"


def check(verdict: Verdict) -> None:
    """What every verdict must be, whatever it is about."""
    assert verdict.bound_by in get_args(BoundBy)
    assert 0.0 <= verdict.share <= 1.0
    for text in (verdict.text, verdict.advice):
        assert text == "" or (text.endswith(".") and text[0].isupper())
        assert not any(word in text for word in ("nan", "inf ", "-", "None"))
    assert verdict.text


@given(st.lists(ticks, max_size=60), st.integers(1, 64), st.integers(0, 10_000))
def test_a_verdict_is_sound_for_every_series(seen: list[Observation], limit: int, parts: int) -> None:
    for facts in (Facts(), Facts(user_limit=limit, parts=parts, max_bytes_per_second=5.0, memory_budget_bytes=1)):
        verdict = judge(totals_of(*seen), facts)
        check(verdict)
        assert (verdict.advice == "") == (verdict.bound_by in ("link", "unknown"))


@given(
    capacity=st.floats(5 * MB, 3000 * MB),
    one_request=st.floats(1 * MB, 100 * MB),
    seconds=st.floats(5, 40),
    seed=st.integers(0, 5),
)
@example(capacity=21121317.0, one_request=1 * MB, seconds=7.0, seed=1)  # less goodput than below and above
def test_a_plain_link_is_never_blamed_on_something_else(
    capacity: float, one_request: float, seconds: float, seed: int
) -> None:
    """No refusals, a fast source, no limit: it is the link, its connections, or too short to tell."""
    line = Line(capacity=capacity, one_request=one_request)
    size = seconds * min(capacity, 256 * one_request)
    verdict = judge(send(line, size, part=max(MIB, size / 2000), seed=seed), facts_of(line))
    assert verdict.bound_by in ("link", "connections", "unknown")
    if capacity < 100 * one_request:
        assert verdict.bound_by == "link"
    if capacity > 300 * one_request and seconds > 10:
        assert verdict.bound_by == "connections"


def test_the_documentation_has_a_row_for_each_verdict() -> None:
    page = (Path(__file__).parents[2] / "docs/api.md").read_text()
    section = page.partition("## Verdicts")[2].partition("## ")[0]
    assert sorted(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)) == sorted(["bound_by", *get_args(BoundBy)])
