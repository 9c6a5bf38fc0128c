"""The states of a task and the transitions between them. Pure.

::

    waiting ──> checking ──> uploading ──> success
       │           ├─────────────┼──> error ───> waiting   (restart)
       └───────────┴─────────────┴──> paused ──> waiting   (restart)

    and every state but success ──> canceled

(source: the COS SDKs' task queue, in which only paused and failed tasks can be restarted)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cosxfer.states import TaskState

TRANSITIONS: Final[Mapping[TaskState, frozenset[TaskState]]] = {
    "waiting": frozenset({"checking", "paused", "canceled"}),
    "checking": frozenset({"uploading", "paused", "error", "canceled"}),
    "uploading": frozenset({"success", "paused", "error", "canceled"}),
    "paused": frozenset({"waiting", "canceled"}),
    "error": frozenset({"waiting", "canceled"}),
    "success": frozenset(),
    "canceled": frozenset(),
}
"""From each state, the states that may follow."""

ACTIVE: Final[frozenset[TaskState]] = frozenset({"checking", "uploading"})
"""The task has a slot."""

ENDED: Final[frozenset[TaskState]] = frozenset({"success", "error", "canceled"})
"""The task has an outcome. Only `error` can still change."""


def may(now: TaskState, then: TaskState) -> bool:
    """Whether a task in the state ``now`` may change to ``then``."""
    return then in TRANSITIONS[now]
