"""Requests of many small objects, each sent once and without an asyncio task. What they share is made once.

For small objects the steps of Python are most of the cost. The requests of a batch differ in a few places alone, so
head and signature are prepared for the others, and only what differs is computed for each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote

from cosxfer._native import RequestHeads
from cosxfer.cos import sign
from cosxfer.cos.endpoint import PATH_SAFE
from cosxfer.cos.requests import HttpRequest
from cosxfer.credentials import Credentials
from cosxfer.errors import CosxferError
from cosxfer.ops.attempt import Attempt
from cosxfer.ops.session import SIGNATURE_LIFE_SECONDS, Session
from cosxfer.transport.base import Begun
from cosxfer.transport.native_head import head_of

PLAIN_PATH = re.compile(r"[A-Za-z\d_.~/-]*", re.ASCII)
"""A path that needs no escapes."""
_SIGNATURE = "q-signature="
_SIGNATURE_LENGTH = 40
MOST_PREPARED = 16
"""Buckets, and sets of headers, whose requests are prepared at a time."""


def escaped(path: str) -> str:
    """Return a path as the request line has it."""
    return path if PLAIN_PATH.fullmatch(path) else quote(path, safe=PATH_SAFE)


def heads_like(template: HttpRequest, credentials: Credentials | None, key_time: str, *, body: bool) -> RequestHeads:
    """Return what makes the heads of requests like ``template``, a signed one without parameters. Only the path
    differs; with a ``body`` also Content-MD5 and Content-Length, which ``template`` has side by side.

    Raises ValueError if its head is of another form.
    """
    method, headers = template.method, template.headers
    after_path = head_of(template).decode().removeprefix(f"{method} {template.target}")
    after_body = end = ""
    if body:
        both = f"content-md5: {headers['content-md5']}\r\ncontent-length: {headers['content-length']}\r\n"
        after_path, found, after_body = after_path.partition(both)
        if not found:
            raise ValueError("other headers are between them")
    signing: dict[str, bytes] = {}
    if credentials is not None:
        signed = {name: value for name, value in headers.items() if name != "authorization"}
        signing = sign.for_many(credentials, method=method, headers=signed, key_time=key_time, body=body)
        text = after_body or after_path
        at = text.index(_SIGNATURE) + len(_SIGNATURE)
        text, end = text[:at], text[at + _SIGNATURE_LENGTH :]
        after_path, after_body = (after_path, text) if body else (text, "")
    pieces = {"method": f"{method} ", "after_path": after_path, "after_body": after_body, "end": end}
    return RequestHeads(**{name: piece.encode() for name, piece in pieces.items()}, **signing)


class Prepared(Protocol):
    """What requests of one kind share while the keys and the time of the signature are the same."""

    credentials: Credentials | None
    key_time: str


P = TypeVar("P", bound=Prepared)


class Beginner(Generic[P]):
    """Begins the requests of one batch. Used from one event loop."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._start: Callable[..., Begun | None] | None = None
        if RequestHeads is not None:
            self._start = getattr(session.transport, "begin", None)
        self._prepared: dict[Hashable, P] = {}

    @property
    def works(self) -> bool:
        """Whether the transport can send a request without an asyncio task, and native code makes the heads."""
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
