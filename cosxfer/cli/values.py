"""Values of options and arguments, read from text."""

from __future__ import annotations

import re
from pathlib import Path

from cosxfer.cos.names import shorten
from cosxfer.errors import UsageError

_SIZE = re.compile(r"(\d+)\s*([kmgt]?)(i?)b?", re.IGNORECASE | re.ASCII)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str, *, name: str) -> int:
    """Read a number of bytes such as ``8388608``, ``8MiB``, ``8M`` (both 8 * 2**20) or ``8MB`` (8 * 10**6)."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{name} is {shorten(text)}; write a size such as 8MiB or 8388608", name=name, value=text)
    number, unit, binary = match.groups()
    decimal = not binary and len(unit) == 1 and text.strip().lower().endswith("b")
    base = 1000 if decimal else 1024
    return int(number) * int(base ** _POWERS[unit.lower()])


def parse_destination(text: str, file: Path) -> tuple[str, str]:
    """Read ``cos://bucket/key``; a key that is missing or ends with ``/`` gets the name of ``file``."""
    scheme, separator, rest = text.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme.lower() != "cos" or not separator or not bucket:
        raise UsageError(
            f"the destination {shorten(text)} is not of the form cos://BUCKET/KEY", name="destination", value=text
        )
    return bucket, f"{key}{file.name}" if not key or key.endswith("/") else key


def parse_metadata(pairs: list[str]) -> dict[str, str]:
    """Read ``k=v`` pairs."""
    metadata: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise UsageError(f"--meta is {shorten(pair)}; write k=v", name="--meta", value=pair)
        metadata[name] = value
    return metadata


def human_bytes(count: float) -> str:
    """A size for people, in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def human_rate(count: float, seconds: float) -> str:
    """A rate for people, in decimal units, as networks and disks are rated."""
    rate = count / seconds if seconds > 0 else 0.0
    return f"{rate / 1e9:.2f} GB/s" if rate >= 1e9 else f"{rate / 1e6:.1f} MB/s"
