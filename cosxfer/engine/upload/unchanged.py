"""Checking whether a file still holds the bytes that were hashed. Its times decide, or else its content.

If only the ctime of the file has changed, a thread reads and hashes the hashed parts again. One comparison is enough,
even if the file changes during it. All parts were hashed before the first is read again, so if all are equal, the file
held exactly these bytes at the moment between.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from concurrent.futures import Executor

from cosxfer._native import hashing
from cosxfer.engine.multipart.source import HashedPart
from cosxfer.engine.report import logger
from cosxfer.engine.upload.hash_ahead import HashAhead
from cosxfer.engine.upload.opening import Opener
from cosxfer.errors import SourceChangedError
from cosxfer.sources import FileSource, SmallFile
from cosxfer.threads import in_thread


async def check_unchanged(source: FileSource, executor: Executor, parts: Iterable[HashedPart]) -> None:
    """Raise `SourceChangedError` unless ``source`` is still the file that was opened and still holds ``parts``."""
    if not await in_thread(executor, source.check) and (hashed := list(parts)):
        await compare(source, executor, hashed)


async def check_small_file(file: SmallFile, opener: Opener) -> None:
    """Raise `SourceChangedError` unless ``file`` still holds the bytes that were read."""
    if not await opener.check(file):
        await in_thread(None, file.compare)


async def check_stored(check: Awaitable[None]) -> None:
    """Check a file that one request has just stored. If it changed, the error says that the object exists."""
    try:
        await check
    except SourceChangedError as error:
        error.add_note("The server had already stored the earlier content of the file")
        raise


async def compare(source: FileSource, executor: Executor, parts: Iterable[HashedPart]) -> None:
    """Read ``parts`` again; raise `SourceChangedError` unless their digests are the same."""
    hashed = list(parts)
    logger.info("the ctime of %s has changed but not its mtime: comparing %d parts", source.path, len(hashed))
    lanes = hashing.lanes()
    batches = [[part.range for part in hashed[first : first + lanes]] for first in range(0, len(hashed), lanes)]
    before = iter(hashed)
    async for part in HashAhead(source, executor=executor, on_hashed=lambda _: None).hash(batches):
        if part != next(before):
            source.rewritten()
