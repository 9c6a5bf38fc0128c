"""Preparing the bodies that a caller may pass: their length, their digests, and whether they can be sent again."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from cosxfer._native import hashing
from cosxfer.arguments import check_count, check_text, wrong_type
from cosxfer.cos.requests import Body, Buffer
from cosxfer.engine.report import logger
from cosxfer.engine.upload.closing import close_source
from cosxfer.engine.upload.digests import digest_of
from cosxfer.engine.upload.file_body import FileBody, ReadableFile, is_file, measure
from cosxfer.engine.upload.hash_ahead import HashAhead
from cosxfer.engine.upload.part_body import PartBody
from cosxfer.engine.upload.stream_body import Spooled, StreamBody, bytes_of, pieces_of, spool, view_of
from cosxfer.engine.upload.unchanged import check_stored, check_unchanged
from cosxfer.errors import CosxferError, IntegrityError, UsageError
from cosxfer.limits import MAX_OBJECT_BYTES
from cosxfer.models import MultipartUploadResult, PutObjectResult
from cosxfer.ops.mistakes import warn_if_path
from cosxfer.ops.proof import check_crc64
from cosxfer.planning import PartRange
from cosxfer.records import dataclass
from cosxfer.sources import FileSource
from cosxfer.threads import Workers, in_thread

BinaryInput: TypeAlias = Buffer | os.PathLike[str] | ReadableFile | Iterable[Buffer] | AsyncIterable[Buffer]
BodyInput: TypeAlias = BinaryInput | str
"""Bytes, text (sent as UTF-8), the path of a file, a binary file object (from its position), or bytes in pieces."""


Sent = TypeVar("Sent", PutObjectResult, MultipartUploadResult)


@dataclass(frozen=True, kw_only=True)
class PreparedBody:
    """A body with its length and digests.

    ``md5`` is the caller's if one was given. If pieces are sent directly, it may be None, and ``crc64`` is None;
    `proven` compares their CRC64 afterwards.
    """

    body: Body
    content_length: int
    md5: bytes | None
    crc64: int | None

    def proven(self, result: Sent, *, operation: str) -> Sent:
        """Compare the CRC64 of pieces that were sent directly; raises `IntegrityError` if the server's differs."""
        if not isinstance(self.body, StreamBody) or result.crc64 is None:
            return result
        try:
            check_crc64(operation, local=self.body.crc64, server=result.crc64, retryable=False)
        except IntegrityError as error:
            error.add_note("the object on the server is not what was sent. Do not use it; send it again")
            raise
        return replace(result, verified=True, verified_by="crc64")


@asynccontextmanager
async def prepared(
    body: BodyInput,
    executor: Workers,
    *,
    content_length: int | None = None,
    content_md5: bytes | None = None,
    largest: int,
    repeatable: bool = False,
    announced: int | None = None,
) -> AsyncIterator[PreparedBody]:
    """Prepare ``body``. A file stays open until the context ends, and is then checked for changes.

    Pieces of an iterable are first kept in a temporary file. That gives their length and digests, and allows a retry.
    With a ``content_length`` they are sent directly, unless ``repeatable`` is True.

    Raises `UsageError` for another type, for more than ``largest`` bytes, and for a body that does not have
    ``content_length`` bytes. It does so before anything is sent, or, if pieces are sent directly, before the last of
    them, so that no object is stored.
    """
    if isinstance(body, str):
        await warn_if_path(body, executor)
    body = checked_body(body)
    check_content_length(content_length)
    if content_length is not None:
        check_size(content_length, largest, None)
    if isinstance(body, bytes | bytearray | memoryview):
        yield await in_memory(
            body,
            lambda view: digest_of(view, executor),
            content_length=content_length,
            content_md5=content_md5,
            largest=largest,
        )
    elif isinstance(body, os.PathLike):
        source = await in_thread(None, FileSource.open, body)
        try:
            check_size(source.size, largest, content_length)
            part = PartRange(number=1, offset=0, length=source.size)
            ahead = HashAhead(source, executor=executor, on_hashed=lambda _: None)
            [hashed] = [part async for part in ahead.hash([[part]])]
            try:
                yield PreparedBody(
                    body=PartBody(source, hashed, executor),
                    content_length=source.size,
                    md5=content_md5 or hashed.md5,
                    crc64=hashed.crc64,
                )
            except CosxferError:
                await check_unchanged(source, executor, [hashed])
                raise
            await check_stored(check_unchanged(source, executor, [hashed]))
        finally:
            await close_source(source, executor)
    elif (size := announced if announced is not None else await measured(body, executor)) is not None:
        assert isinstance(body, ReadableFile)
        # Check before reading, because a file object that decompresses reads everything to measure itself.
        check_size(size, largest, None)
        async with _from_file(body, size, executor, largest, may_be_empty=content_length == 0) as file:
            check_size(file.size, largest, content_length)
            yield _with_digest(file, content_md5)
    elif content_length and not repeatable:
        stream = StreamBody(pieces_of(body), content_length, executor=executor, name=_name(body))
        yield PreparedBody(body=stream, content_length=content_length, md5=content_md5, crc64=None)
    else:
        async with spool(pieces_of(body), executor=executor, largest=largest, name=_name(body)) as kept:
            check_size(kept.size, largest, content_length)
            if not kept.size and content_length is None and isinstance(body, Iterator | AsyncIterator | ReadableFile):
                logger.warning(
                    "the body %s has no bytes, so an empty body is sent; an iterator or a stream gives its bytes only "
                    "once",
                    _name(body),
                )
            yield _with_digest(kept, content_md5)


async def measured(body: BinaryInput, executor: Workers) -> int | None:
    """Return the size that a file object reports; None for a stream or a file object that cannot seek back."""
    return await in_thread(executor.waiting, measure, body) if is_file(body) else None


async def in_memory(
    body: Buffer,
    digest_of_body: Callable[[memoryview], Awaitable[hashing.PartDigest]],
    *,
    content_length: int | None,
    content_md5: bytes | None,
    largest: int,
) -> PreparedBody:
    """Prepare bytes like `prepared`. Nothing has to be closed afterwards."""
    if content_length is not None:
        check_size(content_length, largest, None)
    view = view_of(body)
    if not view.c_contiguous:
        raise UsageError("the body is a view that is not contiguous; pass bytes(view)", name="body", value="memoryview")
    view = bytes_of(view)
    check_size(len(view), largest, content_length)
    digest = await digest_of_body(view)
    return PreparedBody(body=view, content_length=len(view), md5=content_md5 or digest.md5, crc64=digest.crc64)


@asynccontextmanager
async def _from_file(
    file: ReadableFile, announced: int, executor: Workers, largest: int, *, may_be_empty: bool
) -> AsyncIterator[Spooled]:
    """Prepare a file object from its position to its end. If it reports a wrong length, it is kept like pieces.

    Warns if it is at its end, unless ``may_be_empty``.
    """
    body = FileBody(file, announced)
    if announced:
        digest = await in_thread(executor, body.digest, largest)
        if digest is not None:
            try:
                yield Spooled(body=body, size=body.size, digest=digest)
            except CosxferError:
                await body.check()
                raise
            await check_stored(body.check())
            return
        await in_thread(executor.waiting, body.rewind)
    async with spool(pieces_of(file), executor=executor, largest=largest, name=_name(file)) as kept:
        if not kept.size and body.gave:
            raise body.not_twice()
        if not kept.size and not may_be_empty and (body.start or announced):
            logger.warning(
                "the file object %s is at its end (byte %d), so an empty body is sent; call seek(0) before "
                "the upload to send all of it",
                body.name,
                body.start,
            )
        yield kept


def _with_digest(kept: Spooled, given: bytes | None) -> PreparedBody:
    digest = kept.digest
    return PreparedBody(body=kept.body, content_length=kept.size, md5=given or digest.md5, crc64=digest.crc64)


def _name(body: object) -> str:
    """Return the name of a body in messages."""
    return f"<{type(body).__name__}>"


def checked_body(body: BodyInput) -> BinaryInput:
    """Return ``body``, text as bytes; raises `UsageError` if it cannot be a body. Reads nothing of it."""
    if isinstance(body, str):
        check_text(body, "body")
        return body.encode()
    iterable = isinstance(body, Iterable) and not isinstance(body, Mapping)
    if not iterable and not isinstance(body, Buffer | os.PathLike | ReadableFile | AsyncIterable):
        raise wrong_type(
            "body",
            body,
            "bytes, a string, a pathlib.Path for a file's content, a binary file object, or an iterable of bytes",
        )
    if iterable and not isinstance(body, Buffer | ReadableFile) and _has_memory(body):
        kind = type(body).__name__
        raise UsageError(
            f"body is {kind}; pass memoryview(body) for its bytes in memory, or iter(body) for its items if these "
            "are bytes",
            name="body",
            value=kind,
        )
    return body


def _has_memory(body: Any) -> bool:
    """Whether ``body`` is an array, whose bytes in memory are not its items."""
    try:
        memoryview(body).release()
    except (TypeError, ValueError, BufferError):
        return False
    return True


def check_content_length(value: int | None) -> None:
    """Raise `UsageError` if ``value`` is neither None nor a number of bytes that an object can have."""
    if value is not None:
        check_count(value, "content_length", maximum=MAX_OBJECT_BYTES, unit="bytes")


def check_size(size: int, largest: int, content_length: int | None) -> None:
    if size > largest:
        raise UsageError(
            f"the body is {size} bytes; one request carries at most {largest} ({largest >> 30} GiB). "
            "upload_file and slice_upload_file send more, in parts",
            name="body",
            value=size,
        )
    if content_length is not None and content_length != size:
        raise UsageError(
            f"content_length is {content_length}, but the body is {size} bytes", name="content_length", value=size
        )
