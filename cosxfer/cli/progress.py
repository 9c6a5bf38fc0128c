"""Progress on standard error: bars on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from cosxfer.cli.notices import written_by
from cosxfer.cli.output import printable, tell
from cosxfer.figures import human_bytes, human_rate, human_time
from cosxfer.models import Progress
from cosxfer.records import dataclass

LINE_SECONDS = 5.0
"""Time between two lines without a terminal, so that the log of a long upload stays short."""

FULL_COLUMNS = 90
BAR_COLUMNS = 60
"""A narrower terminal shows the figures without a bar."""
RATE_COLUMNS = 32
"""A narrower terminal shows only the percentage."""


WITHOUT_RATE = ("hashing",)
"""Hashing waits for sending, so its rate would be that of sending. The summary has the rate while it ran."""


class Display(Protocol):
    """Shows the progress of several activities (``"hashing"``, ``"sending"``)."""

    def update(self, activity: str, progress: Progress) -> None: ...

    def label(self, activity: str, text: str) -> None:
        """Show ``text`` instead of the activity's name."""


@contextmanager
def display(*, activities: tuple[str, ...]) -> Iterator[Display]:
    """Show bars if standard error is a terminal, otherwise lines."""
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") in (None, "", "dumb", "unknown"):
        yield _Lines()
        return
    console = Console(stderr=True)
    shown = bars(console, activities)

    def write(line: str) -> None:
        # A command to copy is not wrapped.
        console.print(Text(printable(line)), soft_wrap=line.startswith(" "))

    with shown.bars, written_by(write):
        yield shown


def bars(console: Console, activities: tuple[str, ...]) -> _Bars:
    """Return bars for a terminal, one for each activity."""
    drawn = Bars(*_columns(console.width), console=console, transient=True)
    return _Bars(drawn, {name: drawn.add_task(name, total=None, rate="") for name in activities})


def _columns(width: int) -> list[ProgressColumn]:
    columns: list[ProgressColumn] = [TextColumn("{task.description:>8}", markup=False)]
    if width >= BAR_COLUMNS:
        columns.append(BarColumn(bar_width=None if width < FULL_COLUMNS else 40))
    columns.append(TaskProgressColumn())
    if width >= FULL_COLUMNS:
        columns.append(DownloadColumn(binary_units=True))
    if width >= RATE_COLUMNS:
        columns += [TextColumn("{task.fields[rate]:>10}", markup=False), TimeRemainingColumn(compact=True)]
    return columns


@dataclass
class _Bars:
    bars: Bars
    tasks: dict[str, TaskID]

    def update(self, activity: str, progress: Progress) -> None:
        rate = human_rate(progress.speed, 1) if progress.speed > 0 and activity not in WITHOUT_RATE else ""
        # rich shows a total of None as unknown, and one of zero too.
        total: int | None = progress.total or None
        completed = progress.loaded
        if total is None and progress.percent == 1.0:
            total = completed = 1  # nothing was to be sent
        self.bars.update(self.tasks[activity], completed=completed, total=total, rate=rate)

    def label(self, activity: str, text: str) -> None:
        self.bars.update(self.tasks[activity], description=text)


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
