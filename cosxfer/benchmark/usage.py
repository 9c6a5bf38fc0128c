"""What a part of a process took: time, CPU, peak of memory."""

from __future__ import annotations

import resource
import time
from pathlib import Path

from cosxfer.records import dataclass

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""Source: proc(5), clear_refs."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What was used between two moments."""

    seconds: float
    cpu_seconds: float
    """User and system time of this process, all threads."""
    peak_bytes: int | None
    """The most resident memory. None if the system does not tell it for this time alone."""


class Meter:
    """Begins to measure when it is made."""

    def __init__(self) -> None:
        self._resets = _reset_peak()
        self._cpu = _cpu_seconds()
        self._began = time.monotonic()

    def read(self) -> Usage:
        """Return what was used until now."""
        seconds, cpu = time.monotonic() - self._began, _cpu_seconds() - self._cpu
        return Usage(seconds=seconds, cpu_seconds=cpu, peak_bytes=_peak_bytes() if self._resets else None)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _reset_peak() -> bool:
    """Let the peak begin anew. Returns False if the system cannot do that."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _peak_bytes() -> int | None:
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None
