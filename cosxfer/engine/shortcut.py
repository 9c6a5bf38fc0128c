"""A short way of doing a job: without an asyncio task. What it leaves goes to the usual way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cosxfer.models import Progress
from cosxfer.records import dataclass

ShortProgress = Callable[[Any, Progress], None]
"""Gets the record of the task and its progress."""

ShortEnd = Callable[[Any, Any], None]
"""Gets the record of the task, and the result, a `Rest`, or None if it was cancelled."""


@dataclass(frozen=True, kw_only=True)
class Rest:
    """What is left to do. Each kind of job has its own; this one means: everything."""
