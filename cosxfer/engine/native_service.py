"""The native threads for files (`cosxfer._native.FileService`) of one client, on one event loop.

For small files, a hop to a Python thread and back costs more than the rest of the transfer. The native threads hand
over all files that are done in one call on the event loop.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

from cosxfer._native import FileService, hashing
from cosxfer.engine.thread_count import ThreadCount
from cosxfer.threads import none_to_be_had

O = TypeVar("O")  # noqa: E741 # an owner, as in `FileService`


class NativeService(Generic[O]):
    """Native threads, and the event loop that takes over what they have done (`_take`).

    The event loop holds this object until `close` or `abandon` is called, which its owner must do.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, digest_above: int, at_once: int) -> None:
        """``at_once`` is the number of files that are taken over before the event loop has another turn.

        Raises OSError if there is no descriptor, and NotImplementedError if ``loop`` cannot wait for one."""
        self._loop = loop
        self._process = os.getpid()
        self._ended = False
        self._at_once = at_once
        self._service: FileService[O] = FileService(hashing.digest_function, digest_above)
        # A thread that sleeps is woken by a system call, which costs as much as all other steps of a small file.
        self._service.quiet = True
        self._announces = False
        self._count = ThreadCount(self._service, self._deliver_early)
        try:
            loop.add_reader(self._service.fileno(), self._deliver)
        except BaseException:
            self._service.close()
            raise

    def close(self) -> None:
        """Take no more files; on the event loop. The threads end when those that wait are done."""
        self._ended = True
        self._count.stop()
        if not self._service.pending:
            self._release()

    def abandon(self) -> None:
        """Nobody waits any more: end the threads. May be called from any thread."""
        if os.getpid() != self._process:
            return  # the threads and the event loop belong to the parent process
        if self._loop.is_running() and asyncio._get_running_loop() is not self._loop:
            with suppress(RuntimeError):  # it was closed just now
                self._loop.call_soon_threadsafe(self._release)
        else:
            self._release()

    def _begin(self) -> float:
        """Prepare for a request, and return the time by the loop's clock."""
        if self._ended:
            raise none_to_be_had(RuntimeError("cannot schedule new futures after shutdown"))
        now = self._loop.time()
        self._count.file_comes(self._loop, now)
        if not self._announces:
            self._announces = True
            self._loop.call_soon(self._announce)
        return now

    def _announce(self) -> None:
        """Wake the threads once for the files of one turn of the loop."""
        self._announces = False
        self._service.announce()

    def _release(self) -> None:
        self._ended = True
        self._count.stop()
        if self._service.closed or os.getpid() != self._process:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(self._service.fileno())
        self._service.close()

    def _deliver(self) -> None:
        """On the loop: take over what the threads have done."""
        self._take(self._service.collect(self._at_once))
        if self._ended and not self._service.pending:
            self._release()

    def _deliver_early(self) -> bool:
        """Take over what is done while a thread is busy with another file. Returns whether there is more to come."""
        if self._service.done:
            self._deliver()
        return not self._service.closed and bool(self._service.pending)

    def _take(self, done: Sequence[tuple[O, Any]]) -> None:
        """Take over outcomes of `FileService.collect`."""
        raise NotImplementedError
