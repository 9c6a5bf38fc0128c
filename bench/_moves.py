"""Random scenarios of downloads, copies and syncs for `survival.py --moves`. Pure; see `_scenario.py` for uploads.

A scenario is a function of a seed and a number. ``allowed`` names the errors that may end it. If it is empty, the
scenario must end done.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from _chaos import Kind, Trouble, Way
from _scenario import CLEAN_UP_SECONDS, HEAD_BYTES, PROTOCOLS, REPLY_BYTES, rule_name

from cosxfer.limits import MIB

Move = Literal["download", "batch", "copy", "sync_up", "sync_down", "sync_across"]
MOVES: tuple[Move, ...] = ("download", "batch", "copy", "sync_up", "sync_down", "sync_across")
TO_FILES = ("download", "batch", "sync_down")
"""Moves whose targets are files."""
FROM_OBJECTS = ("download", "batch", "copy", "sync_down", "sync_across")
"""Moves whose sources are objects."""
SYNCS = ("sync_up", "sync_down", "sync_across")
ONCE_EVENTS = ("pause", "new_client", "restart_server", "kill_server", "replace_source", "damage", "remove_temporary")
"""What may happen once in the middle. The last two happen between two clients."""

DISK_BYTES = 1 * MIB + 100_000
"""The largest file that a full disk takes."""

_OBJECTS = ("put_object", "multipart_init", "multipart_upload", "multipart_complete")
_COPIES = ("copy_object", "multipart_init", "upload_part_copy", "multipart_complete", "head_object")
REQUESTS: dict[str, tuple[str, ...]] = {
    "download": ("get_object",),
    "batch": ("get_object",),
    "copy": _COPIES,
    "sync_up": ("list_objects", *_OBJECTS),
    "sync_down": ("list_objects", "get_object"),
    "sync_across": ("list_objects", *_COPIES),
}


@dataclass(frozen=True, kw_only=True)
class MoveScenario:
    """One scenario. ``sizes`` are those of its objects or files."""

    seed: int
    number: int
    operation: Move
    sizes: tuple[int, ...]
    part_bytes: int
    protocol: str
    transport: str
    replaces: bool = False
    """Whether each target exists before."""
    full_disk: bool = False
    """No file can be larger than `DISK_BYTES`."""
    journal: bool = True
    troubles: tuple[Trouble, ...] = ()
    events: tuple[str, ...] = ()
    rules: tuple[dict[str, Any], ...] = ()
    allowed: tuple[str, ...] = ()
    concurrency: int | Literal["auto"] = "auto"
    limit_seconds: float | None = None

    @property
    def faults(self) -> int:
        return len(self.troubles) + len(self.rules)

    @property
    def budget_seconds(self) -> float:
        """The time until it must have ended, with the clean-up."""
        if self.limit_seconds is not None:
            return self.limit_seconds
        return 30.0 + 12.0 * self.faults + CLEAN_UP_SECONDS

    def classes(self) -> list[str]:
        """The names of its faults."""
        names = [f"{trouble.kind} {trouble.way}" for trouble in self.troubles if trouble.kind != "event"]
        return [*names, *self.events, *(rule_name(rule) for rule in self.rules), *(["full disk"] * self.full_disk)]

    def describe(self) -> dict[str, Any]:
        return asdict(self)


def draw_move(seed: int, number: int) -> MoveScenario:
    """Return scenario ``number`` of this seed."""
    rng = random.Random(f"moves {seed}/{number}")
    operation = rng.choice(MOVES)
    part_bytes = rng.choice((MIB, MIB, MIB + 4321, 2 * MIB))
    base = MoveScenario(
        seed=seed,
        number=number,
        operation=operation,
        sizes=_sizes(rng, operation, part_bytes),
        part_bytes=part_bytes,
        protocol=rng.choice(PROTOCOLS),
        transport=rng.choice(("native", "native", "native", "httpx")),
        replaces=rng.random() < 0.4,
        journal=rng.random() < 0.85,
    )
    kind = rng.random()
    if kind < 0.10:
        return _dead(rng, base)
    if kind < 0.22:
        return _flipped(rng, base)
    if kind < 0.30:
        return _refused(rng, base)
    if kind < 0.38 and operation in TO_FILES:
        return replace(base, full_disk=True, allowed=("TargetError",))
    return _survivable(rng, base)


def _sizes(rng: random.Random, operation: Move, part_bytes: int) -> tuple[int, ...]:
    def one(largest: int) -> int:
        edge = rng.choice((0, 1, MIB, MIB + 1, part_bytes - 1, part_bytes, part_bytes + 1, 2 * part_bytes))
        return edge if rng.random() < 0.15 else rng.randrange(1, largest)

    if operation in ("download", "copy"):
        return (one(8 * MIB),)
    return (*(rng.randrange(0, 200_000) for _ in range(rng.randrange(2, 7))), one(4 * MIB))


def _survivable(rng: random.Random, base: MoveScenario) -> MoveScenario:
    troubles = [_trouble(rng, base) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
    rules = [rng.choice(_rules(base))(rng) for _ in range(rng.choice((0, 0, 1, 1, 2)))]
    events: list[str] = []
    allowed: set[str] = set()
    if rng.random() < 0.5:
        event = rng.choice(ONCE_EVENTS)
        if base.protocol.startswith("tls") and event in ("restart_server", "kill_server"):
            event = "new_client"  # a server that is started again has another certificate
        if base.operation not in TO_FILES and event in ("damage", "remove_temporary"):
            event = "new_client"
        if base.operation == "sync_up" and event == "replace_source":
            event = "pause"
        events.append(event)
        way: Way = "down" if base.operation in TO_FILES else "up"
        troubles.append(Trouble(kind="event", way=way, at=_place(rng, base, way)))
        if event == "replace_source" and base.operation in ("copy", "sync_across"):
            allowed.add("ServerError")  # a copy is pinned to the version that it began with
    if any(rule["do"] == "wrong_crc64" for rule in rules):
        allowed.add("IntegrityError")
    return replace(
        base,
        troubles=tuple(troubles),
        rules=tuple(rules),
        events=tuple(events),
        allowed=tuple(sorted(allowed)),
    )


def _place(rng: random.Random, base: MoveScenario, way: Way) -> int:
    """Return a byte of a direction at which something may happen."""
    requests = 2 * len(base.sizes) + 2 + sum(base.sizes) // base.part_bytes
    bulk = "down" if base.operation in TO_FILES else "up" if base.operation == "sync_up" else ""
    if way == bulk and rng.random() < 0.8:
        return rng.randrange(int(sum(base.sizes) * 1.02) + REPLY_BYTES * requests)
    return rng.randrange((REPLY_BYTES if way == "down" else HEAD_BYTES // 3) * requests)


def _trouble(rng: random.Random, base: MoveScenario) -> Trouble:
    kinds: tuple[Kind, ...] = ("delay", "rate", "reset", "cut", "half_close", "swallow", "freeze", "reset", "cut")
    way: Way = rng.choice(("up", "down"))
    return Trouble(
        kind=rng.choice(kinds),
        way=way,
        at=_place(rng, base, way),
        seconds=round(rng.uniform(0.01, 0.3), 3),
        rate=rng.randrange(1_000_000, 4_000_000),
    )


def _dead(rng: random.Random, base: MoveScenario) -> MoveScenario:
    kinds: tuple[Kind, ...] = ("reset", "cut", "swallow", "freeze")
    way: Way = rng.choice(("up", "down"))
    trouble = Trouble(kind=rng.choice(kinds), way=way, at=_place(rng, base, way), for_good=True)
    return replace(base, troubles=(trouble,), allowed=("TransportError",))


def _flipped(rng: random.Random, base: MoveScenario) -> MoveScenario:
    flips = []
    for _ in range(rng.randrange(1, 4)):
        way: Way = rng.choice(("up", "down", "down"))
        flips.append(Trouble(kind="flip", way=way, at=_place(rng, base, way), bit=rng.randrange(8)))
    allowed = ("TransportError",) if base.protocol.startswith("tls") else ("CosxferError",)
    return replace(base, troubles=tuple(flips), allowed=allowed)


def _refused(rng: random.Random, base: MoveScenario) -> MoveScenario:
    rule = {"operation": rng.choice(REQUESTS[base.operation]), "do": "error", "status": 403, "code": "AccessDenied"}
    return replace(base, rules=(rule,), allowed=("AccessDeniedError",))


Rule = Callable[[random.Random], dict[str, Any]]


def _rules(base: MoveScenario) -> list[Rule]:
    """The faults of the server that a client survives."""

    def once(operation: str, do: str, **more: Any) -> Rule:
        return lambda rng: {"operation": operation, "do": do, "times": 1, **more}

    rules: list[Rule] = []
    for request in REQUESTS[base.operation]:
        rules += [
            once(request, "reset"),
            once(request, "error", status=500, code="InternalError"),
            once(request, "error", status=503, code="SlowDown", retry_after_seconds=1),
            once(request, "stall", at="answer"),
            once(request, "truncate"),
        ]
    if "get_object" in REQUESTS[base.operation]:
        rules += [
            once("get_object", "truncate", after_bytes=300_000),
            once("get_object", "wrong_etag"),
            once("get_object", "wrong_crc64"),
            once("get_object", "no_crc64"),
        ]
    return rules
