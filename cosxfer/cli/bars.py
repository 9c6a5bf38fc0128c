"""Bars on a terminal. Imported only if there is one: rich takes a third of the time that the command needs to start."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

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

from cosxfer.cli.activities import WITHOUT_RATE
from cosxfer.cli.notices import written_by
from cosxfer.cli.output import printable
from cosxfer.figures import human_rate
from cosxfer.models import Progress
from cosxfer.records import dataclass

FULL_COLUMNS = 90
BAR_COLUMNS = 60
"""A narrower terminal shows the figures without a bar."""
RATE_COLUMNS = 32
"""A narrower terminal shows only the percentage."""


@contextmanager
def on_terminal(activities: tuple[str, ...]) -> Iterator[_Bars]:
    """Show bars on standard error. Notices are written above them."""
    console = Console(stderr=True)
    shown = bars(console, activities)

    def write(line: str) -> None:
        # A command to copy is not wrapped.
        console.print(Text(printable(line)), soft_wrap=line.startswith(" "))

    with shown.bars, written_by(write):
        yield shown


def bars(console: Console, activities: tuple[str, ...]) -> _Bars:
    """Return bars for a terminal, one for each activity."""
    # rich writes standard output above the bars too. If that is a file or a pipe, its lines must go there.
    above = sys.stdout is not None and sys.stdout.isatty()
    drawn = Bars(*_columns(console.width), console=console, transient=True, redirect_stdout=above)
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
