"""One append, made exactly once, even if a response is lost.

An append that is sent twice may be stored twice. Before it is sent again, the size of the object is checked. If the
size is still the position, nothing was appended, and the append is sent again. If the object reaches beyond the end of
the append, the stored bytes are compared with those that were sent, because others may have appended after us. The
CRC64 of the object decides, or that of the range, which is fetched for it. Anything else is an append of another
client, and raises `AppendPositionError`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.cos.requests import check_unchanged, customer_key_headers
from cosxfer.engine.upload.bodies import PreparedBody
from cosxfer.errors import (
    AppendPositionError,
    CosxferError,
    NotFoundError,
    ObjectNotAppendableError,
    ServerError,
    UsageError,
)
from cosxfer.foreign import shorten
from cosxfer.limits import MAX_PUT_BYTES, MIB
from cosxfer.models import AppendObjectResult, HeadObjectResult
from cosxfer.ops.append_object import append_object
from cosxfer.ops.get_object import get_object
from cosxfer.ops.head_object import head_object
from cosxfer.ops.outage import Transfer
from cosxfer.ops.session import Session
from cosxfer.retry import retry_delay

COMPARED_AT_ONCE = 8 * MIB
"""Bytes that are fetched in one request for the comparison. An append may have 5 GiB."""


class Append:
    """Appends ``body`` at ``position`` of one object."""

    def __init__(
        self,
        session: Session,
        address: ObjectAddress,
        body: PreparedBody,
        *,
        position: int,
        headers: Mapping[str, str],
        on_sent: Callable[[int], None],
    ) -> None:
        if position + body.content_length > MAX_PUT_BYTES:
            raise UsageError(
                f"the object would be {position + body.content_length} bytes; an appendable object has at most "
                f"{MAX_PUT_BYTES} ({MAX_PUT_BYTES >> 30} GiB)",
                name="position",
                value=position,
            )
        self._session = session
        self._looking = session.observed(transfer=Transfer(begun=True))
        """For the requests that find out whether the bytes were appended."""
        self._address = address
        self._body = body
        self._position = position
        self._headers = headers
        # HEAD and GET need the customer's key of an object that has one.
        self._key_headers = customer_key_headers(headers)
        self._on_sent = on_sent

    async def run(self) -> AppendObjectResult:
        attempt = 1
        lost = False
        while True:
            try:
                return await self._send()
            except ServerError as error:
                if error.code == "ObjectNotAppendable":
                    raise self._not_appendable(error) from error
                if error.code == "AppendPositionErr":
                    # After a lost response, our own append may have ended meanwhile.
                    return await self._resolved(error, maybe_ours=lost)
                failure: CosxferError = error
            except CosxferError as error:
                failure = error
            delay = retry_delay(self._session.policy, failure, attempt=attempt, random=random.random())  # noqa: S311
            if not failure.retryable:
                raise failure
            found = await self._look(failure)
            if (0 if found is None else found.size) != self._position:
                return await self._outcome(found, failure)
            if delay is None:
                failure.add_note("nothing was appended")
                raise failure
            await check_unchanged(self._body.body)
            lost = True
            attempt += 1
            self._session.note_retry(failure, attempt=attempt, delay_seconds=delay)
            await asyncio.sleep(delay)

    async def _send(self) -> AppendObjectResult:
        body = self._body
        assert body.crc64 is not None
        return await append_object(
            self._session,
            self._address,
            body.body,
            position=self._position,
            content_length=body.content_length,
            md5=body.md5,
            crc64=body.crc64,
            headers=self._headers,
            on_sent=self._on_sent,
        )

    async def _resolved(self, error: ServerError, *, maybe_ours: bool) -> AppendObjectResult:
        try:
            found = await self._look(error)
        except CosxferError:
            # The right position is unknown, but this one is certainly wrong.
            raise self._wrong_position(None, error) from error
        if maybe_ours:
            return await self._outcome(found, error)
        raise self._wrong_position(0 if found is None else found.size, error) from error

    async def _look(self, failure: CosxferError) -> HeadObjectResult | None:
        """Return the properties of the object now; None if there is none."""
        try:
            return await head_object(self._looking, self._address, headers=self._key_headers)
        except NotFoundError as error:
            if error.code == "NoSuchBucket":
                raise failure from error
            return None
        except CosxferError as error:
            failure.add_note(f"it is unknown whether the bytes were appended: {error}")
            raise failure from error

    async def _outcome(self, found: HeadObjectResult | None, failure: CosxferError) -> AppendObjectResult:
        """Return the result if our bytes are in their place; raises the error otherwise."""
        if found is None or not await self._is_there(found, failure):
            raise self._wrong_position(0 if found is None else found.size, failure) from failure
        return AppendObjectResult(
            status_code=found.status_code,
            headers=found.headers,
            request_id=found.request_id,
            # `_is_there` has compared the CRC64 of the stored bytes, unless there are none.
            verified=self._body.content_length > 0,
            verified_by="crc64" if self._body.content_length else "",
            etag=found.etag,
            crc64=found.crc64,
            next_append_position=found.size,
        )

    async def _is_there(self, found: HeadObjectResult, failure: CosxferError) -> bool:
        after = self._position + self._body.content_length
        if found.size < after or self._body.content_length == 0:
            return found.size == after
        if found.size == after and self._position == 0 and found.crc64 is not None:
            return found.crc64 == self._body.crc64
        crc64 = 0
        for first in range(self._position, after, COMPARED_AT_ONCE):
            try:
                stretch = await get_object(
                    self._looking,
                    self._address,
                    byte_range=(first, min(first + COMPARED_AT_ONCE, after) - 1),
                    headers=self._key_headers,
                )
            except CosxferError as error:
                failure.add_note(f"the object has the size of a successful append, but cannot be compared: {error}")
                raise failure from error
            crc64 = hashing.crc64(stretch.body, crc64)
        return crc64 == self._body.crc64

    def _wrong_position(self, position: int | None, error: CosxferError) -> AppendPositionError:
        ends = "its end is unknown" if position is None else f"it ends at {position}"
        return AppendPositionError(
            f"APPEND Object {shorten(self._address.key)}: position {self._position} is not the end of the object: "
            f"{ends}",
            position=position,
            **_said(error),
        )

    def _not_appendable(self, error: ServerError) -> ObjectNotAppendableError:
        return ObjectNotAppendableError(
            f"APPEND Object {shorten(self._address.key)}: append_object did not create the object, so nothing can be "
            "appended",
            **_said(error),
        )


def _said(error: CosxferError) -> dict[str, Any]:
    if not isinstance(error, ServerError):
        return {"status": 0}
    names = ("status", "code", "resource", "request_id", "trace_id", "headers")
    return {name: getattr(error, name) for name in names}
