"""Parts of every benchmark: the machine, interleaved rounds, figures as JSON or as a table (design, section 11)."""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

# Processes that are measured would compile modules whose compiled form is missing or old, each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

PACKAGES = ("cosxfer", "httpx", "numpy", "granian")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One result. ``must`` and ``aim`` are None if nothing was promised. ``spread`` is (largest - smallest) / median of
    the rounds."""

    name: str
    value: float
    unit: str
    must: float | None = None
    aim: float | None = None
    better: Literal["higher", "lower"] = "higher"
    spread: float = 0.0

    def reached(self, bound: float | None) -> bool:
        if bound is None:
            return True
        return self.value >= bound if self.better == "higher" else self.value <= bound


def machine(**more: str) -> dict[str, Any]:
    """Return the machine and the versions of the run; ``more`` adds a benchmark's own entries."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    tcp = {"tcp": name} if (name := _congestion_control()) else {}
    return {"cpu": _cpu(), "cores": os.cpu_count(), "kernel": platform.release(), **tcp, **versions, **more}


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _congestion_control() -> str:
    """Return what TCP uses by default here. BBR costs a sender over loopback a tenth of its CPU time and more."""
    try:
        return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    except OSError:
        return ""


Rounds = dict[str, list[float]]


def interleave(sides: Mapping[str, Callable[[], float]], rounds: int) -> Rounds:
    """Run each side once to warm up, then all in turn, ``rounds`` times; return the values of each, round by round.

    The garbage collector is off during the rounds. Take ratios within a round, so that a drift of the machine affects
    both sides.
    """
    values: Rounds = {name: [] for name in sides}
    for side in sides.values():
        side()
    enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, side in sides.items():
                values[name].append(side())
    finally:
        if enabled:
            gc.enable()
    return values


def median(values: list[float]) -> float:
    return statistics.median(values)


def spread(values: list[float]) -> float:
    return (max(values) - min(values)) / median(values)


def ratio(name: str, over: list[float], under: list[float], **more: Any) -> Figure:
    """Return the figure ``over`` ÷ ``under``: the median of the ratios of the rounds."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    return Figure(name=name, value=median(ratios), unit="x", spread=spread(ratios), **more)


def absolute(name: str, values: list[float], unit: str, **more: Any) -> Figure:
    return Figure(name=name, value=median(values), unit=unit, spread=spread(values), **more)


def arguments(description: str) -> argparse.ArgumentParser:
    """Parse the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and less data, for a check that it works")
    parser.add_argument("--plot", metavar="FILE", help="also draw a picture")
    return parser


def publish(figures: list[Figure], *, as_json: bool, note: str = "", **more: str) -> None:
    """Print the figures. ``more`` is added to the machine block, and ``note`` is printed below the table."""
    block = machine(**more)
    if as_json:
        print(json.dumps({"machine": block, "figures": [asdict(figure) for figure in figures]}, indent=1))
        return
    print(", ".join(f"{key} {value}" for key, value in block.items()))
    width = max((len(figure.name) for figure in figures), default=0)
    print(f"\n{'':{width}}  {'value':>9} {'':8} {'must':>7} {'aim':>7} {'spread':>7}")
    for figure in figures:
        verdict = "" if figure.must is None and figure.aim is None else _verdict(figure)
        bounds = " ".join(f"{'' if bound is None else format(bound, 'g'):>7}" for bound in (figure.must, figure.aim))
        value = f"{figure.value:.0f}" if figure.value >= 1000 else f"{figure.value:.3g}"
        row = f"{figure.name:{width}}  {value:>9} {figure.unit:8} {bounds} {figure.spread:6.0%}"
        print(f"{row}  {verdict}".rstrip())
    if note:
        print(f"\n{note}", file=sys.stdout)


def _verdict(figure: Figure) -> str:
    if not figure.reached(figure.must):
        return "MISSED"
    return "aim" if figure.reached(figure.aim) else "must"
