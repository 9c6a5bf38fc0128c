"""Formats figures for people: sizes, rates, times and counts."""

from __future__ import annotations


def human_bytes(count: float) -> str:
    """Return a size for people, in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024 or unit == "TiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def human_rate(count: float, seconds: float) -> str:
    """Return a rate for people, in decimal units, as for networks and disks."""
    rate = count / seconds if seconds > 0 else 0.0
    if rate >= 1e9:
        return f"{rate / 1e9:.2f} GB/s"
    return f"{rate / 1e6:.1f} MB/s" if rate >= 1e6 else f"{rate / 1e3:.1f} kB/s"


def human_time(seconds: float) -> str:
    """Return a time for people, in at most two units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def counted(count: int, thing: str) -> str:
    """Return a count with its noun: ``1 part``, ``2 parts``."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
