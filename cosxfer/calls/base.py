"""Base classes of the groups of calls: the session and its threads, and running a blocking call on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from cosxfer.arguments import check_callback
from cosxfer.binding import no_such_call
from cosxfer.errors import CosxferError
from cosxfer.loop_thread import LoopThread
from cosxfer.models import Progress
from cosxfer.ops.session import Session
from cosxfer.tasks.task import wait_for_callbacks
from cosxfer.tasks.transfers import Transfers
from cosxfer.threads import Workers

T = TypeVar("T")


class _End:
    """Marks the end of the entries."""


_END = _End()


class _ProcessBound:
    """An object that cannot leave its process, because it has connections and threads."""

    if not TYPE_CHECKING:  # otherwise mypy would accept every attribute

        def __getattr__(self, name: str) -> NoReturn:
            raise no_such_call(type(self), name)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be copied or pickled: it has connections and threads; "
            "make one in each process, or send its spec() there"
        )


class AsyncCalls(_ProcessBound):
    """A group of calls of `AsyncClient`."""

    _session: Session
    _executor: Workers
    _transfers: Transfers
    _closed: bool

    def _ready(self) -> Workers:
        """Return the threads; raises an error if this process or this event loop may not use the client."""
        self._transfers.queue.home.check_process()
        if self._closed:
            raise CosxferError("the client is closed; make a new one")
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise CosxferError(
                "use an AsyncClient from its event loop only; for other threads there is Client"
            ) from None
        self._transfers.queue.home.bind(loop)
        return self._executor

    async def _when_ready(self, entries: AsyncIterator[T]) -> AsyncIterator[T]:
        """Check the client when the first entry is requested, which may be long after the iterator was made."""
        self._ready()
        async for entry in entries:
            yield entry

    def _in_callback_thread(self, callback: Callable[[Progress], None] | None) -> Callable[[Progress], None] | None:
        """Return ``on_progress`` wrapped so that a thread calls it; a slow callback then delays no transfer."""
        check_callback(callback, "on_progress")
        return None if callback is None else self._transfers.queue.dispatcher.reports(callback)

    async def _callbacks_done(self, callback: object) -> None:
        """Wait up to a second until ``callback`` has had its last report."""
        await wait_for_callbacks(None if callback is None else self._transfers.queue.dispatcher.delivered())


class BlockingCalls(_ProcessBound):
    """A group of calls of `Client`; each runs its asynchronous form."""

    _client: AsyncCalls
    _loop: LoopThread

    def _running_transfers(self) -> Transfers:
        """Return the transfers, bound to the client's own event loop."""
        transfers = self._client._transfers
        transfers.queue.home.bind(self._loop.started())
        return transfers

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(call)

    def _iterate(self, entries: AsyncIterator[T]) -> Iterator[T]:
        async def following() -> T | _End:
            return await anext(entries, _END)

        while not isinstance(entry := self._run(following()), _End):
            yield entry
