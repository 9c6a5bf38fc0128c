"""What the progress of a command is made of."""

from __future__ import annotations

WITHOUT_RATE = ("hashing",)
"""Hashing waits for sending, so its rate would be that of sending. The summary has the rate while it ran."""
