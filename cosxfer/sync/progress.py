"""The progress of many transfers together. The total grows while they are found."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from cosxfer.events import ProgressMeter
from cosxfer.models import Progress

OnProgress: TypeAlias = Callable[[Progress], None] | None


class TotalProgress:
    """Adds up the progress of parts. Memory does not grow with their number.

    Parts report from one thread, that of the callbacks. ``callback`` gets the sum several times a second.
    """

    def __init__(self, callback: OnProgress) -> None:
        self._callback = callback
        self._loaded = 0
        self._total = 0
        self._meter = ProgressMeter(0)

    def part(self, size: int) -> OnProgress:
        """Add a part of ``size`` bytes. Returns its callback, or None if nobody listens."""
        self._total += size
        if self._callback is None:
            return None
        counted = 0

        def report(progress: Progress) -> None:
            nonlocal counted
            self._loaded += progress.loaded - counted
            counted = progress.loaded
            self._meter.total = self._total
            self._tell(self._meter.update(self._loaded, time.monotonic()))

        return report

    def finish(self) -> None:
        """Send the last report: what was transferred, which is less than the total if a part has failed."""
        if self._callback is not None:
            self._meter.total = self._total
            self._tell(self._meter.finish(time.monotonic(), loaded=self._loaded))

    def _tell(self, progress: Progress | None) -> None:
        if progress is not None and self._callback is not None:
            self._callback(progress)
