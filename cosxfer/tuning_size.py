"""The size of the requests in flight: measurements with requests of another size say nothing. Pure."""

from __future__ import annotations

import cosxfer.tuning_rules as rule


class RequestSize:
    """The mean size of a request, and whether it is another one than before."""

    def __init__(self) -> None:
        self.bytes = 0.0
        """For which the levels were measured; 0: not known."""
        self._other_since: float | None = None

    def has_changed(self, now: float, size: float, *, known: bool) -> bool:
        """Whether the requests have had another size for some time, which then is the one that counts.

        ``known`` says whether levels were measured with the present size. Otherwise a new one is no change.
        """
        if not self.bytes or not known:
            self.bytes = size
        alike = max(size, self.bytes) <= rule.OTHER_SIZE * min(size, self.bytes)
        self._other_since = None if alike else self._other_since or now
        if self._other_since is None or now - self._other_since <= rule.OTHER_SECONDS:
            return False
        self.bytes = size
        return True
