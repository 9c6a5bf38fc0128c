"""What the levels of the tuner have brought. Pure. Goodput is in units of work per second."""

from __future__ import annotations

from collections.abc import Mapping

import cosxfer.tuning_rules as rule


class Levels:
    """The last goodput of each level that was measured since the link or the requests were other ones."""

    def __init__(self) -> None:
        self._known: dict[int, float] = {}
        self._hasty: set[int] = set()
        """Levels of the ramp: they were measured before their connections were up to speed."""

    def __bool__(self) -> bool:
        return bool(self._known)

    def __getitem__(self, level: int) -> float:
        return self._known[level]

    @property
    def highest(self) -> float:
        """The best goodput; 0: none is known."""
        return max(self._known.values(), default=0.0)

    @property
    def of_a_request(self) -> float:
        """The most that a request has brought."""
        return max((goodput / level for level, goodput in self._known.items()), default=0.0)

    def forget(self) -> None:
        """Forget all."""
        self._known, self._hasty = {}, set()

    def restart(self, level: int, goodput: float) -> None:
        """Forget all but this level."""
        self._known, self._hasty = {level: goodput}, set()

    def note(self, level: int, goodput: float, *, hasty: bool = False) -> None:
        """Note the goodput of a level. ``hasty``: in the ramp."""
        self._known[level] = goodput
        (self._hasty.add if hasty else self._hasty.discard)(level)

    def best(self, *, preferred: int) -> int:
        """The level with the best goodput, or ``preferred`` if it was measured."""
        return preferred if preferred in self._known else max(self._known, key=lambda level: self._known[level])

    def fewest(self, goodput: float) -> int:
        """The lowest level that brought about as much as this."""
        return min(level for level, known in self._known.items() if known >= (1 - rule.LEAST_PRICE) * goodput)

    def lower_bounds(self, worse: int | None, *, every: bool) -> Mapping[int, float]:
        """What bounds a probe down: the lower level that was worse, and ``every`` other one too if it may."""
        return {level: known for level, known in self._known.items() if every or level == worse}

    def is_outdated(self, above: int | None, level: int, goodput: float) -> bool:
        """Whether fewer requests bring more than the level ``above`` because its connections were not up to speed."""
        if above not in self._hasty or level >= above:
            return False
        return goodput > rule.RAMP_GAIN * self._known[above]
