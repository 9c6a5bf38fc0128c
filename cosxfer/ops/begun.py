"""Requests of many small objects, each sent once and without an asyncio task. What they share is made once.

For small objects the steps of Python are most of the cost. The requests of a batch differ in a few places alone, so
head and signature are prepared for the others, and only what differs is computed for each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote

from cosxfer.cos import sign
from cosxfer.cos.endpoint import PATH_SAFE
from cosxfer.cos.requests import HttpRequest
from cosxfer.credentials import Credentials
from cosxfer.errors import CosxferError
from cosxfer.ops.attempt import Attempt
from cosxfer.ops.session import SIGNATURE_LIFE_SECONDS, Session
from cosxfer.transport.base import Begun

PLAIN_PATH = re.compile(r"[A-Za-z\d_.~/-]*", re.ASCII)
"""A path that needs no escapes."""
_SIGNATURE = "q-signature="
_SIGNATURE_LENGTH = 40
MOST_PREPARED = 16
"""Buckets, and sets of headers, whose requests are prepared at a time."""


def escaped(path: str) -> str:
    """Return a path as the request line has it."""
    return path if PLAIN_PATH.fullmatch(path) else quote(path, safe=PATH_SAFE)


def around_signature(head: str) -> tuple[str, str]:
    """Return what is before and what is after the signature in a request head."""
    at = head.index(_SIGNATURE) + len(_SIGNATURE)
    return head[:at], head[at + _SIGNATURE_LENGTH :]


class Prepared(Protocol):
    """What requests of one kind share while the keys and the time of the signature are the same."""

    credentials: Credentials | None
    key_time: str


P = TypeVar("P", bound=Prepared)


class Beginner(Generic[P]):
    """Begins the requests of one batch. Used from one event loop."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._start: Callable[..., Begun | None] | None = getattr(session.transport, "begin", None)
        self._prepared: dict[Hashable, P] = {}

    @property
    def works(self) -> bool:
        """Whether the transport can send a request without an asyncio task."""
        return self._start is not None

    def _begin(
        self, given: tuple[Any, ...], on_moved: Callable[[int], None] | None, then: Callable[[Attempt], None]
    ) -> Attempt | None:
        """Begin the request of ``given``, which `_outgoing` and `accept` get."""
        session = self.session
        now = session.now()
        keys = session.keys.at_hand(now)
        if self._start is None or keys is None or session.in_outage:
            return None
        attempt = Attempt(self, given, keys[0], session.clock_offset, now, on_moved, then)
        try:
            outgoing = self._outgoing(attempt, keys[0], now, *given)
            attempt.begun = self._start(outgoing, attempt.ended)
        except (CosxferError, ValueError):
            return None  # the usual way says why
        if attempt.begun is None:
            return None
        attempt.outgoing = outgoing
        return attempt

    def _known(self, kind: Hashable, credentials: Credentials | None, key_time: str) -> P | None:
        """Return what is prepared for requests of this kind. If there is nothing, make room for it."""
        prepared = self._prepared.get(kind)
        if prepared is not None and prepared.key_time == key_time and prepared.credentials is credentials:
            return prepared
        if len(self._prepared) >= MOST_PREPARED:
            self._prepared.clear()
        return None

    @staticmethod
    def _key_time(now: float) -> str:
        return sign.key_time(now, life_seconds=SIGNATURE_LIFE_SECONDS)

    def _outgoing(self, attempt: Attempt, credentials: Credentials | None, now: float, *given: Any) -> HttpRequest:
        """Return the request, signed now. ``attempt`` counts its bytes."""
        raise NotImplementedError

    def accept(self, attempt: Attempt, response: Any, *given: Any) -> None:
        """Raise if ``response`` is an error, or not what was asked for."""
        raise NotImplementedError
