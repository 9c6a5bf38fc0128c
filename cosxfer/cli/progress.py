"""Progress on standard error: bars on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from typing import Protocol

from cosxfer.cli.activities import WITHOUT_RATE
from cosxfer.cli.output import tell
from cosxfer.figures import human_bytes, human_rate, human_time
from cosxfer.models import Progress
from cosxfer.records import dataclass

LINE_SECONDS = 5.0
"""Time between two lines without a terminal, so that the log of a long upload stays short."""


def _terminal() -> bool:
    """Whether standard error is a terminal that can show bars."""
    return (
        sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") not in (None, "", "dumb", "unknown")
    )


if _terminal():
    import cosxfer.cli.bars  # noqa: F401 (now, because no signal raises yet)


class Display(Protocol):
    """Shows the progress of several activities (``"hashing"``, ``"sending"``)."""

    def update(self, activity: str, progress: Progress) -> None: ...

    def label(self, activity: str, text: str) -> None:
        """Show ``text`` instead of the activity's name."""


@contextmanager
def display(*, activities: tuple[str, ...]) -> Iterator[Display]:
    """Show bars if standard error is a terminal, otherwise lines."""
    if not _terminal():
        yield _Lines()
        return
    from cosxfer.cli.bars import on_terminal

    with on_terminal(activities) as shown:
        yield shown


@dataclass
class _Lines:
    shown_at: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def update(self, activity: str, progress: Progress) -> None:
        now = time.monotonic()
        last = self.shown_at.setdefault(activity, now)
        if now - last < LINE_SECONDS:
            return
        self.shown_at[activity] = now
        known = progress.total > 0
        left = (progress.total - progress.loaded) / progress.speed if known and progress.speed > 0 else None
        done = f"{progress.percent:.0%}, {human_bytes(progress.loaded)} of {human_bytes(progress.total)}"
        tell(
            f"{self.labels.get(activity, activity)}: {done if known else human_bytes(progress.loaded)}"
            + ("" if activity in WITHOUT_RATE else f", {human_rate(progress.speed, 1)}")
            + ("" if left is None else f", {human_time(left)} left")
        )

    def label(self, activity: str, text: str) -> None:
        self.labels[activity] = text
