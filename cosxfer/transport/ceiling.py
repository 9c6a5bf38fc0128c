"""How many connections a server allows, learned from refusals. Pure: the owner keeps the time.

A server may refuse connections beyond some number, or end them before any response. If others work, no more than those
are used for a while. Then one more is tried. Each success allows more than the one before; each refusal waits longer.
"""

from __future__ import annotations

from cosxfer.records import dataclass

FIRST_BACK_OFF_SECONDS = 1.0
MAX_BACK_OFF_SECONDS = 60.0


@dataclass
class Ceiling:
    """The ceiling for the connections to one server; none at first."""

    _value: int | None = None
    _step: int = 1
    _back_off_seconds: float = FIRST_BACK_OFF_SECONDS
    _backing_off: bool = False

    def bounds(self, wanted: int) -> int:
        """Return how many of ``wanted`` connections the server allows."""
        return wanted if self._value is None else min(wanted, self._value)

    def refused(self, *, works: int, opening: int) -> float | None:
        """A connection was refused. ``works`` others are open, ``opening`` more are being made.

        Returns after how many seconds `try_again` is due; None if it is due already or not at all.
        """
        self._step = 1
        if not works and not opening:
            self._value = None  # nothing works: this is an outage, not a limit
            return None
        self._value = works
        if self._backing_off:
            return None
        self._backing_off = True
        seconds, self._back_off_seconds = self._back_off_seconds, min(2 * self._back_off_seconds, MAX_BACK_OFF_SECONDS)
        return seconds

    def opened(self, count: int) -> None:
        """``count`` connections are open now."""
        if self._value is not None:
            self._value = max(self._value, count)

    def try_again(self) -> None:
        """Allow one more connection than the server seemed to allow."""
        self._backing_off = False
        if self._value is not None:
            self._value += 1

    def proved(self, count: int) -> None:
        """The server has accepted a new connection, with which ``count`` are open. If it was one more, allow more."""
        if self._value is None or self._backing_off or count < self._value:
            return
        self._value += self._step
        self._step *= 2
        self._back_off_seconds = FIRST_BACK_OFF_SECONDS
