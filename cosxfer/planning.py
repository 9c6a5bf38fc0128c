"""Plans the parts of a file and how many are hashed at once. Pure: sizes in, a plan out."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import replace

from cosxfer.arguments import AUTO, NumberOrAuto, shown
from cosxfer.config import DEFAULT_WINDOW_BYTES, check_part_size
from cosxfer.errors import UsageError
from cosxfer.limits import KIB, MAX_OBJECT_BYTES, MAX_PART_BYTES, MAX_PART_NUMBER, MIB, MIN_PART_BYTES
from cosxfer.records import dataclass

PREFERRED_PART_BYTES = 8 * MIB
"""Large enough to make the overhead of a request negligible, and small enough to make a retry cheap."""

STREAM_SECONDS = 2.5
"""How long a part should keep its stream busy."""

LANE_SHIFT_BYTES = 64 * KIB
"""So parts that are hashed side by side leave the huge pages of their file (2 MiB) one after another. If all left them
at once, two of each would count as memory."""

ENOUGH_PART_BYTES = 32 * MIB
"""If the server answers at once, a part need not be larger."""

NEAR_PARTS = 32

NEAR_SECONDS = 10.0
"""A part of a near server takes less time."""

RESPONSES_PER_PART = 50
"""It answers at once if a part that is larger takes so many times the time of a response."""

EXPECTED_SLOTS = 96
"""Parts in flight that a link of which nothing is known may need."""

LONGEST_LOOK_AHEAD_BYTES = 16 * (ENOUGH_PART_BYTES + LANE_SHIFT_BYTES)
"""Maximum bytes hashed in one batch. More would leave the page cache before they are sent."""


@dataclass(frozen=True, kw_only=True)
class PartRange:
    """One part: ``length`` bytes from ``offset`` on. ``number`` counts from 1."""

    number: int
    offset: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A file of ``size`` bytes in parts of ``part_size_bytes``. The last part may be shorter."""

    size: int
    part_size_bytes: int

    @property
    def count(self) -> int:
        """Number of parts. An empty file is one empty part."""
        return max(1, -(-self.size // self.part_size_bytes))

    def length(self, number: int) -> int:
        """Bytes of the part with this number, from 1."""
        if not 1 <= number <= self.count:
            raise IndexError(number)
        return min(self.part_size_bytes, self.size - (number - 1) * self.part_size_bytes)

    def part(self, number: int) -> PartRange:
        """Return the part with this number, from 1."""
        length = self.length(number)
        return PartRange(number=number, offset=(number - 1) * self.part_size_bytes, length=length)

    def __iter__(self) -> Iterator[PartRange]:
        return map(self.part, range(1, self.count + 1))


STREAM_BYTES = 8 * 10**12
"""What the automatic parts of a stream hold at least."""

PARTS_OF_ONE_SIZE = 1000
"""After so many parts of a stream the next ones are twice as large, so that 10,000 parts hold any length."""


@dataclass(frozen=True, kw_only=True)
class StreamPlan:
    """The parts of a stream whose length is not known.

    The first 1,000 parts have ``first_part_bytes`` each, the next 1,000 twice as many, and so on, up to 5 GiB. With
    8 MiB the last part of a stream of 24 GiB has 16 MiB, and 10,000 parts hold 8 TB.
    """

    first_part_bytes: int = PREFERRED_PART_BYTES
    parts_of_one_size: int = PARTS_OF_ONE_SIZE

    @property
    def holds(self) -> int:
        """Bytes of the longest stream."""
        each = self.parts_of_one_size
        return sum(
            self.length(first) * (min(each, MAX_PART_NUMBER + 1 - first))
            for first in range(1, MAX_PART_NUMBER + 1, each)
        )

    def length(self, number: int) -> int:
        """Bytes of the part with this number, from 1; the last part of a stream is shorter."""
        return min(self.first_part_bytes << ((number - 1) // self.parts_of_one_size), MAX_PART_BYTES)


PARTS_PER_SLOT = 3
"""An automatic part size gives each slot about so many parts of a file, if they are not smaller than 1 MiB then."""


@dataclass(frozen=True, kw_only=True)
class LinkKnowledge:
    """What is known of the link, for the automatic part size."""

    slots: int = EXPECTED_SLOTS
    """Parts in flight that are expected, of this upload."""
    stream_bytes_per_second: float | None = None
    """Goodput of one part in flight; None if it is not known."""
    response_seconds: float | None = None
    """Time of a request without a body; None if it is not known or does not matter."""
    local: bool = False
    """Whether the server of an upload is on this machine or the next one."""


def plan_stream(
    size: int | None,
    *,
    part_size_bytes: NumberOrAuto = AUTO,
    known: LinkKnowledge | None = None,
    window_bytes: int = DEFAULT_WINDOW_BYTES,
    name: str = "part_size",
) -> Plan | StreamPlan:
    """Plan the parts of a stream of ``size`` bytes, or of an unknown length if that is None.

    The other parameters and the errors are those of `plan_parts`.
    """
    if size is not None:
        return plan_parts(size, part_size_bytes=part_size_bytes, known=known, window_bytes=window_bytes, name=name)
    given = check_part_size(part_size_bytes, name=name)
    return StreamPlan(first_part_bytes=given) if isinstance(given, int) else _auto_stream(known, window_bytes)


def _auto_stream(known: LinkKnowledge | None, window_bytes: int) -> StreamPlan:
    """Choose the first part for the link and the window, and how soon the parts double.

    The smaller the first part, the sooner: 10,000 parts have to hold `STREAM_BYTES`.
    """
    known = known or LinkKnowledge(slots=2)
    first = auto_part_size(
        MAX_PART_NUMBER * MIN_PART_BYTES,  # for which each part size is legal
        window_bytes=window_bytes,
        slots=max(2, known.slots),
        stream_bytes_per_second=known.stream_bytes_per_second,
    )
    plan = StreamPlan(first_part_bytes=first)
    while plan.holds < STREAM_BYTES:
        plan = replace(plan, parts_of_one_size=plan.parts_of_one_size - 50)
    return plan


def plan_parts(
    size: int,
    *,
    part_size_bytes: NumberOrAuto = AUTO,
    known: LinkKnowledge | None = None,
    window_bytes: int = DEFAULT_WINDOW_BYTES,
    name: str = "part_size",
) -> Plan:
    """Split ``size`` bytes into parts within the limits of COS: 1 MiB to 5 GiB each, at most 10,000.

    A part size that is given (the parameter ``name``) is kept or refused, never changed. ``"auto"`` is fit for the link
    that is ``known``: see `auto_part_size`, to which ``window_bytes`` is passed. If nothing adapts to the link (None),
    it is 8 MiB, or as many whole MiB as 10,000 parts need. Raises `UsageError` with the value and the limit.
    """
    if size > MAX_OBJECT_BYTES:
        raise UsageError(
            f"the file is {shown(size)} bytes long; an object of COS holds at most {MAX_OBJECT_BYTES}",
            name="size",
            value=size,
        )
    given = check_part_size(part_size_bytes, name=name)
    if not isinstance(given, int):
        return Plan(size=size, part_size_bytes=_auto_size(size, known, window_bytes))
    plan = Plan(size=size, part_size_bytes=given)
    if plan.count > MAX_PART_NUMBER:
        smallest = -(-size // MAX_PART_NUMBER)
        raise UsageError(
            f"{name} is {given} bytes, and the file of {size} bytes would need {plan.count} parts; "
            f'COS allows {MAX_PART_NUMBER}. Give at least {-(-smallest // MIB)} MiB, or "auto"',
            name=name,
            value=given,
        )
    return plan


def plan_of_listed(lengths: Mapping[int, int], own: Plan, *, fixed: bool) -> Plan | None:
    """Return the plan that parts on the server were cut by; None if no legal plan for a file of this size fits them.

    ``lengths`` are their bytes by part number. ``own`` is the plan of a new upload, which is tried first. If the user
    has ``fixed`` the part size, no other plan is tried.
    """
    sizes = [own.part_size_bytes]
    if not fixed and lengths:
        sizes.append(max(lengths.values()))
        number, last = max(lengths.items())
        if len(lengths) == 1 and number > 1:  # it may be the last part, which is shorter
            sizes.append(-(-(own.size - last) // (number - 1)))
    for part_size in sizes:
        try:
            plan = plan_parts(own.size, part_size_bytes=part_size)
        except UsageError:
            continue
        if all(1 <= number <= plan.count and plan.length(number) == length for number, length in lengths.items()):
            return plan
    return None


def _auto_size(size: int, known: LinkKnowledge | None, window_bytes: int) -> int:
    if known is None:
        return max(PREFERRED_PART_BYTES, _whole_mib(-(-size // MAX_PART_NUMBER)))
    return auto_part_size(
        size,
        window_bytes=window_bytes,
        slots=known.slots,
        stream_bytes_per_second=known.stream_bytes_per_second,
        response_seconds=known.response_seconds,
        local=known.local,
    )


def auto_part_size(
    size: int,
    *,
    window_bytes: int,
    slots: int = EXPECTED_SLOTS,
    stream_bytes_per_second: float | None = None,
    response_seconds: float | None = None,
    local: bool = False,
) -> int:
    """Choose the part size for ``size`` bytes: legal, and as much as the link can use.

    It is whole MiB, unless the server is near.

    - At least what 10,000 parts need.
    - ``STREAM_SECONDS`` of a stream at its known rate, else `PREFERRED_PART_BYTES`: the time between two parts then
      does not count. If a response is known to take ``response_seconds``, not more than `RESPONSES_PER_PART` times
      that, or `ENOUGH_PART_BYTES`.
    - If that decides, or the server is ``local``, the processor is the limit: `_near_part_size`, if the window holds
      all of the file.
    - Not so large that ``slots`` parts, the level that is expected, do not fit into ``window_bytes``, or that each slot
      has fewer than `PARTS_PER_SLOT` parts: at the end of a file, slots idle for half of a part on average. The first
      rule wins over these two.
    """
    least = max(MIN_PART_BYTES, _whole_mib(-(-size // MAX_PART_NUMBER)))
    wanted, near = PREFERRED_PART_BYTES, _near_part_size(size) if local else 0
    if stream_bytes_per_second is not None:
        wanted = int(min(MAX_PART_BYTES, max(0.0, STREAM_SECONDS * stream_bytes_per_second)))
        if response_seconds is not None:
            seconds = min(STREAM_SECONDS, RESPONSES_PER_PART * response_seconds)
            enough = int(seconds * stream_bytes_per_second)
            if enough <= ENOUGH_PART_BYTES <= wanted:
                near = _near_part_size(size)
            wanted = min(wanted, max(ENOUGH_PART_BYTES, enough))
        if near > NEAR_SECONDS * stream_bytes_per_second:
            near = 0  # only the next station is near, such as a proxy
    if near and window_bytes >= size:
        return max(least, near)
    room = min(window_bytes, size // PARTS_PER_SLOT if slots > 1 else size) // max(1, slots)
    return min(MAX_PART_BYTES, max(least, min(wanted, room) // MIB * MIB))


def _near_part_size(size: int) -> int:
    """As many parts as the lanes of the hashing, if they have 4 MiB then: each part costs time in Python.

    No part needs to wait for another, so slots may get one part only.
    """
    return min(ENOUGH_PART_BYTES, max(4 * MIB, _whole_mib(-(-size // NEAR_PARTS)))) + LANE_SHIFT_BYTES


def _whole_mib(size: int) -> int:
    return -(-size // MIB) * MIB


def leaves_page_cache(size: int, *, memory_bytes: int) -> bool:
    """Whether a file of ``size`` bytes should be dropped from the page cache behind the sending.

    A file that is large against the machine's memory would push out what others need, and itself with it.
    """
    return size > memory_bytes // 4


def hash_batches(
    plan: Plan,
    *,
    lanes: int,
    concurrency: int,
    quick: Callable[[], bool] = lambda: False,
    done: Container[int] = (),
) -> Iterator[list[PartRange]]:
    """Group the parts as they are hashed: together, so that each SIMD lane has one, and just ahead of the sending.

    The first batch is small, so that sending begins at once; the following ones double up to ``lanes`` parts or
    `LONGEST_LOOK_AHEAD_BYTES`, whichever is less. If the file is read fast (``quick``), all of these are used at once,
    because few lanes take as long as all of them. The part numbers in ``done`` are left out.
    """
    most = max(1, min(lanes, LONGEST_LOOK_AHEAD_BYTES // plan.part_size_bytes))
    numbers = [number for number in range(1, plan.count + 1) if number not in done]
    size, first = min(most, concurrency), 0
    while first < len(numbers):
        yield [plan.part(number) for number in numbers[first : first + size]]
        first, size = first + size, most if quick() else min(most, size * 2)
