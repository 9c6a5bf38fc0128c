"""Credentials that let a test act at a known moment: just before a request is signed and sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import cosxfer


def before_each_request(
    credentials: cosxfer.Credentials, act: Callable[[], object]
) -> Callable[[], cosxfer.Credentials]:
    """A provider that calls ``act`` and returns ``credentials``. The client asks it for each request.

    Progress callbacks have their own thread and may run after the call has ended. A provider runs inside the call.
    """

    def provider() -> cosxfer.Credentials:
        act()
        return replace(credentials, expires_at=time.time() + 10)  # too short to be kept

    return provider
