"""Random scenarios for `survival.py`: what is sent, over which protocol, and what happens meanwhile. Pure.

A scenario is a function of a seed and a number, so each can be repeated alone. Its faults are drawn from three lists:
troubles of the network (`_chaos.py`), rules of the embedded server's fault script, and events of the hosts.

``allowed`` names the errors that may end a scenario. If it is empty, the scenario must end done: each of its faults can
be survived, and there are fewer faults than attempts.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from _chaos import Kind, Trouble, Way

from cosxfer.limits import MIB

Operation = Literal["put", "append", "file", "slice", "batch", "directory", "stream", "form"]
OPERATIONS: tuple[Operation, ...] = ("put", "append", "file", "slice", "batch", "directory", "stream", "form")
PROTOCOLS = ("http1", "h2c", "tls1", "tls2")
EVENTS = ("pause", "new_client", "restart_server", "kill_server", "change_source")

ATTEMPTS = 12
"""With the pauses between them about 50 s: a busy machine may need many for the restart of a server."""
RETRY_FOR_SECONDS = 40.0
STALL_SECONDS = 1.5
CLEAN_UP_SECONDS = 35
"""What a client that is closed may wait for a silent server."""
HEAD_BYTES = 2000
REPLY_BYTES = 600
"""About what the head of a request and a response have."""

IN_PARTS = ("file", "slice", "stream", "batch", "directory")
REQUESTS: dict[str, tuple[str, ...]] = {
    "put": ("put_object",),
    "append": ("append_object", "head_object"),
    "form": ("post_object",),
    **dict.fromkeys(IN_PARTS, ("multipart_init", "multipart_upload", "multipart_complete", "put_object")),
}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One scenario. ``sizes`` are those of its files, pieces of an append, or its only body."""

    seed: int
    number: int
    operation: Operation
    body: str
    sizes: tuple[int, ...]
    part_bytes: int
    protocol: str
    transport: str
    replaces: bool = False
    """Whether an object of this name exists before."""
    troubles: tuple[Trouble, ...] = ()
    events: tuple[str, ...] = ()
    """What each trouble of the kind "event" is, in their order."""
    rules: tuple[dict[str, Any], ...] = ()
    allowed: tuple[str, ...] = ()
    concurrency: int | Literal["auto"] = "auto"
    limit_seconds: float | None = None
    """Replaces `budget_seconds`."""

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
        """The names of its faults, for the table."""
        names = [f"{trouble.kind} {trouble.way}" for trouble in self.troubles if trouble.kind != "event"]
        return [*names, *self.events, *(rule_name(rule) for rule in self.rules)]

    def describe(self) -> dict[str, Any]:
        return {**asdict(self), "troubles": [_short(trouble) for trouble in self.troubles]}


def _short(trouble: Trouble) -> dict[str, Any]:
    plain = Trouble(kind=trouble.kind)
    return {name: value for name, value in asdict(trouble).items() if name == "at" or value != getattr(plain, name)} | {
        "kind": trouble.kind
    }


def rule_name(rule: dict[str, Any]) -> str:
    """Return a short name of a rule of the fault script."""
    where = "after the work" if rule.get("at") == "answer" else "before the work"
    what = f"{rule.get('status', '')} {rule.get('code', '')}".strip() if rule["do"] == "error" else rule["do"]
    return f"{rule['operation']}: {what}" + (f", {where}" if rule["do"] in ("error", "reset", "stall") else "")


def draw(seed: int, number: int) -> Scenario:
    """Return scenario ``number`` of this seed."""
    rng = random.Random(f"{seed}/{number}")
    operation = rng.choice(OPERATIONS)
    part_bytes = rng.choice((MIB, MIB, MIB + 4321, 2 * MIB))
    sizes = _sizes(rng, operation, part_bytes)
    base = Scenario(
        seed=seed,
        number=number,
        operation=operation,
        body=_body(rng, operation),
        sizes=sizes,
        part_bytes=part_bytes,
        protocol=rng.choice(PROTOCOLS),
        transport=rng.choice(("native", "native", "native", "httpx")),
        replaces=operation != "append" and rng.random() < 0.3,
    )
    return _with_faults(rng, base)


def _sizes(rng: random.Random, operation: Operation, part_bytes: int) -> tuple[int, ...]:
    def one(largest: int) -> int:
        edge = rng.choice((0, 1, part_bytes - 1, part_bytes, part_bytes + 1, 2 * part_bytes))
        return edge if rng.random() < 0.15 else rng.randrange(1, largest)

    if operation == "append":
        return tuple(max(1, one(700_000)) for _ in range(rng.randrange(1, 4)))
    if operation in ("batch", "directory"):
        small = [rng.randrange(0, 200_000) for _ in range(rng.randrange(2, 8))]
        return (*small, one(3 * part_bytes))
    if operation in ("put", "form"):
        return (one(2 * MIB),)
    return (one(6 * MIB),)


def _body(rng: random.Random, operation: Operation) -> str:
    kinds = {
        "put": ("bytes", "path", "file", "pieces"),
        "append": ("bytes", "path"),
        "form": ("bytes", "path"),
        "stream": ("pieces", "file"),
    }
    return rng.choice(kinds.get(operation, ("path",)))


def _with_faults(rng: random.Random, base: Scenario) -> Scenario:
    kind = rng.random()
    if kind < 0.10:
        return _dead(rng, base)
    if kind < 0.22:
        return _flipped(rng, base)
    if kind < 0.30:
        return _refused(rng, base)
    troubles = [_trouble(rng, base) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
    rules = [rng.choice(_rules(base))(rng) for _ in range(rng.choice((0, 0, 1, 1, 2)))]
    events: list[str] = []
    allowed: set[str] = set()
    if rng.random() < 0.35:
        event = rng.choice(EVENTS if base.body == "path" else EVENTS[:-1])
        if base.protocol.startswith("tls") and event in ("restart_server", "kill_server"):
            event = "pause"  # a server that is started again has another certificate
        events.append(event)
        troubles.append(Trouble(kind="event", at=_upwards(rng, base)))
        if event == "change_source":
            allowed.add("SourceError")
    if base.operation == "append" and "new_client" in events:
        allowed.add("AppendPositionError")  # the append of the client that ended may arrive later
    if base.body == "pieces" and base.operation == "put" and (troubles or rules):
        # It can be read once: after a failure nothing can be sent again.
        allowed |= {"TransportError", "ServerError", "IntegrityError"}
    if any(rule["do"] == "wrong_crc64" and rule["operation"] == "multipart_complete" for rule in rules):
        allowed.add("IntegrityError")
    return _changed(base, troubles, rules, events, allowed)


def _changed(
    base: Scenario, troubles: list[Trouble], rules: list[dict[str, Any]], events: list[str], allowed: set[str]
) -> Scenario:
    fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
    return Scenario(
        **{
            **fields,
            "troubles": tuple(troubles),
            "rules": tuple(rules),
            "events": tuple(events),
            "allowed": tuple(sorted(allowed)),
        }
    )


def _upwards(rng: random.Random, base: Scenario) -> int:
    if rng.random() < 0.2:
        return rng.randrange(HEAD_BYTES)
    return rng.randrange(int(sum(base.sizes) * 1.02) + HEAD_BYTES * len(base.sizes))


def _downwards(rng: random.Random, base: Scenario) -> int:
    requests = len(base.sizes) + 2 + sum(base.sizes) // base.part_bytes
    return rng.randrange(REPLY_BYTES * requests)


def _trouble(rng: random.Random, base: Scenario) -> Trouble:
    kinds: tuple[Kind, ...] = ("delay", "rate", "reset", "cut", "half_close", "swallow", "freeze", "reset", "cut")
    way: Way = rng.choice(("up", "down"))
    return Trouble(
        kind=rng.choice(kinds),
        way=way,
        at=_upwards(rng, base) if way == "up" else _downwards(rng, base),
        seconds=round(rng.uniform(0.01, 0.3), 3),
        rate=rng.randrange(1_000_000, 4_000_000),
    )


def _dead(rng: random.Random, base: Scenario) -> Scenario:
    """The line fails for good at some byte."""
    kinds: tuple[Kind, ...] = ("reset", "cut", "swallow", "freeze")
    way: Way = rng.choice(("up", "down"))
    at = _upwards(rng, base) if way == "up" else _downwards(rng, base)
    trouble = Trouble(kind=rng.choice(kinds), way=way, at=at, for_good=True)
    return _changed(base, [trouble], [], [], {"TransportError"})


def _flipped(rng: random.Random, base: Scenario) -> Scenario:
    """One to three bits are wrong: in a body, in a head, or in TLS."""
    flips = []
    for _ in range(rng.randrange(1, 4)):
        way: Way = rng.choice(("up", "up", "down"))
        at = _upwards(rng, base) if way == "up" else _downwards(rng, base)
        flips.append(Trouble(kind="flip", way=way, at=at, bit=rng.randrange(8)))
    allowed = {"TransportError"} if base.protocol.startswith("tls") else {"CosxferError"}
    return _changed(base, flips, [], [], allowed)


def _refused(rng: random.Random, base: Scenario) -> Scenario:
    """The server refuses a request for good."""
    operation = rng.choice(REQUESTS[base.operation])
    rule = {"operation": operation, "do": "error", "status": 403, "code": "AccessDenied", "message": "No."}
    return _changed(base, [], [rule], [], {"AccessDeniedError"})


Rule = Callable[[random.Random], dict[str, Any]]


def _rules(base: Scenario) -> list[Rule]:
    """The faults of the server that a client survives."""
    requests = REQUESTS[base.operation]

    def once(operation: str, do: str, **more: Any) -> Rule:
        return lambda rng: {"operation": operation, "do": do, "times": 1, **more}

    rules: list[Rule] = []
    for request in requests:
        rules += [
            once(request, "reset"),
            once(request, "reset", at="answer"),
            once(request, "error", status=500, code="InternalError"),
            once(request, "error", status=500, code="InternalError", at="answer"),
            once(request, "error", status=503, code="ServiceUnavailable", at="answer"),
            once(request, "error", status=503, code="SlowDown", retry_after_seconds=1),
            once(request, "stall", at="answer"),
            once(request, "truncate"),
        ]
    if "multipart_upload" in requests:
        rules += [
            once("multipart_upload", "error", status=409, code="UploadConflict", at="answer"),
            once("multipart_upload", "error", status=409, code="UploadConflict"),
            once("multipart_upload", "reset", at=500_000),
            once("multipart_upload", "wrong_etag"),
            once("multipart_upload", "wrong_crc64"),
            once("multipart_upload", "no_crc64"),
            once("multipart_complete", "error", status=200, code="InternalError"),
            once("multipart_complete", "error", status=200, code="InternalError", at="answer"),
            once("multipart_complete", "error", status=404, code="NoSuchUpload", at="answer"),
            once("multipart_complete", "delay", seconds=0.4, at="answer"),
            once("multipart_complete", "wrong_crc64"),
        ]
    if "put_object" in requests:
        rules += [once("put_object", "wrong_crc64"), once("put_object", "no_crc64")]
    return rules
