"""Progress callbacks: called at a limited rate. If one fails, the transfer goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from cosxfer.events import ProgressMeter
from cosxfer.foreign import clean_logger
from cosxfer.models import Progress

logger = clean_logger("cosxfer")

T = TypeVar("T")


class Reporter:
    """Counts bytes and reports `Progress` to ``callback``. Without a callback it only counts."""

    def __init__(self, callback: Callable[[Progress], None] | None, total: int | None) -> None:
        self._callback = callback
        self._meter = ProgressMeter(total)
        self._loaded = 0

    def start(self, done: int = 0) -> None:
        """Report the bytes that an earlier run has ``done``, so that a callback knows the total from the beginning."""
        self.add(done)

    def set_total(self, total: int) -> None:
        """Set the total, which becomes known at the end of a stream."""
        self._meter.total = total

    def add(self, amount: int) -> None:
        """Report that ``amount`` more bytes are done. It is negative if bytes have to be sent again."""
        self._loaded += amount
        if self._callback is not None:
            progress = self._meter.update(self._loaded, time.monotonic())
            if progress is not None:
                call(self._callback, progress)

    def finish(self) -> None:
        """Report that everything is done."""
        if self._callback is not None:
            call(self._callback, self._meter.finish(time.monotonic()))


def call(callback: Callable[[T], None], value: T) -> None:
    """Call a callback of the caller. If it raises, the error is logged and the transfer goes on."""
    try:
        callback(value)
    except Exception:
        logger.exception("a callback raised; the transfer goes on")
