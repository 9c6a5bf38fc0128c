"""Which level the search of the tuner probes next. Pure.

A level that was measured worse bounds the step: the next probe is at the geometric mean. Goodput is concave in the
level, so a lower level whose requests brought some goodput each is a bound too: fewer than would bring the goodput of
the base at that rate cannot be enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import cosxfer.tuning_rules as rule


def higher(base: int, *, step: float, more: float, worse: int | None, clamp: Callable[[int], int]) -> int | None:
    """The next level above ``base``, at most ``more`` above it; None if there is nothing left to learn."""
    level = clamp(max(base + 1, round(min(base * min(2.0, step), base + more))))
    if worse is not None:
        level = min(level, round(math.sqrt(base * worse)))
    return level if level > base and level != worse and _differ(level, base) else None


def lower(
    base: int,
    goodput: float,
    *,
    step: float,
    worse: int | None,
    known: Mapping[int, float],
    clamp: Callable[[int], int],
) -> int | None:
    """The next level below ``base``; None if there is nothing left to learn. ``known`` is the goodput of levels."""
    level = clamp(min(base - 1, round(base / step)))
    needed = [at * goodput / found for at, found in known.items() if at < base and found > 0]
    level = max(level, math.ceil(min(base, max(needed, default=0.0))))
    if worse is not None:
        level = max(level, round(math.sqrt(base * worse)))
    return level if level < base and level != worse and _differ(level, base) else None


def all_left(base: int, requests_left: float, clamp: Callable[[int], int]) -> int | None:
    """All requests together as a level to probe; None if they are hardly more than ``base``."""
    level = clamp(math.ceil(requests_left))
    return level if level > rule.SMALLEST_STEP * base else None


def affordable_requests(goodput: float, request_bytes: float, *, seconds_left: float) -> float:
    """How many requests a probe upwards may add: if it fails, they have to end first."""
    seconds = max(rule.DRAIN_SECONDS, min(rule.LONGEST_PROBE_SECONDS, rule.PROBE_COST * seconds_left))
    return max(1.0, seconds * goodput / max(1.0, request_bytes))


def affordable_step(seconds: float, *, seconds_left: float) -> float:
    """How far down a probe of so many seconds may go: it may bring that much less."""
    affordable = rule.PROBE_COST * seconds_left / seconds
    return 1 / (1 - affordable) if affordable < 1 else math.inf


def _differ(level: int, base: int) -> bool:
    return max(level, base) / min(level, base) >= rule.SMALLEST_STEP or abs(level - base) <= 1
