"""GET Object for the beginnings of many objects, without an asyncio task. What their requests share is made once.

For small objects the steps of Python are most of the cost. The requests of a batch differ in the path and the signature
alone, so head and signature are prepared for the others, and only what differs is computed for each.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from cosxfer.address import ObjectAddress
from cosxfer.cos import sign
from cosxfer.cos.endpoint import PATH_SAFE, Endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.cos.sink import BodySink
from cosxfer.credentials import Credentials
from cosxfer.errors import CosxferError
from cosxfer.ops.attempt import Attempt
from cosxfer.ops.get_range import range_request
from cosxfer.ops.session import SIGNATURE_LIFE_SECONDS, Session, logger
from cosxfer.transport.base import Begun
from cosxfer.transport.native_head import head_of

PLAIN_PATH = re.compile(r"[A-Za-z\d_.~/-]*", re.ASCII)
"""A path that needs no escapes."""
_SIGNATURE = "q-signature="
_SIGNATURE_LENGTH = 40
MOST_PREPARED = 16
"""Buckets, and sets of headers, whose requests are prepared at a time."""


class _Prepared:
    """What the requests to one bucket share while the keys and the time of the signature are the same."""

    __slots__ = ("_after", "_between", "_signer", "added", "credentials", "endpoint", "headers", "key_time")

    def __init__(
        self, template: HttpRequest, added: Mapping[str, str], credentials: Credentials | None, key_time: str
    ) -> None:
        """``template`` is a signed request of this kind, for any object, without parameters. It has the headers
        ``added``, which are kept, because their address is part of the key by which this is found."""
        self.added = added
        self.credentials = credentials
        self.endpoint: Endpoint = template.endpoint
        self.key_time = key_time
        self.headers = {name: value for name, value in template.headers.items() if name != "authorization"}
        rest = head_of(template).decode().removeprefix(f"GET {template.target}")
        self._signer: sign.PathSigner | None = None
        self._between, self._after = rest, ""
        if credentials is not None:
            at = rest.index(_SIGNATURE) + len(_SIGNATURE)
            self._between, self._after = rest[:at], rest[at + _SIGNATURE_LENGTH :]
            self._signer = sign.PathSigner(
                credentials, method="GET", params={}, headers=self.headers, key_time=key_time
            )

    def request(
        self, key: str, sink: BodySink, stall_seconds: float, on_received: Callable[[int], None]
    ) -> HttpRequest:
        """Return the request for one object."""
        path = self.endpoint.path(key)
        escaped = path if PLAIN_PATH.fullmatch(path) else quote(path, safe=PATH_SAFE)
        signature = "" if self._signer is None else self._signer.of(path)
        return HttpRequest(
            method="GET",
            endpoint=self.endpoint,
            target=escaped,
            headers=self.headers,
            stall_timeout_seconds=stall_seconds,
            on_sent=on_received,
            sink=sink,
            head=f"GET {escaped}{self._between}{signature}{self._after}".encode(),
        )


class Gets:
    """Requests for the first bytes of objects, for the downloads of one batch. Used from one event loop."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._start: Callable[..., Begun | None] | None = getattr(session.transport, "begin", None)
        self._prepared: dict[tuple[Any, ...], _Prepared] = {}

    def begin(
        self,
        address: ObjectAddress,
        sink: BodySink,
        *,
        version_id: str | None,
        headers: Mapping[str, str],
        on_received: Callable[[int], None],
        then: Callable[[Attempt], None],
    ) -> Attempt | None:
        """Send a request for the beginning of the object once, if it need not wait. ``sink`` is new and takes no ETag.

        Returns None if it has to wait, for keys or for a connection. ``then`` gets the attempt when it has ended, after
        this has returned. If it has failed, `get_range` goes on with it.
        """
        session = self.session
        now = session.now()
        keys = session.keys.at_hand(now)
        if self._start is None or keys is None or session.in_outage:
            return None
        attempt = Attempt(
            self, (address, sink, version_id, headers), keys[0], session.clock_offset, now, on_received, then
        )
        try:
            outgoing = self._outgoing(attempt, address, sink, version_id, headers, keys[0], now)
            attempt.begun = self._start(outgoing, attempt.ended)
        except (CosxferError, ValueError):
            return None  # `get_range` says why
        if attempt.begun is None:
            return None
        attempt.outgoing = outgoing
        return attempt

    def _outgoing(
        self,
        attempt: Attempt,
        address: ObjectAddress,
        sink: BodySink,
        version_id: str | None,
        headers: Mapping[str, str],
        credentials: Credentials | None,
        now: float,
    ) -> HttpRequest:
        session = self.session
        if version_id is not None or session.has_switched_hosts:
            return self._usual(address, sink, version_id, headers, credentials, attempt.received)
        kind = (address.bucket, address.region, id(headers))
        prepared = self._prepared.get(kind)
        key_time = sign.key_time(now, life_seconds=SIGNATURE_LIFE_SECONDS)
        if prepared is None or prepared.key_time != key_time or prepared.credentials is not credentials:
            if len(self._prepared) >= MOST_PREPARED:
                self._prepared.clear()
            template = self._usual(address, sink, None, headers, credentials, attempt.received)
            prepared = self._prepared[kind] = _Prepared(template, headers, credentials, key_time)
        return prepared.request(address.key, sink, session.config.stall_timeout_seconds, attempt.received)

    def _usual(
        self,
        address: ObjectAddress,
        sink: BodySink,
        version_id: str | None,
        headers: Mapping[str, str],
        credentials: Credentials | None,
        on_received: Callable[[int], None],
    ) -> HttpRequest:
        request = range_request(address, sink, version_id=version_id, headers=headers, on_received=on_received)
        assert request.on_attempt is not None
        request.on_attempt()
        return self.session.outgoing(request, credentials)

    def accept(
        self,
        attempt: Attempt,
        response: HttpResponse,
        address: ObjectAddress,
        sink: BodySink,
        version_id: str | None,
        headers: Mapping[str, str],
    ) -> None:
        """Raise if ``response`` is an error, or not the beginning of the object."""
        if sink.accepted and not logger.isEnabledFor(logging.DEBUG):
            self.session.note_success()
            if self.session.counts:
                self.session.traffic.requests_done += 1
            return
        request = range_request(address, sink, version_id=version_id, headers=headers, on_received=None)
        if not sink.accepted:
            assert request.on_attempt is not None
            request.on_attempt()  # its check names the range
        self.session.accept(request, attempt.outgoing, response, attempt.began)
