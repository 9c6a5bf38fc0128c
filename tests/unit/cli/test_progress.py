"""The display of a long upload. Hashing waits for sending, so only the summary shows its rate."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from cosxfer.cli import bars, progress
from cosxfer.models import Progress

HALF = Progress(loaded=50_000_000, total=100_000_000, speed=25e6, percent=0.5)


def test_lines_show_the_send_rate(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1.0, 1.0, 7.0, 7.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with progress.display(activities=("hashing", "sending")) as shown:
        for activity in ("hashing", "sending") * 2:
            shown.update(activity, HALF)
    assert capfd.readouterr().err.splitlines() == [
        "hashing: 50%, 47.7 MiB of 95.4 MiB, 2 s left",
        "sending: 50%, 47.7 MiB of 95.4 MiB, 25.0 MB/s, 2 s left",
    ]


def test_bars_show_the_send_rate() -> None:
    screen = io.StringIO()
    shown = bars.bars(Console(file=screen, force_terminal=True, width=100), ("hashing", "sending"))
    for activity in ("hashing", "sending"):
        shown.update(activity, HALF)
    with shown.bars:
        pass
    hashing, sending = screen.getvalue().splitlines()[:2]
    assert " 50%" in hashing
    assert "MB/s" not in hashing
    assert " 50%" in sending
    assert "25.0 MB/s" in sending
