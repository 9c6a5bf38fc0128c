"""How long things take on the link: round trips, windows, the start and the end of requests. Pure."""

from __future__ import annotations

import math

import cosxfer.tuning_rules as rule


class Pace:
    """What the tuner has measured of round trips. Times are in seconds."""

    def __init__(self) -> None:
        self.first_response = 0.0
        """From the first request to the first acknowledged byte; 0: there was none yet."""
        self.latency = 0.0
        """Of a request without a body, before; 0: there was none."""

    @property
    def trip(self) -> float:
        """The round trip of a connection that is open."""
        # Without an earlier request, the first byte took a handshake too: about two round trips more.
        return min(self.first_response, self.latency) or self.first_response / 3

    def window_seconds(self, phase: str, *, ramp_seconds: float) -> float:
        """How long a window must last. In the ramp it may last for ``ramp_seconds``, if that is not long."""
        first = self.first_response
        if phase == "ramp":
            # Within a round trip, acknowledgements come in bursts.
            return max(rule.RAMP_WINDOW_SECONDS, first / 2, self.trip, min(ramp_seconds, rule.RAMP_LONGEST_SECONDS))
        if phase == "sound":
            return max(rule.SOUND_WINDOW_SECONDS, first / 2)
        return max(rule.WINDOW_SECONDS, 2 * first)

    def start_seconds(self, level: int, *, goodput: float, request_bytes: float) -> float:
        """How long new connections take to come up to speed: handshakes, and doublings of the window."""
        window = min(goodput * self.first_response / level, request_bytes)
        rounds = 2 + math.log2(max(1.0, window / rule.FIRST_WINDOW_BYTES))
        return max(self.first_response, rounds * self.trip)


class Drain:
    """Requests beyond a lower level, which have to end first."""

    def __init__(self, is_running: bool = False) -> None:
        self.is_running = is_running
        self._since: tuple[float, float] | None = None

    def is_slow(self, now: float, work: float, bytes_in_flight: float, *, best: float, cheap: bool) -> bool:
        """Whether to cancel them: goodput has collapsed, or they would take too long and little is lost (``cheap``)."""
        if self._since is None:
            self._since = now, work
        seconds = now - self._since[0]
        if seconds < rule.DRAIN_SECONDS:
            return False
        goodput = (work - self._since[1]) / seconds
        self._since = None
        too_long = cheap and bytes_in_flight > rule.LONG_DRAIN_SECONDS * goodput
        return goodput < rule.ENDLESS_SHARE * best or too_long
