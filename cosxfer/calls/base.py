"""What the groups of calls share: the session and its threads, and the way from a blocking call to the loop."""

from __future__ import annotations

from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from cosxfer.errors import CosxferError
from cosxfer.loop_thread import LoopThread
from cosxfer.ops.session import Session

if TYPE_CHECKING:
    from cosxfer.aio import AsyncClient

T = TypeVar("T")


class AsyncCalls:
    """A group of `AsyncClient`'s calls."""

    _session: Session
    _executor: ThreadPoolExecutor
    _closed: bool

    def _ready(self) -> ThreadPoolExecutor:
        if self._closed:
            raise CosxferError("the client is closed; make a new one")
        return self._executor


class BlockingCalls:
    """A group of `Client`'s calls, each of which runs its asynchronous form."""

    _client: AsyncClient
    _loop: LoopThread

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(call)
