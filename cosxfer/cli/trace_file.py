"""Reads a trace for a picture, in bounded memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import IO, Any

from cosxfer.errors import UsageError
from cosxfer.foreign import foreign, shown_path
from cosxfer.records import dataclass
from cosxfer.trace import FORMAT, VERSION

MAX_POINTS = 2000
"""Points of a curve. Neighbours are merged if there are more."""
SHORTEST_SECONDS = 0.05
"""A shorter tick, as after a refusal, is merged with the next one: its goodput says nothing."""
MAX_EVENTS = 1000
LONGEST_LINE = 1024 * 1024


@dataclass(slots=True)
class Point:
    """One tick, or several that were merged. ``at`` is their end."""

    at: float
    seconds: float
    level: float
    in_flight: float
    bytes_acked: float
    requests_done: float
    refused: float
    retries: float

    @property
    def begin(self) -> float:
        """When the first tick began."""
        return self.at - self.seconds

    def merged(self, later: Point) -> Point:
        """Return both as one; a pause between them counts as time without requests."""
        seconds = later.at - self.begin
        share, other = self.seconds / seconds, later.seconds / seconds
        return Point(
            at=later.at,
            seconds=seconds,
            level=max(self.level, later.level),
            in_flight=self.in_flight * share + later.in_flight * other,
            bytes_acked=self.bytes_acked + later.bytes_acked,
            requests_done=self.requests_done + later.requests_done,
            refused=self.refused + later.refused,
            retries=self.retries + later.retries,
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    at: float
    name: str
    key: str


@dataclass
class TraceData:
    """What a picture needs of a trace."""

    header: dict[str, Any]
    points: list[Point] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    more_events: int = 0
    """Events beyond `MAX_EVENTS`."""
    dropped: int = 0
    verdict: str = ""
    """The sentence of the largest transfer, and its advice."""
    verdict_bytes: float = -1.0


def read_trace(path: Path) -> TraceData:
    """Read a trace. Raises `UsageError` if it cannot be read, or with the number of the first line that is no trace's.

    A last line without its end is ignored: the program that wrote it was killed.
    """
    try:
        with path.open("rb") as file:
            return _read(file, shown_path(str(path)))
    except UsageError:
        raise
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise UsageError(f"the trace {shown_path(str(path))} cannot be read: {reason}", name="FILE") from error


def _read(file: IO[bytes], shown: str) -> TraceData:
    data: TraceData | None = None
    for number, line in _lines(file):
        try:
            record = _record(line)
            if data is None:
                _check_header(record)
                data = TraceData(header=record)
            else:
                _take(data, record)
        except _DamagedError as error:
            what = f"{shown} is no trace of cosxfer" if data is None else f"the trace {shown} is damaged"
            raise UsageError(f"{what}: line {number} {error}", name="FILE") from error
    if data is None:
        raise UsageError(f"{shown} is no trace of cosxfer: it is empty", name="FILE")
    return data


class _DamagedError(Exception):
    """What a line is, instead of one of a trace."""


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the numbered lines without a last one that was cut."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if line.endswith(b"\n") or len(line) > LONGEST_LINE or number == 1:
            yield number, line


def _record(line: bytes) -> dict[str, Any]:
    if len(line) > LONGEST_LINE:
        raise _DamagedError("is longer than 1 MiB")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise _DamagedError(f"is no JSON: {foreign(line[:60].decode(errors='replace').rstrip())}") from None
    if not isinstance(record, dict):
        raise _DamagedError("is no JSON object")
    return record


def _check_header(record: dict[str, Any]) -> None:
    if record.get("type") != "header" or record.get("format") != FORMAT:
        raise _DamagedError("is no header of a trace")
    version = record.get("version")
    if version != VERSION:
        raise _DamagedError(f"has the format version {foreign(str(version), 20)}; this cosxfer reads version {VERSION}")


def _take(data: TraceData, record: dict[str, Any]) -> None:
    kind = record.get("type")
    if kind == "tick":
        _take_tick(data, record)
    elif kind == "event":
        _take_event(data, record)
    elif kind == "dropped":
        data.dropped += int(_number(record, "count"))
    elif kind == "level":
        _number(record, "at")
        _number(record, "level")
    else:
        raise _DamagedError(f"has the unknown type {foreign(str(kind), 40)}")


def _take_tick(data: TraceData, record: dict[str, Any]) -> None:
    point = Point(
        at=_number(record, "at"),
        seconds=_number(record, "seconds"),
        level=_number(record, "level"),
        in_flight=_number(record, "in_flight"),
        bytes_acked=_number(record, "bytes_acked", default=0.0, least=-math.inf),
        requests_done=_number(record, "requests_done", default=0.0),
        refused=_number(record, "refused", default=0.0),
        retries=_number(record, "retries", default=0.0),
    )
    if point.seconds <= 0:
        raise _DamagedError("has a tick of no length")
    if data.points and point.at <= data.points[-1].at:
        raise _DamagedError("has an earlier time than the line before")
    if data.points and data.points[-1].seconds < SHORTEST_SECONDS and point.begin - data.points[-1].at < point.seconds:
        data.points[-1] = data.points[-1].merged(point)
    else:
        data.points.append(point)
    if len(data.points) == 2 * MAX_POINTS:
        pairs = zip(data.points[::2], data.points[1::2], strict=True)
        data.points = [first.merged(second) for first, second in pairs]


def _take_event(data: TraceData, record: dict[str, Any]) -> None:
    event = Event(at=_number(record, "at"), name=str(record.get("name")), key=str(record.get("key", "")))
    if len(data.events) < MAX_EVENTS:
        data.events.append(event)
    else:
        data.more_events += 1
    verdict = record.get("verdict")
    if isinstance(verdict, dict) and isinstance(verdict.get("text"), str):
        size = record.get("size")
        known = float(size) if isinstance(size, int | float) and not isinstance(size, bool) else 0.0
        if known >= data.verdict_bytes:
            data.verdict_bytes = known
            data.verdict = f"{verdict['text']} {verdict.get('advice') or ''}".rstrip()


def _number(record: dict[str, Any], name: str, *, default: float | None = None, least: float = 0.0) -> float:
    value = record.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _DamagedError(f"has no number {name}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < least:
        raise _DamagedError(f"has {foreign(str(value), 30)} for {name}")
    return number
