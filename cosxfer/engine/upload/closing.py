"""Closing files off the event loop: to unmap or delete a large one takes milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor

from cosxfer.errors import CosxferError
from cosxfer.sources import FileSource, SmallFile
from cosxfer.threads import finished, in_thread


async def close_source(source: FileSource | SmallFile, executor: Executor | None) -> None:
    """Close ``source`` in a thread, and wait for that even if the caller is cancelled meanwhile."""
    if not isinstance(source, SmallFile):  # that was closed when it was read
        await close_in_thread(source.close, executor)


def close_later(source: FileSource | SmallFile) -> None:
    """Close ``source`` in a thread, from the event loop, without waiting for it."""
    if isinstance(source, SmallFile):
        return
    try:
        in_thread(None, source.close)
    except CosxferError:
        source.close()  # as below


async def close_in_thread(close: Callable[[], None], executor: Executor | None) -> None:
    """Call ``close`` in a thread, and wait for that even if the caller is cancelled meanwhile."""
    try:
        closing = in_thread(executor, close)
    except CosxferError:
        close()  # no thread is available: better on the event loop than never
    else:
        await finished(closing)
