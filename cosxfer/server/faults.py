"""Failures as data: a list of rules, each with conditions and an effect. docs/server.md describes the format."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cosxfer.errors import UsageError
from cosxfer.records import dataclass
from cosxfer.server.routing import OPERATIONS

ACTIONS = ("error", "reset", "stall", "delay", "truncate", "wrong_etag", "wrong_crc64", "no_crc64")

AT_HEAD = 0
"""Before the body is read."""
AT_ANSWER = -1
"""After the operation, before the response."""

_ALLOWED = {
    "error": {"at", "status", "code", "message", "retry_after_seconds"},
    "reset": {"at"},
    "stall": {"at", "seconds"},
    "delay": {"at", "seconds"},
    "truncate": {"after_bytes"},
}
_MATCHES = {"operation", "bucket", "key", "part", "attempt", "times", "above_per_second", "do"}
_DEFAULT_STALL_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One rule. A condition that is None matches every request."""

    do: str
    operations: tuple[str, ...] | None = None
    bucket: str | None = None
    key: str | None = None
    """A pattern with ``*`` and ``?``."""
    parts: tuple[int, ...] | None = None
    attempts: tuple[int, ...] | None = None
    """Counted from 1 for each operation, bucket, key and part."""
    times: int | None = None
    """How often the rule applies in total."""
    above_per_second: int | None = None
    """The rule spares so many requests a second, and a burst of as many."""
    at: int = AT_HEAD
    """`AT_HEAD`, `AT_ANSWER`, or a number of body bytes."""
    status: int | None = None
    code: str = "InternalError"
    message: str = "A fault of the script."
    retry_after_seconds: int | None = None
    seconds: float = _DEFAULT_STALL_SECONDS
    after_bytes: int | None = None
    """For ``truncate``: bytes of the response body to send; None means half of it."""


class FaultPlan:
    """Rules, and how often each was used."""

    def __init__(self, rules: Sequence[Fault] = (), *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = tuple(rules)
        self._clock = clock
        self._spared = [(float(rule.above_per_second or 0), clock()) for rule in self._rules]
        """For each rule: how many requests it still spares, and since when that is so."""
        self._used: Counter[int] = Counter()
        self._attempts: Counter[tuple[str, str, str, int | None]] = Counter()

    def choose(self, *, operation: str, bucket: str, key: str, part: int | None) -> Fault | None:
        """Count the request and return the first rule that matches it."""
        if not self._rules:
            return None
        request = (operation, bucket, key, part)
        self._attempts[request] += 1
        for index, rule in enumerate(self._rules):
            if rule.times is not None and self._used[index] >= rule.times:
                continue
            if _matches(rule, request, self._attempts[request]) and not self._spares(index, rule):
                self._used[index] += 1
                return rule
        return None

    def _spares(self, index: int, rule: Fault) -> bool:
        """Count one more request; returns whether the rule spares it because there were few of late."""
        rate, now = rule.above_per_second, self._clock()
        if rate is None:
            return False
        left, at = self._spared[index]
        left = min(float(rate), left + rate * (now - at))
        spares = left >= 1
        self._spared[index] = (left - 1 if spares else left), now
        return spares


def _matches(rule: Fault, request: tuple[str, str, str, int | None], attempt: int) -> bool:
    operation, bucket, key, part = request
    return (
        (rule.operations is None or operation in rule.operations)
        and (rule.bucket is None or bucket == rule.bucket)
        and (rule.key is None or fnmatchcase(key, rule.key))
        and (rule.parts is None or part in rule.parts)
        and (rule.attempts is None or attempt in rule.attempts)
    )


def load_faults(path: Path) -> tuple[Fault, ...]:
    """Read a script. Raises `UsageError` with the file and the rule."""
    try:
        return parse_faults(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise _bad(f"the fault script {path} cannot be read: {error.strerror}", str(path)) from error
    except ValueError as error:
        raise _bad(f"the fault script {path} is not usable: {error}", str(path)) from error


def parse_faults(rules: object) -> tuple[Fault, ...]:
    """Check a list of rules. Raises `UsageError` with the rule and the field."""
    if not isinstance(rules, list):
        raise _bad("a fault script must be a list of rules", rules)
    return tuple(_parse(rule, f"rule {number}") for number, rule in enumerate(rules, start=1))


def _parse(rule: object, where: str) -> Fault:
    if not isinstance(rule, Mapping):
        raise _bad(f"{where} must be an object", rule)
    do = rule.get("do")
    if do not in ACTIONS:
        raise _bad(f'{where}: "do" is {do!r}; it can be {", ".join(ACTIONS)}', do)
    if unknown := set(rule) - _MATCHES - _ALLOWED.get(do, set()):
        raise _bad(f'{where}: "{min(unknown)}" is not a field of "{do}"', rule)
    values: dict[str, Any] = {"do": do}
    values["operations"] = _operations(rule, where)
    for name in ("bucket", "key"):
        values[name] = _text(rule, name, where)
    values["parts"] = _numbers(rule, "part", where)
    values["attempts"] = _numbers(rule, "attempt", where)
    values["times"] = _number(rule, "times", where, least=1)
    values["above_per_second"] = _number(rule, "above_per_second", where, least=1)
    values["at"] = _at(rule, where)
    values["after_bytes"] = _number(rule, "after_bytes", where)
    if "status" in rule and not 200 <= (_number(rule, "status", where) or 0) < 600:
        raise _bad(f'{where}: "status" is {rule["status"]!r}; it must be from 200 to 599', rule["status"])
    values["status"] = _number(rule, "status", where)
    values["retry_after_seconds"] = _number(rule, "retry_after_seconds", where)
    values |= {name: _text(rule, name, where) for name in ("code", "message") if name in rule}
    if do == "delay" and "seconds" not in rule:
        raise _bad(f'{where}: "delay" needs "seconds"', rule)
    if "seconds" in rule:
        values["seconds"] = _seconds(rule["seconds"], where)
    return Fault(**values)


def _operations(rule: Mapping[str, Any], where: str) -> tuple[str, ...] | None:
    value = rule.get("operation")
    names = value if isinstance(value, list) else None if value is None else [value]
    for name in names or ():
        if name not in OPERATIONS:
            raise _bad(f"{where}: there is no operation {name!r}; there are {', '.join(OPERATIONS)}", name)
    return None if names is None else tuple(names)


def _text(rule: Mapping[str, Any], name: str, where: str) -> str | None:
    value = rule.get(name)
    if value is not None and not isinstance(value, str):
        raise _bad(f'{where}: "{name}" is {value!r}; it must be a string', value)
    return value


def _number(rule: Mapping[str, Any], name: str, where: str, *, least: int = 0) -> int | None:
    value = rule.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _bad(f'{where}: "{name}" is {value!r}; it must be a whole number from {least}', value)
    return value


def _numbers(rule: Mapping[str, Any], name: str, where: str) -> tuple[int, ...] | None:
    value = rule.get(name)
    values = value if isinstance(value, list) else None if value is None else [value]
    return None if values is None else tuple(_number({name: v}, name, where, least=1) or 0 for v in values)


def _at(rule: Mapping[str, Any], where: str) -> int:
    value = rule.get("at", "head")
    if value in ("head", "answer"):
        return AT_HEAD if value == "head" else AT_ANSWER
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _bad(f'{where}: "at" is {value!r}; it can be "head", "answer" or a number of bytes', value)
    return value


def _seconds(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 86_400:
        raise _bad(f'{where}: "seconds" is {value!r}; it must be a number from 0 to 86400', value)
    return float(value)


def _bad(message: str, value: object) -> UsageError:
    return UsageError(message, name="faults", value=value)
