"""What the user allows a client: its walls. Pure: settings in, limits out.

A number in the settings is a wall. ``"auto"`` is none: the scheduler chooses and adapts. This module alone says what
``concurrency``, ``file_parallel_limit``, ``part_size`` and the ``async_limit`` of a call mean together.
"""

from __future__ import annotations

from cosxfer.arguments import NumberOrAuto, is_auto
from cosxfer.config import MAX_CONCURRENCY, ClientConfig
from cosxfer.records import dataclass


@dataclass(frozen=True, kw_only=True)
class Walls:
    """The limits that the user has set. None: there is none."""

    tasks: int | None
    """The most tasks that run at a time."""
    per_transfer: int | None
    """How many parts of each upload are in flight, no more and no less."""
    least_slots: int
    """The fewest parts in flight of the whole client."""
    most_slots: int
    """The most parts in flight. If it equals ``least_slots``, the number is fixed."""

    @property
    def are_fixed(self) -> bool:
        """Whether nothing is left for the scheduler to choose."""
        return self.least_slots == self.most_slots


def walls(config: ClientConfig) -> Walls:
    """Return the walls of a client with these settings.

    - ``concurrency`` and ``file_parallel_limit`` are numbers: their product is in flight, no more and no less.
    - ``concurrency`` alone: each upload has so many parts in flight. The scheduler chooses how many uploads run.
    - ``file_parallel_limit`` alone: so many tasks at most. The scheduler chooses how many parts are in flight.
    """
    tasks = _number(config.file_parallel_limit)
    parts = _number(config.concurrency)
    if parts is None:
        return Walls(tasks=tasks, per_transfer=None, least_slots=1, most_slots=MAX_CONCURRENCY)
    if tasks is None:
        whole_uploads = MAX_CONCURRENCY // parts * parts
        return Walls(tasks=None, per_transfer=parts, least_slots=parts, most_slots=whole_uploads)
    return Walls(tasks=tasks, per_transfer=parts, least_slots=tasks * parts, most_slots=tasks * parts)


def _number(setting: NumberOrAuto) -> int | None:
    return setting if isinstance(setting, int) else None


def parts_in_flight(config: ClientConfig, async_limit: NumberOrAuto | None = None) -> int:
    """Return how many parts of one upload may be in flight; None for ``async_limit`` means the client's setting."""
    number = _number(config.concurrency if async_limit is None else async_limit)
    return MAX_CONCURRENCY if number is None else number


def usual_parts(config: ClientConfig, *, in_task: bool) -> int:
    """Return how many parts in flight of one transfer the slots of the client are made for.

    A transfer that may have more adds the difference while it runs (`Limiter.share`). With fixed slots, these are made
    for tasks alone: a stream that is sent at once brings its own, so a body that sends another stream first does not
    wait for itself.
    """
    return parts_in_flight(config) if in_task or is_auto(config.concurrency) else 0


def part_size_of(config: ClientConfig, part_size: NumberOrAuto | None, name: str) -> tuple[NumberOrAuto, str]:
    """Return the part size of an upload and the name of the parameter that says it, for messages.

    ``part_size`` is the parameter ``name`` of the call. None means the client's setting.
    """
    return (config.part_size, "part_size") if part_size is None else (part_size, name)
