"""The states of a task, and the kinds of changes in a task list."""

from __future__ import annotations

from typing import Literal, TypeAlias

TaskState: TypeAlias = Literal["waiting", "checking", "uploading", "paused", "success", "error", "canceled"]
"""``waiting``: waits for a slot. ``checking``: opens and hashes the file and compares it with the server.
``uploading``: sends. ``paused`` and ``error`` can be restarted. ``success`` and ``canceled`` are final."""

TaskChange: TypeAlias = Literal["added", "state", "progress", "removed"]
