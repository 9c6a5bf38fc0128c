"""The rate limit where httpx sends: a token bucket on the event loop. The native transport has its own."""

from __future__ import annotations

import asyncio


class Pace:
    """Lets ``bytes_per_second`` pass in all; a tenth of a second may go in one burst."""

    def __init__(self, bytes_per_second: float) -> None:
        self._per_second = bytes_per_second
        self._free_at = 0.0
        """When what has been sent so far is paid for, by the loop's clock."""

    async def wait(self, count: int) -> None:
        """Return when ``count`` more bytes may be sent."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now - 0.1) + count / self._per_second
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)
