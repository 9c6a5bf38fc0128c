"""Whether a file still holds what was hashed. Its times decide, and where they cannot, its content.

Of a file whose ctime alone has changed, the parts that were hashed are read and hashed again, in a thread. One
comparison is enough, whatever happens to the file while it is under way: all parts were hashed before the first is
read again, so parts that are equal make the file as it was at the moment between.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor

from cosxfer._native import hashing
from cosxfer.engine.hash_ahead import HashAhead, HashedPart
from cosxfer.engine.report import logger
from cosxfer.sources import FileSource, SmallFile
from cosxfer.threads import in_thread


async def check_unchanged(source: FileSource | SmallFile, executor: Executor, parts: Iterable[HashedPart] = ()) -> None:
    """Raise `SourceChangedError` unless ``source`` is the file that was opened, and ``parts`` are still in it.

    A small file needs no ``parts``: its whole content is in memory.
    """
    if source.check():
        return
    if isinstance(source, SmallFile):
        await in_thread(executor, source.compare)
    else:
        await compare(source, executor, parts)


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
