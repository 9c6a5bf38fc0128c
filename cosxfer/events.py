"""Progress reports: limited in frequency, never decreasing, always sent at start and end. Time is an argument."""

from __future__ import annotations

from cosxfer.models import Progress

DEFAULT_INTERVAL_SECONDS = 0.25


class ProgressMeter:
    """Turns byte counts into `Progress` reports.

    ``update`` returns None between reports. The first call and ``finish`` always report. A failed attempt takes its
    bytes back, but ``loaded`` never decreases: it stays until the new value is larger.
    """

    def __init__(self, total: int | None, *, interval_seconds: float = DEFAULT_INTERVAL_SECONDS) -> None:
        """``total`` is None if it is not known yet: then reports have a total and a percent of 0, until it is set."""
        self.total = total
        """May change: a file can be measured, or the end of a stream be seen, after the first report."""
        self._interval = interval_seconds
        self._shown = 0
        self._shown_at: float | None = None
        self._began_at: float | None = None
        self._began_with = 0
        self._speed = 0.0

    def update(self, loaded: int, now: float) -> Progress | None:
        """Report ``loaded`` bytes at ``now`` (monotonic seconds) if a report is due."""
        if self._shown_at is not None and now - self._shown_at < self._interval:
            return None
        return self._report(loaded, now)

    def finish(self, now: float, *, loaded: int | None = None) -> Progress:
        """Return the last report, with everything or ``loaded`` done. Its speed is the mean of the whole transfer."""
        # After a failure, the reported value stays.
        everything = self._shown if self.total is None else self.total
        loaded = everything if loaded is None else max(loaded, self._shown)
        if self._began_at is not None and now > self._began_at:
            self._shown, self._shown_at = self._began_with, self._began_at
        return self._report(loaded, now)

    def _report(self, loaded: int, now: float) -> Progress:
        if self._began_at is None:
            self._began_at, self._began_with = now, loaded
        loaded = max(self._shown, loaded if self.total is None else min(loaded, self.total))
        if self._shown_at is not None and now > self._shown_at:
            self._speed = (loaded - self._shown) / (now - self._shown_at)
        self._shown, self._shown_at = loaded, now
        if self.total is None:
            return Progress(loaded=loaded, total=0, speed=self._speed, percent=0.0)
        percent = loaded / self.total if self.total else 1.0
        return Progress(loaded=loaded, total=self.total, speed=self._speed, percent=percent)
