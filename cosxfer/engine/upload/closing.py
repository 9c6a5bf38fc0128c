"""Closing a mapped file off the event loop: to unmap a large one takes milliseconds."""

from __future__ import annotations

from concurrent.futures import Executor

from cosxfer.errors import CosxferError
from cosxfer.sources import FileSource, SmallFile
from cosxfer.threads import finished, in_thread


async def close_source(source: FileSource | SmallFile, executor: Executor | None) -> None:
    """Close ``source`` in a thread, and wait for that even if the caller is cancelled meanwhile."""
    if isinstance(source, SmallFile):
        return  # it was closed when it was read
    try:
        closing = in_thread(executor, source.close)
    except CosxferError:
        source.close()  # no thread is available: better on the event loop than never
    else:
        await finished(closing)
