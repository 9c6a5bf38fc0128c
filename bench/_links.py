"""The links and workloads that `simulate.py` tries: kinds of links, each drawn from a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

from _network import Change, Link
from _simulated_client import Item

MEBI = 1 << 20
MEGABIT = 1e6 / 8

WORKLOADS: dict[str, tuple[tuple[int, int], ...]] = {
    "100 MiB": ((100 * MEBI, 1),),
    "10 GiB": ((10 * 1024 * MEBI, 1),),
    "10,000 x 100 KiB": ((100 * 1024, 10_000),),
    "35,000 x 16 KiB": ((16 * 1024, 35_000),),
}
"""Files as (bytes, count)."""
MIXED: tuple[tuple[int, int], ...] = ((2048 * MEBI, 1), (64 * MEBI, 8), (2 * MEBI, 200), (64 * 1024, 4_000))


def items(files: tuple[tuple[int, int], ...], part_bytes: Callable[[int], int]) -> list[Item]:
    """The requests of the files: one for a file of up to 1 MiB, parts for larger ones."""
    result = []
    for size, count in files:
        if size <= MEBI:
            result.append(Item(request_bytes=size, count=count))
            continue
        part = part_bytes(size)
        whole, rest = divmod(size, part)
        if whole:
            result.append(Item(request_bytes=part, count=whole * count))
        if rest:
            result.append(Item(request_bytes=rest, count=count))
    return result


def _log(draw: random.Random, low: float, high: float) -> float:
    return math.exp(draw.uniform(math.log(low), math.log(high)))


def _base(draw: random.Random, *, fastest: float = 25_000.0) -> Link:
    return Link(
        name="",
        capacity=_log(draw, 10, fastest) * MEGABIT,
        rtt_seconds=_log(draw, 0.0002, 0.25),
        queue_seconds=_log(draw, 0.005, 0.2),
        server_seconds=_log(draw, 0.003, 0.1),
        client_requests=_log(draw, 2_000, 8_000),
        seed=draw.randrange(1 << 30),
    )


def _plain(draw: random.Random) -> Link:
    return _base(draw)


def _lossy(draw: random.Random) -> Link:
    return replace(_base(draw), loss=_log(draw, 1e-6, 1e-3))


def _capped(draw: random.Random) -> Link:
    link = _base(draw)
    return replace(link, connection_rate=link.capacity / _log(draw, 1, 100))


def _single(draw: random.Random) -> Link:
    """One connection fills it; latency is small against a part."""
    link = replace(_base(draw, fastest=2_000), rtt_seconds=_log(draw, 0.001, 0.03), server_seconds=0.005)
    return replace(link, connection_rate=link.capacity)


def _throttled(draw: random.Random) -> Link:
    link = _base(draw, fastest=10_000)
    after = draw.choice((0.0, 0.0, 1.0, 2.0))
    return replace(link, requests_per_second=_log(draw, 100, 5_000), retry_after_seconds=after)


def _penalised(draw: random.Random) -> Link:
    link = _base(draw, fastest=10_000)
    return replace(
        link,
        connection_rate=link.capacity / _log(draw, 2, 60),
        penalty_beyond=round(_log(draw, 6, 100)),
        penalty_onset_seconds=_log(draw, 1, 6),
        penalty_factor=_log(draw, 0.002, 0.1),
        penalty_seconds=_log(draw, 0.5, 8),
    )


def _bursting(draw: random.Random) -> Link:
    link = _base(draw, fastest=5_000)
    seconds = _log(draw, 2, 30)
    return replace(link, credit_factor=draw.uniform(1.5, 5), credit_bytes=link.capacity * seconds)


def _straggling(draw: random.Random) -> Link:
    link = _base(draw)
    return replace(link, stragglers=0.001, connection_rate=link.capacity / _log(draw, 1, 30))


def _ceiling(draw: random.Random) -> Link:
    link = _base(draw)
    return replace(
        link,
        client_rate=link.capacity * draw.uniform(0.1, 0.9),
        client_requests=_log(draw, 300, 3_000),
        connection_rate=link.capacity / _log(draw, 1, 20),
    )


def _noisy(draw: random.Random) -> Link:
    link = _base(draw)
    return replace(link, noise=draw.uniform(0.03, 0.15), connection_rate=link.capacity / _log(draw, 1, 40))


def _changing(draw: random.Random) -> Link:
    link = _base(draw, fastest=5_000)
    link = replace(link, connection_rate=link.capacity / _log(draw, 1, 30))
    at = _log(draw, 3, 30)
    first = Change(at_seconds=at, capacity=_log(draw, 0.1, 1), connection=draw.choice((1.0, 0.3)))
    return replace(link, changes=(first, Change(at_seconds=at * draw.uniform(2, 4))))


def _rivalled(draw: random.Random) -> Link:
    link = _base(draw, fastest=5_000)
    return replace(link, rival_flows=64, connection_rate=link.capacity / _log(draw, 1, 10))


def _cloned(draw: random.Random) -> Link:
    link = _base(draw, fastest=5_000)
    return replace(link, clone=True, connection_rate=link.capacity / _log(draw, 1, 10))


KINDS: dict[str, tuple[Callable[[random.Random], Link], int]] = {
    "plain": (_plain, 14),
    "lossy": (_lossy, 12),
    "capped": (_capped, 14),
    "single": (_single, 8),
    "throttled": (_throttled, 8),
    "penalised": (_penalised, 10),
    "bursting": (_bursting, 5),
    "straggling": (_straggling, 5),
    "ceiling": (_ceiling, 6),
    "noisy": (_noisy, 8),
    "changing": (_changing, 6),
    "rivalled": (_rivalled, 4),
    "cloned": (_cloned, 4),
}
"""How to draw a link of each kind, and how many of 104."""


def links(seed: int, *, share: float = 1.0) -> list[Link]:
    """The links of one seed; ``share`` below 1 leaves out some of each kind."""
    result = []
    for kind, (make, count) in KINDS.items():
        draw = random.Random(f"{seed} {kind}")
        for number in range(max(1, round(count * share))):
            result.append(replace(make(draw), name=f"{kind} {number + 1}"))
    return result
