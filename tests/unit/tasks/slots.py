"""Checks the order of a queue by its events: which task had which slot, when it began, and when it ended."""

from __future__ import annotations

from collections import defaultdict

import cosxfer

STEPS = ["added", "checking", "uploading", "success"]
"""The events of a task without failures, pauses or cancellation."""


class Slots:
    """A listener of ``list-update``. It assigns each task that begins the lowest free slot; there must be one."""

    def __init__(self, count: int) -> None:
        self.began: list[str] = []
        self.ended: list[str] = []
        self.steps: defaultdict[str, list[str]] = defaultdict(list)
        self.on_slot: list[list[tuple[str, str]]] = [[] for _ in range(count)]
        """For each slot, its history: ``("began", key)`` and ``("ended", key)``."""
        self._occupant: list[str | None] = [None] * count
        self._sequence = 0
        self._loaded: defaultdict[str, int] = defaultdict(int)
        self.problems: list[str] = []
        """Violations. They are collected because an exception in a listener would only be logged."""

    def __call__(self, event: cosxfer.TaskEvent) -> None:
        if event.sequence != self._sequence + 1:
            self.problems.append(f"event {event.sequence} after {self._sequence}")
        self._sequence = event.sequence
        key = event.task.key
        if event.task.loaded < self._loaded[key]:
            self.problems.append(f"{key} has {event.task.loaded} bytes after {self._loaded[key]}")
        self._loaded[key] = event.task.loaded
        if event.change == "progress":
            if event.task.state not in ("checking", "uploading"):
                self.problems.append(f"{key} makes progress while it is {event.task.state}")
            return
        steps = self.steps[key]
        if event.change == "state" and event.previous != ("waiting" if steps == ["added"] else steps[-1]):
            self.problems.append(f"{key} was {event.previous} after {steps}")
        steps.append(event.task.state if event.change == "state" else event.change)
        if event.task.state == "checking":
            self.began.append(key)
            self._begin(key)
        elif event.task.state == "success":
            self.ended.append(key)
            slot = self._occupant.index(key)
            self._occupant[slot] = None
            self.on_slot[slot].append(("ended", key))

    def _begin(self, key: str) -> None:
        if None not in self._occupant:
            self.problems.append(f"{key} began while all slots were taken by {self._occupant}")
            return
        slot = self._occupant.index(None)
        self._occupant[slot] = key
        self.on_slot[slot].append(("began", key))

    def check(self, keys: list[str]) -> None:
        """Assert that all tasks, with ``keys`` in order of submission, began in that order and succeeded."""
        assert self.problems == []
        assert self.began == keys
        assert sorted(self.ended) == sorted(keys)
        assert {key: self.steps[key] for key in keys} == dict.fromkeys(keys, STEPS)
        assert len(self.steps) == len(keys)
        place = {key: number for number, key in enumerate(keys)}
        for happened in self.on_slot:
            on_it = [key for what, key in happened if what == "began"]
            # On each slot, tasks ran one at a time, in order of submission.
            assert happened == [(what, key) for key in on_it for what in ("began", "ended")]
            assert on_it == sorted(on_it, key=place.__getitem__)
        if len(self.on_slot) == 1:
            assert self.ended == keys
