"""Writes an object to standard output: ``cosxfer cat``, and ``cosxfer cp`` to ``-``."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

from cosxfer._native import hashing
from cosxfer.cli.notices import hide_retries
from cosxfer.cli.output import write_bytes
from cosxfer.client import Client
from cosxfer.cos.requests import CustomerKey
from cosxfer.errors import CosxferError, IntegrityError, UsageError
from cosxfer.foreign import shorten
from cosxfer.limits import MIB
from cosxfer.models import GetObjectBytesResult, HeadObjectResult
from cosxfer.records import dataclass
from cosxfer.threads import result_of

BLOCK_BYTES = 8 * MIB
"""Bytes of one request."""
AHEAD = 4
"""Requests in flight. They bound the memory: `AHEAD` blocks, and the one that is written."""

_RANGE = re.compile(r"(\d{0,18})-(\d{0,18})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Received:
    """What was written."""

    head: HeadObjectResult
    size: int
    crc64: int
    verified: bool
    """Whether the CRC64 of the bytes is the server's. False for a range."""


def parse_range(text: str) -> tuple[int | None, int | None]:
    """Parse ``0-99`` (both included), ``100-`` (from there on) or ``-100`` (the last bytes)."""
    match = _RANGE.fullmatch(text.strip())
    if match is None or match[0].strip() == "-":
        raise UsageError(
            f"--range is {shorten(text)}; write FIRST-LAST (both included), FIRST- or -COUNT",
            name="--range",
            value=text,
        )
    first, last = [None if not number else int(number) for number in match.groups()]
    if (first is not None and last is not None and first > last) or (first is None and last == 0):
        raise UsageError(f"--range is {shorten(text)}, which has no bytes", name="--range", value=text)
    return first, last


def write_object(
    client: Client,
    bucket: str,
    key: str,
    *,
    version_id: str | None = None,
    wanted: tuple[int | None, int | None] | None = None,
    customer_key: CustomerKey | None = None,
    on_bytes: Callable[[int, int], None] = lambda written, total: None,
) -> Received:
    """Write an object, or the range ``wanted`` of it, in bounded memory.

    All bytes are of one version of the object: the requests have If-Match. Raises `IntegrityError` if the CRC64 of a
    whole object is not the server's; what was written must not be used then.
    """
    reading = customer_key or CustomerKey()
    head = client.head_object(bucket, key, version_id=version_id, **reading)
    first, end = _span(wanted, head.size)
    written = crc64 = 0
    with closing(_blocks(client, bucket, key, head, version_id, reading, first, end)) as blocks:
        for block in blocks:
            crc64 = hashing.crc64(block, crc64)
            write_bytes(block)
            written += len(block)
            on_bytes(written, end - first)
    whole = wanted is None
    if whole and head.crc64 is not None and crc64 != head.crc64:
        raise IntegrityError(
            f"cos://{bucket}/{key}: checksum mismatch: server CRC64 {head.crc64}, written {crc64}. "
            "Do not use the output",
            expected=head.crc64,
            actual=crc64,
        )
    return Received(head=head, size=written, crc64=crc64, verified=whole and head.crc64 is not None)


def _span(wanted: tuple[int | None, int | None] | None, size: int) -> tuple[int, int]:
    """Return the first byte, and the one after the last."""
    first, last = wanted or (0, None)
    if first is None:
        assert last is not None
        return max(0, size - last), size
    if first >= size and wanted is not None:
        raise CosxferError(f"--range begins at byte {first}, but the object has {size} bytes")
    return first, size if last is None else min(last + 1, size)


def _blocks(
    client: Client,
    bucket: str,
    key: str,
    head: HeadObjectResult,
    version_id: str | None,
    reading: CustomerKey,
    first: int,
    end: int,
) -> Generator[bytes, None, None]:
    """Yield the bytes in order, with some requests ahead."""

    def fetch(start: int) -> GetObjectBytesResult:
        return client.get_object(
            bucket,
            key,
            # A whole object in one request is verified by that request, which can be repeated.
            byte_range=None if end - first == head.size <= BLOCK_BYTES else (start, min(start + BLOCK_BYTES, end) - 1),
            version_id=version_id,
            if_match=head.etag or None,
            **reading,
        )

    threads = ThreadPoolExecutor(AHEAD, thread_name_prefix="cosxfer-cat")
    try:
        ahead: deque[Future[GetObjectBytesResult]] = deque()
        for start in range(first, end, BLOCK_BYTES):
            if len(ahead) == AHEAD:
                yield result_of(ahead.popleft()).body
            ahead.append(threads.submit(fetch, start))
        while ahead:
            yield result_of(ahead.popleft()).body
    except BaseException:
        hide_retries()
        raise
    finally:
        # Closing the client ends the requests that are left.
        threads.shutdown(wait=False, cancel_futures=True)
