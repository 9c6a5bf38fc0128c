"""The rate limit of the httpx transport: a token bucket on the event loop. The native transport has its own."""

from __future__ import annotations

import asyncio


class Pace:
    """Limits the total rate of both directions to ``bytes_per_second``. A burst may have the bytes of 0.1 s."""

    def __init__(self, bytes_per_second: float) -> None:
        self._per_second = bytes_per_second
        self._free_at = 0.0
        """The loop's time at which the bytes until now are within the rate."""

    async def wait(self, count: int) -> None:
        """Return when ``count`` more bytes may be sent, or ``count`` bytes that were received are within the rate."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now - 0.1) + count / self._per_second
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)
