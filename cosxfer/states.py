"""The states of a task, and what a task list reports."""

from __future__ import annotations

from typing import Literal, TypeAlias

TaskState: TypeAlias = Literal["waiting", "checking", "uploading", "paused", "success", "error", "canceled"]
"""``waiting``: for a slot. ``checking``: opened, hashed, compared with what is on the server. ``uploading``: bytes go
out. ``paused`` and ``error`` can be restarted; ``success`` and ``canceled`` are final."""

TaskChange: TypeAlias = Literal["added", "state", "progress", "removed"]
