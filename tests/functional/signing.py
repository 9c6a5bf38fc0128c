"""Credentials that call the test just before a request is signed and sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import cosxfer


def before_each_request(
    credentials: cosxfer.Credentials, act: Callable[[], object]
) -> Callable[[], cosxfer.Credentials]:
    """A provider that calls ``act`` and returns ``credentials``. The client calls it for each request.

    Progress callbacks run in their own thread, maybe after the call has returned. A provider runs inside the call.
    """

    def provider() -> cosxfer.Credentials:
        act()
        return replace(credentials, expires_at=time.time() + 10)  # so short that the client asks again each time

    return provider
