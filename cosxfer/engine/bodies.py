"""What a caller may pass as a body, made ready to be sent: its length, its digests, and that it can be sent again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from cosxfer._native import hashing
from cosxfer.cos.requests import Body, check_content_md5
from cosxfer.engine.hash_ahead import HashAhead
from cosxfer.engine.part_body import PartBody
from cosxfer.errors import CosxferError, UsageError
from cosxfer.planning import PartRange
from cosxfer.sources import FileSource

BodyInput: TypeAlias = "bytes | bytearray | memoryview | str | os.PathLike[str]"
"""Bytes, text (sent as UTF-8), or the path of a file."""

SMALL_BYTES = 256 * 1024
"""Hashing less takes less time than handing it to a thread."""


@dataclass(frozen=True, kw_only=True)
class PreparedBody:
    """A body and what is known of it; ``md5`` is the caller's own where one was given."""

    body: Body
    content_length: int
    md5: bytes
    crc64: int


@asynccontextmanager
async def prepared(
    body: BodyInput, executor: Executor, *, content_md5: str | None = None, largest: int
) -> AsyncIterator[PreparedBody]:
    """Prepare ``body``; a file is open, and checked for changes, until the context ends.

    Raises `UsageError` for another type or more than ``largest`` bytes, before anything is read.
    """
    given = None if content_md5 is None else check_content_md5(content_md5)
    if isinstance(body, os.PathLike):
        source = await asyncio.to_thread(FileSource.open, body)
        with source:
            _check_size(source.size, largest)
            part = PartRange(number=1, offset=0, length=source.size)
            ahead = HashAhead(source, executor=executor, on_hashed=lambda _: None)
            [hashed] = [part async for part in ahead.hash([[part]])]
            try:
                yield PreparedBody(
                    body=PartBody(source, part),
                    content_length=source.size,
                    md5=given or hashed.md5,
                    crc64=hashed.crc64,
                )
            except CosxferError:
                source.check()
                raise
            source.check()
        return
    if isinstance(body, str):
        body = body.encode()
    if not isinstance(body, bytes | bytearray | memoryview):
        raise UsageError(
            f"the body is {type(body).__name__}; it can be bytes, a string, or a pathlib.Path for a file's content",
            name="body",
            value=type(body).__name__,
        )
    view = memoryview(body).cast("B")
    _check_size(len(view), largest)
    if len(view) <= SMALL_BYTES:
        [digest] = hashing.hash_parts([view])
    else:
        [digest] = await asyncio.get_running_loop().run_in_executor(executor, hashing.hash_parts, [view])
    yield PreparedBody(body=view, content_length=len(view), md5=given or digest.md5, crc64=digest.crc64)


def _check_size(size: int, largest: int) -> None:
    if size > largest:
        raise UsageError(
            f"the body is {size} bytes; one request carries at most {largest} ({largest >> 30} GiB). "
            "upload_file and slice_upload_file send more, in parts",
            name="body",
            value=size,
        )
