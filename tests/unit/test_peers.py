"""``bench/peers.py``: what it does with runs that fail."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import peers

RUN = peers.Run(seconds=2.0, cpu_seconds=1.0, anonymous_bytes=0, total_bytes=0, sink_cores=0.1)


def compared(monkeypatch: pytest.MonkeyPatch, outcomes: Iterator[bool]) -> dict[str, Any]:
    """The row of a client whose runs fail or not."""

    def measure(*_: object) -> peers.Run:
        if next(outcomes):
            return RUN
        raise peers.RunError("exit -6: ")

    monkeypatch.setattr(peers, "measure", measure)
    anything: Any = None
    work = peers.Work(name="small", path=Path(), files=10, size=1_000_000)
    client = peers.Client(name="one", verifies="", make=anything, needs=())
    comparison = peers.compare(work, work, "http1", anything, 0, [client], Path(), rounds=3, best=False)
    return peers.row(comparison.entries[0], work)


def test_a_run_that_fails_is_repeated_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    row = compared(monkeypatch, iter([True, False, True, False, False, True, True]))
    assert (row["MB/cpu-s"], row["failed runs"]) == (1.0, 3)


def test_a_client_that_always_fails_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = iter([True] * 2 + [False] * 100)
    row = compared(monkeypatch, tried)
    assert row["failure"] == "exit -6: "
    assert len(list(tried)) == 100 - peers.RUNS_THAT_MAY_FAIL - 1
