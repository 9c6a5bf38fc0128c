"""Files that an interrupted download of a folder has completed: what still is the object is not fetched again.

The journal has size, ETag and CRC64 of each object that such a call has downloaded. If the listing shows the same size
and ETag, the file is read and hashed. It counts if its content has that CRC64, whatever has happened to it meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from concurrent.futures import Executor
from contextlib import suppress

from cosxfer._native import hashing
from cosxfer.address import ObjectAddress
from cosxfer.errors import TargetError
from cosxfer.journal_rows import FinishedObject
from cosxfer.limits import MIB
from cosxfer.models import DownloadResult
from cosxfer.records import dataclass
from cosxfer.targets import path_below
from cosxfer.threads import in_thread, settled

READ_AT_ONCE = 4 * MIB


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What the journal and the listing have of an object."""

    finished: FinishedObject
    storage_class: str


async def is_kept(executor: Executor, below: tuple[str, tuple[str, ...]], known: FinishedObject) -> bool:
    """Whether the file with these names below a folder has the content of the object. No link is followed below it.

    A cancellation ends the reading.
    """
    stop = threading.Event()
    work = in_thread(executor, _has_content, below, known, stop)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        with suppress(asyncio.CancelledError):
            await settled(work)
        raise


def _has_content(below: tuple[str, tuple[str, ...]], known: FinishedObject, stop: threading.Event) -> bool:
    try:
        fd = os.open(path_below(*below), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
    except (OSError, ValueError, TargetError):
        return False
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size != known.size:
            return False
        return _crc64_of(fd, known.size, stop) == known.crc64
    except OSError:
        return False  # also a page that the disk has lost
    finally:
        os.close(fd)


def _crc64_of(fd: int, size: int, stop: threading.Event) -> int | None:
    """Return the CRC64 of a file of ``size`` bytes; None if it has another size, or if ``stop`` was set meanwhile."""
    block = memoryview(bytearray(min(READ_AT_ONCE, size + 1)))
    crc64, left = 0, size
    while not stop.is_set():
        count = os.readv(fd, [block])
        if not count:
            return None if left else crc64
        crc64 = hashing.crc64(block[:count], crc64)
        left -= count
    return None


def kept_result(address: ObjectAddress, path: str, known: Known) -> DownloadResult:
    """Return the result of a file that an earlier call has downloaded. Nothing was requested, so it has no headers."""
    finished = known.finished
    return DownloadResult(
        bucket=address.bucket,
        key=address.shown_key,
        path=path,
        size=finished.size,
        etag=finished.etag,
        crc64=finished.crc64,
        content_type="",
        last_modified="",
        storage_class=known.storage_class,
        object_type="",
        version_id=None,
        metadata={},
        verified=True,
        verified_by="crc64",
        parts=0,
        part_size_bytes=0,
        seconds=0.0,
        retries=0,
        resumed_bytes=finished.size,
    )
