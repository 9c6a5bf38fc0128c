"""PUT Object for many small files (`cosxfer.ops.begun`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

from cosxfer.address import ObjectAddress
from cosxfer.cos.requests import SSE_CUSTOMER_KEY, CosRequest, HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.credentials import Credentials
from cosxfer.ops.attempt import Attempt
from cosxfer.ops.begun import Beginner, escaped, heads_like
from cosxfer.ops.put_object import put_request
from cosxfer.ops.session import logger
from cosxfer.records import from_fields

_OWN = ("authorization", "content-md5", "content-length")
"""Headers that differ from file to file."""


class _Prepared:
    """What the requests to one bucket with the same headers share while the keys and the time of the signature are the
    same. They differ in path, length, Content-MD5 and signature."""

    __slots__ = ("_fields", "_heads", "added", "address", "credentials", "key_time")

    def __init__(
        self,
        template: HttpRequest,
        address: ObjectAddress,
        added: Mapping[str, str],
        credentials: Credentials | None,
        key_time: str,
    ) -> None:
        """``template`` is a signed request of this kind, to ``address``, with the headers ``added``. Raises ValueError
        if its head is of another form."""
        self.address = address
        self.added = added
        self.credentials = credentials
        self.key_time = key_time
        self._heads = heads_like(template, credentials, key_time, body=True)
        # Without the body of the template, and without the attempt that follows it.
        bare = replace(template, body=b"", on_sent=None)
        self._fields: dict[str, Any] = {field.name: getattr(bare, field.name) for field in fields(HttpRequest)}
        self._fields["headers"] = {name: value for name, value in template.headers.items() if name not in _OWN}

    def is_of(
        self, address: ObjectAddress, headers: Mapping[str, str], credentials: Credentials | None, key_time: str
    ) -> bool:
        """Whether it is for a request of the same bucket with the same mapping of headers."""
        own = self.address
        return (
            headers is self.added
            and key_time == self.key_time
            and credentials is self.credentials
            and address.bucket == own.bucket
            and address.region == own.region
        )

    def request(self, key: str, content: bytes, md5: bytes, on_sent: Callable[[int], None] | None) -> HttpRequest:
        """Return the request for one file."""
        own = self._fields.copy()
        path = own["endpoint"].path(key)
        own["target"] = escaped(path)
        own["body"], own["on_sent"] = content, on_sent
        own["content_length"] = length = len(content)
        own["head"] = self._heads.of(path, md5, length)
        return from_fields(HttpRequest, own)


class Puts(Beginner[_Prepared]):
    """Requests that store small files, for the uploads of one batch. Used from one event loop."""

    _last: _Prepared | None = None
    """What the last request was made of. Files of one batch mostly share their mapping of headers."""

    def begin(
        self,
        address: ObjectAddress,
        content: bytes,
        *,
        md5: bytes,
        crc64: int,
        headers: Mapping[str, str],
        on_sent: Callable[[int], None] | None,
        then: Callable[[Attempt], None],
    ) -> Attempt | None:
        """Send the request of `put_object` once, if it need not wait.

        Returns None if it has to wait, for keys or for a connection, and for a key that ends in a slash. ``then`` gets
        the attempt when it has ended, after this has returned. If it has failed, `Session.call` goes on with it.
        ``headers`` may not be changed afterwards.
        """
        if address.key.endswith("/"):
            return None  # the usual way warns of it
        return self._begin((address, content, md5, crc64, headers), on_sent, then)

    def _outgoing(
        self,
        attempt: Attempt,
        credentials: Credentials | None,
        now: float,
        address: ObjectAddress,
        content: bytes,
        md5: bytes,
        crc64: int,
        headers: Mapping[str, str],
    ) -> HttpRequest:
        session = self.session
        # A key is not kept in memory for longer than the call.
        if session.has_switched_hosts or SSE_CUSTOMER_KEY in headers:
            return session.outgoing(_usual(attempt, address, content, md5, crc64, headers), credentials)
        key_time = self._key_time(now)
        prepared = self._last
        if prepared is None or not prepared.is_of(address, headers, credentials, key_time):
            kind = (address.bucket, address.region, *headers.items())
            prepared = self._known(kind, credentials, key_time)
            if prepared is None:
                outgoing = session.outgoing(_usual(attempt, address, content, md5, crc64, headers), credentials)
                with suppress(ValueError):  # it is prepared for the next one
                    self._prepared[kind] = _Prepared(outgoing, address, headers, credentials, key_time)
                return outgoing
            self._last = prepared
        return prepared.request(address.key, content, md5, _follower(attempt))

    def accept(
        self,
        attempt: Attempt,
        response: HttpResponse,
        address: ObjectAddress,
        content: bytes,
        md5: bytes,
        crc64: int,
        headers: Mapping[str, str],
    ) -> None:
        """Raise if ``response`` is an error, or proves that other bytes are stored."""
        session = self.session
        if response.proves(crc64, md5) and not logger.isEnabledFor(logging.DEBUG):
            session.note_stored(None if attempt.is_followed else len(content))
            return
        session.accept(
            _usual(attempt, address, content, md5, crc64, headers), attempt.outgoing, response, attempt.began
        )


def _usual(
    attempt: Attempt, address: ObjectAddress, content: bytes, md5: bytes, crc64: int, headers: Mapping[str, str]
) -> CosRequest:
    """Return the request that `put_object` would send."""
    return put_request(
        address,
        content,
        content_length=len(content),
        md5=md5,
        crc64=crc64,
        headers=headers,
        on_sent=_follower(attempt),
    )


def _follower(attempt: Attempt) -> Callable[[int], None] | None:
    """Return what gets the bytes of the attempt while they are sent; None if nobody wants to know them."""
    return attempt.moved if attempt.is_followed else None
