"""What bounded a transfer, from the sums of its observations. Pure.

``judge(totals - begin, facts)`` returns the verdict for the time between two states of a client's `Totals`. The cause
that held for the longest time wins. `Totals` finds most causes. Two questions are left, because they need the goodput
of several levels.

**Does goodput follow the requests in flight?** The elasticity e = ln(goodput ratio) / ln(ratio of requests in flight)
compares the number that was in flight for the longest time with higher numbers, else with lower ones. If it is below
`FLAT`, or is below it from the lower numbers to the higher ones, more requests bring next to nothing: the link bounds.
Then the link also gets the time in which a wall held requests back, or in which there were too few parts.

**What held the level, if goodput follows it?** If the level was at a limit of the caller, that limit. If it was at the
largest level of the engine, the goodput of one connection. If another cause kept slots idle while the level was higher,
that cause: the tuner gives up slots that stay idle. If the level was steady, the tuner has found that more bring
nothing, in this transfer or an earlier one: the link. Otherwise the transfer ended before the level was found, and the
verdict is ``unknown``.

A few refusals in a long transfer are chance. They count for throttling only from `FEW_REFUSALS`, and only if fewer
requests than the server allows had less goodput.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from cosxfer.figures import counted, human_bytes, human_rate
from cosxfer.models import BoundBy, Verdict
from cosxfer.observation import BUSY_CORES, Band, Totals
from cosxfer.records import dataclass
from cosxfer.tuning_rules import MAX_LEVEL, elasticity

FLAT = 0.5
"""An elasticity below this is a plateau: twice the requests bring less than 41 %. The tuner stops below 0.32."""
SMALLEST_RATIO = 1.2
"""Numbers of requests in flight that are closer are not compared."""
MEASURED_SECONDS = 0.3
"""A goodput that was measured for a shorter time says nothing."""
SHORTEST_SECONDS = 0.3
"""Shorter transfers are ``unknown``, or had too few parts."""
AT_THE_LIMIT = 0.85
"""The level is at a limit if this share of it was in flight."""
STEADY_SHARE = 0.25
"""The level was found if it was steady for this share of the time: a search changes it about once a second."""
FEW_REFUSALS = 3
FEW_REFUSALS_SHARE = 0.0001

Slope: TypeAlias = Literal["flat", "rising", "unmeasured"]

_KEEPS_IDLE: tuple[Literal["reading", "hashing", "memory budget", "connections", "user limit"], ...] = (
    "reading",
    "hashing",
    "memory budget",
    "connections",
    "user limit",
)
_YIELDS_TO_THE_LINK: tuple[BoundBy, ...] = ("memory budget", "connections", "user limit", "too few parts")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a verdict needs to know beside the sums."""

    user_limit: int | None = None
    """The most requests in flight that the caller allows (``concurrency``, ``async_limit``); None for ``"auto"``."""
    most: int = MAX_LEVEL
    """The largest level of the engine."""
    parts: int = 0
    """Parts of the transfer; 0 if unknown."""
    max_bytes_per_second: float | None = None
    memory_budget_bytes: int | None = None


def judge(totals: Totals, facts: Facts | None = None) -> Verdict:
    """Return what bounded the transfer whose time ``totals`` is about."""
    facts = facts or Facts()
    slopes = _slopes(totals)
    held: dict[BoundBy, float] = dict.fromkeys(_WORDS, 0.0)
    sending = 0.0
    for cause, seconds in totals.causes.items():
        if cause == "sending":
            sending += seconds
        elif cause != "silent":
            held[cause] = seconds
    if _refused_by_chance(totals) or slopes.down == "flat":
        sending += max(0.0, held["throttling"] - totals.held_seconds)
        held["throttling"] = totals.held_seconds
    if slopes.slope == "flat":
        for wall in _YIELDS_TO_THE_LINK:
            sending, held[wall] = sending + held[wall], 0.0
    unknown = totals.causes["silent"]
    bound = _holder_of_the_level(totals, slopes, facts)
    if bound == "unknown":
        unknown += sending
    else:
        held[bound] += sending
    longest = max(_WORDS, key=lambda cause: round(held[cause], 6))
    seconds = held[longest]
    if seconds < unknown or not seconds or (totals.seconds < SHORTEST_SECONDS and longest != "too few parts"):
        return _unknown(totals, unknown)
    share = min(1.0, seconds / totals.seconds)
    text, advice = _WORDS[longest](_Figures(totals, facts, share=share, higher=slopes.up != "unmeasured"))
    return Verdict(bound_by=longest, share=share, text=text, advice=advice)


@dataclass(frozen=True, slots=True)
class _Slopes:
    """Whether goodput follows the requests in flight, between the number of the longest time and others."""

    main: Band
    up: Slope
    down: Slope
    across: Slope
    """From the lower numbers to the higher ones."""

    @property
    def slope(self) -> Slope:
        """Upwards, if higher numbers were measured.

        A goodput that rises upwards but not across the whole range was low at the number of the longest time, by
        chance or because the transfer began there.
        """
        if self.up == "unmeasured":
            return self.down
        return "flat" if self.across == "flat" else self.up


def _slopes(totals: Totals) -> _Slopes:
    main = max(totals.bands, key=lambda band: band.seconds)
    above, below = Band(), Band()
    for band in totals.bands:
        if band.in_flight >= SMALLEST_RATIO * main.in_flight:
            above.add(band)
        elif band.in_flight * SMALLEST_RATIO <= main.in_flight:
            below.add(band)
    return _Slopes(main, _slope(main, above), _slope(main, below), _slope(below, above))


def _slope(main: Band, other: Band) -> Slope:
    if min(main.seconds, other.seconds) < MEASURED_SECONDS:
        return "unmeasured"
    follows = elasticity(other.goodput, other.in_flight, main.goodput, main.in_flight)
    return "flat" if follows < FLAT else "rising"


def _holder_of_the_level(totals: Totals, slopes: _Slopes, facts: Facts) -> BoundBy:
    """What bounded the goodput while all slots were busy."""
    main = slopes.main
    idle = _idle_above(totals, main)
    if slopes.slope == "flat":
        return idle if idle in ("reading", "hashing") else "link"
    if facts.user_limit is not None and main.in_flight >= AT_THE_LIMIT * min(facts.user_limit, facts.most):
        return "user limit"
    if main.in_flight >= AT_THE_LIMIT * facts.most:
        return "connections"
    if slopes.up == "rising":
        return "unknown"
    found = main.seconds >= MEASURED_SECONDS and totals.steady_seconds >= STEADY_SHARE * totals.seconds
    return idle or ("link" if found else "unknown")


def _idle_above(totals: Totals, main: Band) -> BoundBy | None:
    """What kept slots idle while the level was higher than ``main``, if that was most of that time."""
    above = totals.levels[totals.bands.index(main) + 1 :]
    if (seconds := sum(sum(held.values()) for held in above)) < MEASURED_SECONDS:
        return None
    for cause in _KEEPS_IDLE:
        if sum(held.get(cause, 0.0) for held in above) >= seconds / 2:
            return cause
    return None


def _refused_by_chance(totals: Totals) -> bool:
    asked = totals.requests_done + totals.refused
    return totals.refused < max(FEW_REFUSALS, FEW_REFUSALS_SHARE * asked)


# -- words ------------------------------------------------------------------------------------------------------------


def _unknown(totals: Totals, seconds: float) -> Verdict:
    share = min(1.0, seconds / totals.seconds) if totals.seconds else 1.0
    text = "The transfer ended before the number of requests in flight that suits this link was found."
    if totals.seconds < SHORTEST_SECONDS:
        text = f"The transfer took {totals.seconds:.2f} s, which is too short to tell what bounded it."
    elif totals.causes["silent"] > seconds / 2:
        text = (
            f"For {totals.causes['silent']:.1f} of {totals.seconds:.1f} s the server acknowledged nothing: connecting, "
            "round trips, or a server that did not respond."
        )
    return Verdict(bound_by="unknown", share=share, text=text, advice="")


class _Figures:
    """The figures of a verdict's sentence, formatted."""

    def __init__(self, totals: Totals, facts: Facts, *, share: float, higher: bool) -> None:
        seconds = totals.seconds
        requests = totals.request_seconds / seconds
        self.facts = facts
        self.refused = totals.refused
        self.asked = totals.requests_done + totals.refused
        self.higher = higher
        """Whether more requests in flight were measured."""
        self.time = f"for {share:.0%} of the time"
        sent = max(0.0, totals.bytes_acked)
        self.rate = human_rate(sent, seconds)
        self.each = f"{human_rate(sent, totals.request_seconds)} for each of them"
        self.in_flight = "1 request in flight" if round(requests) == 1 else f"{requests:.0f} requests in flight"
        self.of_allowed = f"{self.in_flight} of {totals.level_seconds / seconds:.0f} allowed"
        self.idle = f"{min(1.0, totals.source_wait_seconds / max(1e-9, totals.level_seconds)):.0%} of the slots"
        cores = totals.cpu_seconds / seconds
        self.cores = f"{cores:.1f} of {totals.cores:g} cores were busy"
        self.one_thread = cores < BUSY_CORES * totals.cores * share


def _link(has: _Figures) -> tuple[str, str]:
    more = ", and more of them brought next to nothing" if has.higher else ""
    return f"The link bounded the transfer {has.time}: {has.rate} with {has.in_flight}{more}.", ""


def _connections(has: _Figures) -> tuple[str, str]:
    return (
        f"The goodput of one connection bounded the transfer {has.time}: {has.rate} with {has.in_flight}, {has.each}.",
        "Run several clients side by side, or run the client nearer to the bucket's region.",
    )


def _user_limit(has: _Figures) -> tuple[str, str]:
    limit = "" if has.facts.user_limit is None else f" of {has.facts.user_limit:,} in flight"
    return (
        f"A limit of the caller{limit} bounded the transfer {has.time}: {has.rate} with {has.in_flight}, {has.each}.",
        'Leave concurrency and async_limit at "auto", or raise them.',
    )


def _rate_limit(has: _Figures) -> tuple[str, str]:
    most = has.facts.max_bytes_per_second
    limit = "" if most is None else f" of {human_rate(most, 1)}"
    return (
        f"The caller's rate limit{limit} bounded the transfer {has.time}: {has.rate}.",
        "Raise max_bytes_per_second, or leave it out.",
    )


def _memory_budget(has: _Figures) -> tuple[str, str]:
    most = has.facts.memory_budget_bytes
    budget = "" if most is None else f" of {human_bytes(most)}"
    return (
        f"The memory budget{budget} held requests back {has.time}: {has.rate} with {has.in_flight}.",
        "Raise memory_budget_bytes, or use smaller parts.",
    )


def _too_few_parts(has: _Figures) -> tuple[str, str]:
    parts = f"; the transfer has {counted(has.facts.parts, 'part')}" if has.facts.parts else ""
    return (
        f"There were too few parts to send {has.time}: {has.of_allowed}{parts}.",
        "Use smaller parts, or upload several files at a time.",
    )


def _throttling(has: _Figures) -> tuple[str, str]:
    return (
        f"The server throttled the transfer {has.time}: it refused {has.refused:,.0f} of {has.asked:,.0f} requests.",
        "Ask for a higher limit of the bucket, or spread the load over time or over several buckets.",
    )


def _reading(has: _Figures) -> tuple[str, str]:
    return (
        f"Reading the source bounded the transfer {has.time}: {has.rate}, while {has.idle} waited for data.",
        "Use a faster disk or source.",
    )


def _hashing(has: _Figures) -> tuple[str, str]:
    return (
        f"Hashing bounded the transfer {has.time}: {has.rate}, while {has.cores}.",
        "Give the process more or faster cores.",
    )


def _client_cpu(has: _Figures) -> tuple[str, str]:
    if has.one_thread:
        return (
            f"One busy thread of the client bounded the transfer {has.time}: {has.rate}, while {has.cores}.",
            "Run several processes side by side, or use larger files and parts.",
        )
    return (
        f"The client's CPU bounded the transfer {has.time}: {has.rate}, while {has.cores}.",
        "Give the process more or faster cores.",
    )


_WORDS: dict[BoundBy, Callable[[_Figures], tuple[str, str]]] = {
    "client cpu": _client_cpu,
    "hashing": _hashing,
    "reading": _reading,
    "throttling": _throttling,
    "rate limit": _rate_limit,
    "memory budget": _memory_budget,
    "connections": _connections,
    "user limit": _user_limit,
    "too few parts": _too_few_parts,
    "link": _link,
}
"""The sentence of each verdict, and its advice. If two held for the same time, the first wins."""
