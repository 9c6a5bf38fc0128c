"""What a person sees of a long upload: bars on a terminal, a line now and then elsewhere. All on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

from cosxfer.cli.values import human_bytes, human_rate
from cosxfer.models import Progress

LINE_SECONDS = 5.0
"""Between two lines where there is no terminal: a log of a long upload stays short."""


class Display(Protocol):
    """Shows how several activities (``"hashing"``, ``"sending"``) come along."""

    def update(self, activity: str, progress: Progress) -> None: ...


@contextmanager
def display(*, activities: tuple[str, ...]) -> Iterator[Display]:
    """Choose bars or lines by where standard error goes."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    bars = Bars(
        TextColumn("{task.description:>8}"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    with bars:
        yield _Bars(bars, {name: bars.add_task(name, total=None) for name in activities})


@dataclass
class _Bars:
    bars: Bars
    tasks: dict[str, TaskID]

    def update(self, activity: str, progress: Progress) -> None:
        # A total of zero would be shown as unknown.
        self.bars.update(self.tasks[activity], completed=progress.loaded, total=progress.total or 1)
        if not progress.total:
            self.bars.update(self.tasks[activity], completed=1)


@dataclass
class _Lines:
    shown_at: dict[str, float] = field(default_factory=dict)

    def update(self, activity: str, progress: Progress) -> None:
        now = time.monotonic()
        last = self.shown_at.setdefault(activity, now)
        if now - last < LINE_SECONDS:
            return
        self.shown_at[activity] = now
        print(
            f"{activity}: {progress.percent:.0%}, {human_bytes(progress.loaded)} of {human_bytes(progress.total)}, "
            f"{human_rate(progress.speed, 1)}",
            file=sys.stderr,
            flush=True,
        )
