"""Calls on whole objects, for asyncio."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Unpack

from cosxfer.calls.base import AsyncCalls
from cosxfer.cos.requests import ObjectHeaders
from cosxfer.engine.append import Append
from cosxfer.engine.bodies import BodyInput, prepared
from cosxfer.engine.report import Reporter
from cosxfer.limits import MAX_PUT_BYTES
from cosxfer.models import AppendObjectResult, GetObjectResult, HeadObjectResult, Progress, PutObjectResult
from cosxfer.ops.get_object import get_object
from cosxfer.ops.head_object import head_object
from cosxfer.ops.put_object import put_object


class AsyncObjectCalls(AsyncCalls):
    """PUT, HEAD and GET Object."""

    async def put_object(
        self,
        bucket: str,
        key: str,
        body: BodyInput,
        *,
        content_length: int | None = None,
        content_md5: str | None = None,
        region: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **given: Unpack[ObjectHeaders],
    ) -> PutObjectResult:
        """Send an object of at most 5 GiB in one request (COS: PUT Object). It appears whole, or not at all.

        ``body`` is bytes, a string (sent as UTF-8), a ``pathlib.Path``, a binary file object (from its position on),
        or an iterable or asynchronous iterable of bytes. Content-MD5 is sent with it (computed, unless
        ``content_md5`` gives it in base64), and the server's CRC64 is compared: `cosxfer.IntegrityError` where it
        differs.

        What can be read once only (an iterator, a pipe) is kept in a temporary file first, so that it can be sent
        again after a failure. With ``content_length`` it is sent as it comes instead: once, and without Content-MD5.
        A body of another length than ``content_length`` is a `cosxfer.UsageError`, and no object comes of it.

        ``given`` are the headers of `cosxfer.cos.requests.ObjectHeaders`.
        """
        async with prepared(
            body, self._ready(), content_length=content_length, content_md5=content_md5, largest=MAX_PUT_BYTES
        ) as ready:
            reporter = Reporter(on_progress, ready.content_length)
            reporter.start()
            result, _ = await put_object(
                self._session,
                bucket,
                key,
                ready.body,
                content_length=ready.content_length,
                md5=ready.md5,
                crc64=ready.crc64,
                given=given,
                region=region,
                on_sent=reporter.add,
            )
            ready.check(result.crc64, doing="PUT Object")
        reporter.finish()
        return result

    async def append_object(
        self,
        bucket: str,
        key: str,
        body: BodyInput,
        *,
        position: int,
        content_length: int | None = None,
        content_md5: str | None = None,
        region: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **given: Unpack[ObjectHeaders],
    ) -> AppendObjectResult:
        """Add to the end of an appendable object, which the first append makes (COS: APPEND Object).

        ``position`` is the object's size, 0 for the first append; the result's ``next_append_position`` is the next
        one. `cosxfer.AppendPositionError` says the right one, `cosxfer.ObjectNotAppendableError` that the object was
        made in another way. ``body`` is that of `put_object`; one that comes in pieces is kept in a temporary file
        first. The object's headers are those of its first append.

        Never sent twice blindly: where an answer is lost, the object is asked (HEAD Object) whether the bytes are
        there, and only if none of them is they are sent again.
        """
        async with prepared(
            body,
            self._ready(),
            content_length=content_length,
            content_md5=content_md5,
            largest=MAX_PUT_BYTES,
            repeatable=True,
        ) as ready:
            reporter = Reporter(on_progress, ready.content_length)
            reporter.start()
            append = Append(
                self._session,
                bucket,
                key,
                ready,
                position=position,
                given=given,
                region=region,
                on_sent=reporter.add,
            )
            result = await append.run()
        reporter.finish()
        return result

    async def head_object(
        self, bucket: str, key: str, *, version_id: str | None = None, region: str | None = None
    ) -> HeadObjectResult:
        """What is known of an object (COS: HEAD Object). `cosxfer.NotFoundError` where there is none."""
        self._ready()
        return await head_object(self._session, bucket, key, version_id=version_id, region=region)

    async def get_object(
        self,
        bucket: str,
        key: str,
        *,
        output: str | os.PathLike[str] | None = None,
        byte_range: tuple[int, int] | None = None,
        version_id: str | None = None,
        region: str | None = None,
    ) -> GetObjectResult:
        """Fetch an object (COS: GET Object) into ``body``, or into the file ``output``.

        The file appears only when it is complete and its CRC64 agrees with the server's. ``byte_range`` is first and
        last byte, both included; a range has no CRC64 to compare.
        """
        self._ready()
        return await get_object(
            self._session, bucket, key, output=output, byte_range=byte_range, version_id=version_id, region=region
        )
