"""PUT Object for many small files (`cosxfer.ops.begun`)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from cosxfer.cos import sign
from cosxfer.cos.requests import SSE_CUSTOMER_KEY, CosRequest, HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.credentials import Credentials
from cosxfer.ops.attempt import Attempt
from cosxfer.ops.begun import Beginner, around_signature, escaped
from cosxfer.transport.native_head import head_of

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
            self._between, self._end = around_signature(self._end)
            signed = {name: value for name, value in template.headers.items() if name != "authorization"}
            self._signer = sign.PutSigner(credentials, headers=signed, key_time=key_time)

    def request(self, usual: CosRequest, on_sent: Callable[[int], None] | None, stall_seconds: float) -> HttpRequest:
        """Return the request for one file."""
        path = self.endpoint.path(usual.address.key)
        target = escaped(path)
        length, md5 = usual.content_length, usual.headers["content-md5"]
        signature = "" if self._signer is None else self._signer.of(path, length, md5)
        differing = _DIFFERING.format(md5, length)
        return HttpRequest(
            method="PUT",
            endpoint=self.endpoint,
            target=target,
            headers=self.headers,
            body=usual.body,
            content_length=length,
            stall_timeout_seconds=stall_seconds,
            on_sent=on_sent,
            head=f"PUT {target}{self._start}{differing}{self._between}{signature}{self._end}".encode(),
        )


def _split(text: str, middle: str) -> tuple[str, str]:
    before, found, after = text.partition(middle)
    if not found:
        raise ValueError("the head has another form")
    return before, after


class Puts(Beginner[_Prepared]):
    """Requests that store small files, for the uploads of one batch. Used from one event loop."""

    def begin(self, request: CosRequest, then: Callable[[Attempt], None]) -> Attempt | None:
        """Send ``request`` once, if it need not wait. Its body is bytes in memory.

        Returns None if it has to wait, for keys or for a connection. ``then`` gets the attempt when it has ended, after
        this has returned. If it has failed, `Session.call` goes on with it.
        """
        return self._begin((request,), request.on_sent, then)

    def _outgoing(
        self, attempt: Attempt, credentials: Credentials | None, now: float, request: CosRequest
    ) -> HttpRequest:
        on_sent = None if request.on_sent is None else attempt.moved
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
        key_time = self._key_time(now)
        prepared = self._known(kind, credentials, key_time)
        if prepared is None:
            outgoing = session.outgoing(usual, credentials)
            with suppress(ValueError):  # it is prepared for the next one
                self._prepared[kind] = _Prepared(outgoing, credentials, key_time)
            return outgoing
        return prepared.request(request, on_sent, session.config.stall_timeout_seconds)

    def accept(self, attempt: Attempt, response: HttpResponse, request: CosRequest) -> None:
        """Raise if ``response`` is an error, or proves that other bytes are stored."""
        self.session.accept(request, attempt.outgoing, response, attempt.began)
