"""GET Object for the beginnings of many objects (`cosxfer.ops.begun`). They differ in path and signature alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from cosxfer.address import ObjectAddress
from cosxfer.cos.endpoint import Endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.cos.sink import BodySink
from cosxfer.credentials import Credentials
from cosxfer.ops.attempt import Attempt
from cosxfer.ops.begun import Beginner, escaped, heads_like
from cosxfer.ops.get_range import range_request
from cosxfer.ops.session import logger


class _Prepared:
    """What the requests to one bucket share while the keys and the time of the signature are the same."""

    __slots__ = ("_heads", "added", "credentials", "endpoint", "headers", "key_time")

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
        self._heads = heads_like(template, credentials, key_time, body=False)

    def request(
        self, key: str, sink: BodySink, stall_seconds: float, on_received: Callable[[int], None]
    ) -> HttpRequest:
        """Return the request for one object."""
        path = self.endpoint.path(key)
        return HttpRequest(
            method="GET",
            endpoint=self.endpoint,
            target=escaped(path),
            headers=self.headers,
            stall_timeout_seconds=stall_seconds,
            on_sent=on_received,
            sink=sink,
            head=self._heads.of(path),
        )


class Gets(Beginner[_Prepared]):
    """Requests for the first bytes of objects, for the downloads of one batch. Used from one event loop."""

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
        return self._begin((address, sink, version_id, headers), on_received, then)

    def _outgoing(
        self,
        attempt: Attempt,
        credentials: Credentials | None,
        now: float,
        address: ObjectAddress,
        sink: BodySink,
        version_id: str | None,
        headers: Mapping[str, str],
    ) -> HttpRequest:
        session = self.session
        if version_id is not None or session.has_switched_hosts:
            return self._usual(address, sink, version_id, headers, credentials, attempt.moved)
        kind = (address.bucket, address.region, id(headers))
        key_time = self._key_time(now)
        prepared = self._known(kind, credentials, key_time)
        if prepared is None:
            template = self._usual(address, sink, None, headers, credentials, attempt.moved)
            prepared = self._prepared[kind] = _Prepared(template, headers, credentials, key_time)
        return prepared.request(address.key, sink, session.config.stall_timeout_seconds, attempt.moved)

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
