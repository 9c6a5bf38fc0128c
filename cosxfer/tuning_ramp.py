"""The ramp of the tuner: whether more requests bring more, how far the next step goes, what a look would show. Pure."""

from __future__ import annotations

import cosxfer.tuning_rules as rule
from cosxfer.tuning_pace import Pace


class Ramp:
    """One ramp. Goodput is in units of work per second."""

    def __init__(self) -> None:
        self.goodput = 0.0
        """The best of its windows; 0: there was none yet."""
        self.waits_until = 0.0
        """Until then, the ramp does not end: new connections are not up to speed."""
        self._earlier = 0.0
        self._flat_windows = 0
        self._step: tuple[int, int, float] | None = None
        """The last step: levels before and after it, and the goodput before it."""

    @property
    def is_over(self) -> bool:
        """Whether more requests have brought no more."""
        return self._flat_windows >= rule.RAMP_FLAT_WINDOWS

    def see(self, goodput: float) -> float:
        """Take the goodput of a window; returns that of the window before (0: there was none)."""
        earlier, self._earlier = self._earlier, goodput
        return earlier

    def rises(self, goodput: float, *, busy: bool) -> bool:
        """Whether this goodput is clearly higher than before. ``busy``: a thread of the client is the limit."""
        rises = not busy and (not self.goodput or goodput >= rule.RAMP_GAIN * self.goodput)
        self._flat_windows = 0 if rises else self._flat_windows + 1
        self.goodput = max(goodput, self.goodput)
        return rises

    def end(self) -> None:
        """The ramp goes no further."""
        self._flat_windows = rule.RAMP_FLAT_WINDOWS

    def begin_step(self, level: int, to: int, goodput: float, *, earlier: float, waits_until: float) -> None:
        """More requests start now. ``earlier`` is the goodput of the window before the last one."""
        self.waits_until = waits_until
        self._step = (level, to, goodput) if goodput <= rule.RAMP_GAIN * earlier else None

    def too_few(self, level: int, goodput: float) -> int | None:
        """The level before the last step, if goodput was steady there and has risen as the number of requests has.

        So many are too few then: nothing is to be learned below ``level``, which has this goodput.
        """
        if self._step is None or self._step[1] != level:
            return None
        before, _, was = self._step
        return before if goodput * before >= rule.IN_PROPORTION * was * level else None


def waits_for_latency(pace: Pace, *, level: int, request_bytes: float, goodput: float) -> bool:
    """Whether requests are small and the server is far, so that they wait for most of their time.

    A round of the ramp then takes long, and requests too many cost little: they soon end.
    """
    small = request_bytes < rule.SMALL_BYTES and level * request_bytes < rule.SHORT_SECONDS * goodput
    return small and pace.first_response > rule.FAR_SECONDS
