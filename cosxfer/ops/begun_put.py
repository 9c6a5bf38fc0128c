"""PUT Object for many small files (`cosxfer.ops.begun`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from typing import Any, Protocol

from cosxfer.address import ObjectAddress
from cosxfer.cos.requests import SSE_CUSTOMER_KEY, CosRequest, HttpRequest
from cosxfer.cos.responses import HttpResponse
from cosxfer.credentials import Credentials
from cosxfer.errors import CosxferError
from cosxfer.ops.attempt import Attempt
from cosxfer.ops.begun import Beginner, escaped, heads_like
from cosxfer.ops.put_object import put_request
from cosxfer.ops.session import Session, logger
from cosxfer.records import from_fields
from cosxfer.transport.base import Begun
from cosxfer.transport.begun_store import BegunStore

_Given = tuple[ObjectAddress, bytes, bytes, int, Mapping[str, str]]
"""The object; content, MD5 and CRC64 of the file; and the headers."""

_OWN = ("authorization", "content-md5", "content-length")
"""Headers that differ from file to file."""


class _Prepared:
    """What the requests to one bucket with the same headers share while the keys and the time of the signature are the
    same. They differ in path, length, Content-MD5 and signature."""

    __slots__ = ("_fields", "_heads", "added", "address", "credentials", "key_time", "like")

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
        self.like = bare = replace(template, body=b"", on_sent=None)
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

    def head(self, key: str, md5: bytes, length: int) -> bytes:
        """Return the head of the request for one file."""
        return self._heads.of(self.like.endpoint.path(key), md5, length)


class Owner(Protocol):
    """What wants to have a file stored. One of its methods is called, when the request has ended."""

    def has_stored(self, response: HttpResponse) -> None:
        """The response proves that the content is stored."""
        ...

    def has_not_stored(self, attempt: Attempt) -> None:
        """It has failed, and `Session.call` goes on with it; or the server has not acted, if there is no error."""
        ...


class _Store(BegunStore):
    """A small file on its way, whose bytes nobody follows."""

    __slots__ = ("_began", "_given", "_now", "_offset", "_owner", "_prepared", "_puts")

    def __init__(self, puts: Puts, prepared: _Prepared, given: _Given, now: float, owner: Owner) -> None:
        self._puts = puts
        self._prepared = prepared
        self._given = given
        self._now = now
        self._offset = puts.session.clock_offset
        self._began = time.monotonic()
        self._owner = owner

    def has_ended(self, exchange: Any) -> None:
        """See `BegunStore`."""
        owner = self._owner
        del self.exchange, self._owner  # the owner keeps the response, and with it this
        puts, (address, content, md5, crc64, _) = self._puts, self._given
        response = puts.transport.proven(exchange, crc64, md5)
        if response is not None and not logger.isEnabledFor(logging.DEBUG):
            puts.session.note_stored(len(content))
            owner.has_stored(response)
            return
        prepared, then = self._prepared, partial(_tell, owner)
        attempt = Attempt(
            puts, self._given, prepared.credentials, self._offset, self._now, None, then, began=self._began
        )
        attempt.outgoing = prepared.request(address.key, content, md5, None)
        attempt.ended(puts.transport.stored(exchange, attempt.outgoing))


class Puts(Beginner[_Prepared]):
    """Requests that store small files, for the uploads of one batch. Used from one event loop."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.transport: Any = session.transport
        self._stores = hasattr(session.transport, "store")

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
        owner: Owner,
    ) -> Begun | None:
        """Send the request of `put_object` once, if it need not wait.

        Returns None if it has to wait, for keys or for a connection, and for a key that ends in a slash. ``owner`` is
        told when it has ended, after this has returned. ``headers`` may not be changed afterwards.
        """
        if address.key.endswith("/"):
            return None  # the usual way warns of it
        given = (address, content, md5, crc64, headers)
        now, prepared = self.session.now(), self._last
        if on_sent is not None or prepared is None or not self._is_current(prepared, address, headers, now):
            return self._begin(given, on_sent, partial(_tell, owner))
        store = _Store(self, prepared, given, now, owner)
        try:
            head = prepared.head(address.key, md5, len(content))
            return store if self.transport.store(prepared.like, head, content, store) else None
        except (CosxferError, ValueError):
            return None  # the usual way says why

    def _is_current(self, prepared: _Prepared, address: ObjectAddress, headers: Mapping[str, str], now: float) -> bool:
        """Whether a request can be made of ``prepared`` and sent by `Stores.store`."""
        session = self.session
        if not self._stores or session.in_outage or session.has_switched_hosts:
            return False
        keys = session.keys.at_hand(now)
        return keys is not None and prepared.is_of(address, headers, keys[0], self._key_time(now))

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


def _tell(owner: Owner, attempt: Attempt) -> None:
    """Tell ``owner`` how an attempt has ended."""
    if attempt.error is None and attempt.response is not None:
        owner.has_stored(attempt.response)
    else:
        owner.has_not_stored(attempt)


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
