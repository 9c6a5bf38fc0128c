"""What a short way of doing a job leaves to the usual one."""

from __future__ import annotations

from cosxfer.records import dataclass


@dataclass(frozen=True, kw_only=True)
class Rest:
    """What is left to do. Each kind of job has its own; this one means: everything."""
