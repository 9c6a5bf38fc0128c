"""The complete transition table."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from cosxfer.models import TaskState
from cosxfer.tasks.states import ACTIVE, ENDED, TRANSITIONS, may

STATES: tuple[TaskState, ...] = get_args(TaskState)

ALLOWED = {
    ("waiting", "checking"),
    ("waiting", "paused"),
    ("waiting", "canceled"),
    ("checking", "uploading"),
    ("checking", "paused"),
    ("checking", "error"),
    ("checking", "canceled"),
    ("uploading", "success"),
    ("uploading", "paused"),
    ("uploading", "error"),
    ("uploading", "canceled"),
    ("paused", "waiting"),
    ("paused", "canceled"),
    ("error", "waiting"),
    ("error", "canceled"),
}


@pytest.mark.parametrize(("now", "then"), list(itertools.product(STATES, STATES)))
def test_each_transition_is_allowed_or_refused(now: TaskState, then: TaskState) -> None:
    assert may(now, then) == ((now, then) in ALLOWED)


def test_every_state_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(STATES)


def test_an_ended_task_has_no_slot() -> None:
    assert not ACTIVE & ENDED
    assert {state for state in STATES if not TRANSITIONS[state]} == {"success", "canceled"}


def test_every_state_can_be_reached_from_waiting() -> None:
    reached: set[TaskState] = {"waiting"}
    for _ in STATES:
        reached |= {then for now in reached for then in TRANSITIONS[now]}
    assert reached == set(STATES)
