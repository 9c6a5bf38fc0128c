"""Whether a file still holds what was hashed. Its times decide, and where they cannot, its content.

Of a file whose ctime alone has changed, the parts that were hashed are read and hashed again, in a thread. One
comparison is enough, whatever happens to the file while it is under way: all parts were hashed before the first is
read again, so parts that are equal make the file as it was at the moment between.
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
    """Raise `SourceChangedError` unless ``source`` is the file that was opened, and ``parts`` are still in it."""
    if not await in_thread(executor, source.check) and (hashed := list(parts)):
        await compare(source, executor, hashed)


async def check_small_file(file: SmallFile, opener: Opener) -> None:
    """Raise `SourceChangedError` unless ``file`` still holds what was read."""
    if not await opener.check(file):
        await in_thread(None, file.compare)


async def check_stored(check: Awaitable[None]) -> None:
    """Check a file that one request has just stored. If it changed, the error says that the object exists."""
    try:
        await check
    except SourceChangedError as error:
        error.add_note("By then the server had stored what the file held before")
        raise


async def compare(source: FileSource, executor: Executor, parts: Iterable[HashedPart]) -> None:
    """Read ``parts`` again; raise `SourceChangedError` unless their digests are the same."""
    hashed = list(parts)
    logger.info("the ctime of %s has changed, its mtime has not: %d parts are compared", source.path, len(hashed))
    lanes = hashing.lanes()
    batches = [[part.range for part in hashed[first : first + lanes]] for first in range(0, len(hashed), lanes)]
    before = iter(hashed)
    async for part in HashAhead(source, executor=executor, on_hashed=lambda _: None).hash(batches):
        if part != next(before):
            source.rewritten()
