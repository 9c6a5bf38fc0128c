"""PUT Object for many small files, without an asyncio task. What their requests share is made once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from cosxfer.cos import sign
from cosxfer.cos.endpoint import PATH_SAFE
from cosxfer.cos.requests import SSE_CUSTOMER_KEY, CosRequest, HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.credentials import Credentials
from cosxfer.errors import CosxferError
from cosxfer.ops.attempt import Attempt
from cosxfer.ops.begun_get import MOST_PREPARED, PLAIN_PATH
from cosxfer.ops.session import SIGNATURE_LIFE_SECONDS, Session
from cosxfer.transport.base import Begun
from cosxfer.transport.native_head import head_of

_SIGNATURE = "q-signature="
_SIGNATURE_LENGTH = 40
_DIFFERING = "content-md5: {}\r\ncontent-length: {}\r\n"
_OWN = ("authorization", "content-md5", "content-length")
"""Headers that differ from file to file."""


class _Prepared:
    """What the requests to one bucket with the same headers share while the keys and the time of the signature are the
    same. They differ in path, length, Content-MD5 and signature."""

    __slots__ = ("_between", "_end", "_signer", "_start", "credentials", "endpoint", "headers", "key_time")

    def __init__(self, template: HttpRequest, credentials: Credentials | None, key_time: str) -> None:
        """``template`` is a signed request of this kind. Raises ValueError if its head is of another form."""
        self.credentials = credentials
        self.endpoint = template.endpoint
        self.key_time = key_time
        self.headers = {name: value for name, value in template.headers.items() if name not in _OWN}
        differing = _DIFFERING.format(template.headers["content-md5"], template.content_length)
        head = head_of(template).decode().removeprefix(f"PUT {template.target}")
        self._start, self._end = _split(head, differing)
        self._between, self._signer = "", None
        if credentials is not None:
            at = self._end.index(_SIGNATURE) + len(_SIGNATURE)
            self._between, self._end = self._end[:at], self._end[at + _SIGNATURE_LENGTH :]
            signed = {name: value for name, value in template.headers.items() if name != "authorization"}
            self._signer = sign.PutSigner(credentials, headers=signed, key_time=key_time)

    def request(self, usual: CosRequest, on_sent: Callable[[int], None] | None, stall_seconds: float) -> HttpRequest:
        """Return the request for one file."""
        path = self.endpoint.path(usual.address.key)
        escaped = path if PLAIN_PATH.fullmatch(path) else quote(path, safe=PATH_SAFE)
        length, md5 = usual.content_length, usual.headers["content-md5"]
        signature = "" if self._signer is None else self._signer.of(path, length, md5)
        differing = _DIFFERING.format(md5, length)
        return HttpRequest(
            method="PUT",
            endpoint=self.endpoint,
            target=escaped,
            headers=self.headers,
            body=usual.body,
            content_length=length,
            stall_timeout_seconds=stall_seconds,
            on_sent=on_sent,
            head=f"PUT {escaped}{self._start}{differing}{self._between}{signature}{self._end}".encode(),
        )


def _split(text: str, middle: str) -> tuple[str, str]:
    before, found, after = text.partition(middle)
    if not found:
        raise ValueError("the head has another form")
    return before, after


class Puts:
    """Requests that store small files, for the uploads of one batch. Used from one event loop."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._start: Callable[..., Begun | None] | None = getattr(session.transport, "begin", None)
        self._prepared: dict[tuple[Any, ...], _Prepared] = {}

    @property
    def works(self) -> bool:
        """Whether the transport can send a request without an asyncio task."""
        return self._start is not None

    def begin(self, request: CosRequest, then: Callable[[Attempt], None]) -> Attempt | None:
        """Send ``request`` once, if it need not wait. Its body is bytes in memory.

        Returns None if it has to wait, for keys or for a connection. ``then`` gets the attempt when it has ended, after
        this has returned. If it has failed, `Session.call` goes on with it.
        """
        session = self.session
        now = session.now()
        keys = session.keys.at_hand(now)
        if self._start is None or keys is None or session.in_outage:
            return None
        on_sent = request.on_sent or _nobody
        attempt = Attempt(self, (request,), keys[0], session.clock_offset, now, on_sent, then)
        try:
            outgoing = self._outgoing(request, None if on_sent is _nobody else attempt.received, keys[0], now)
            attempt.begun = self._start(outgoing, attempt.ended)
        except (CosxferError, ValueError):
            return None  # `call` says why
        if attempt.begun is None:
            return None
        attempt.outgoing = outgoing
        return attempt

    def _outgoing(
        self,
        request: CosRequest,
        on_sent: Callable[[int], None] | None,
        credentials: Credentials | None,
        now: float,
    ) -> HttpRequest:
        session, headers = self.session, request.headers
        usual = request if on_sent is None else replace(request, on_sent=on_sent)
        # A key is not kept in memory for longer than the call.
        if session.has_switched_hosts or SSE_CUSTOMER_KEY in headers or "content-md5" not in headers:
            return session.outgoing(usual, credentials)
        kind = (
            request.address.bucket,
            request.address.region,
            *[item for item in headers.items() if item[0] != "content-md5"],
        )
        prepared = self._prepared.get(kind)
        key_time = sign.key_time(now, life_seconds=SIGNATURE_LIFE_SECONDS)
        if prepared is None or prepared.key_time != key_time or prepared.credentials is not credentials:
            if len(self._prepared) >= MOST_PREPARED:
                self._prepared.clear()
            outgoing = session.outgoing(usual, credentials)
            with suppress(ValueError):  # it is prepared for the next one
                self._prepared[kind] = _Prepared(outgoing, credentials, key_time)
            return outgoing
        return prepared.request(request, on_sent, session.config.stall_timeout_seconds)

    def accept(self, attempt: Attempt, response: HttpResponse, *given: Any) -> None:
        """Raise if ``response`` is an error, or proves that other bytes are stored."""
        (request,) = given
        self.session.accept(request, attempt.outgoing, response, attempt.began)


def _nobody(_: int) -> None:
    """Nobody asks how many bytes were sent."""
