"""Runs users' callbacks in order, in a separate thread, where a slow or raising callback cannot stall a transfer.

A progress report that is still waiting is replaced by the next one, so the buffer holds at most one report per running
task. All other calls are delivered, even if late.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from cosxfer.foreign import clean_logger

logger = clean_logger("cosxfer")

IDLE_SECONDS = 1.0
"""How long the thread stays idle before it ends. The next call starts it again."""

TAKEN_AT_ONCE = 64
"""Calls that the thread takes out of the buffer at once."""

EXIT_SECONDS = 1.0
"""How long the interpreter's exit waits for a running callback."""


class Delivery:
    """A call that was posted."""

    __slots__ = ("argument", "callback", "fixed")

    def __init__(self, callback: Callable[[Any], object], argument: object) -> None:
        self.callback = callback
        self.argument = argument
        self.fixed = False
        """The call must not be replaced, or is already running."""


class Dispatcher:
    """Runs posted calls one after another. All methods may be called from any thread, and none waits."""

    def __init__(self, *, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._posted: deque[Delivery] = deque()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._closed = False
        _dispatchers.add(self)

    def post(self, callback: Callable[[Any], object], argument: object) -> Delivery:
        """Call ``callback(argument)`` after everything that was posted before."""
        delivery = Delivery(callback, argument)
        delivery.fixed = True
        self._append(delivery)
        return delivery

    def post_each(self, callback: Callable[[Any], object], arguments: Sequence[object]) -> None:
        """`post` a call for each argument. Costs less than one by one."""
        deliveries = [Delivery(callback, argument) for argument in arguments]
        for delivery in deliveries:
            delivery.fixed = True
        self._append(*deliveries)

    def post_newer(self, older: Delivery | None, callback: Callable[[Any], object], argument: object) -> Delivery:
        """Like `post`, but replace the argument of ``older`` if that call is from this method and still waiting."""
        with self._changed:
            if older is not None and not older.fixed:
                older.argument = argument
                return older
        delivery = Delivery(callback, argument)
        self._append(delivery)
        return delivery

    def reports(self, callback: Callable[[Any], object]) -> Callable[[Any], None]:
        """Return a function that passes reports to ``callback``: the first, the last, and the newest in between."""
        last: Delivery | None = None

        def report(argument: object) -> None:
            nonlocal last
            last = self.post(callback, argument) if last is None else self.post_newer(last, callback, argument)

        return report

    def delivered(self) -> Future[None] | None:
        """Return a future that completes when all calls posted so far have run; None if there are none.

        In the dispatcher's own thread the result is None too, because the thread would wait for itself.
        """
        with self._changed:
            idle = self._closed or not (self._posted or self._busy)
            if idle or threading.current_thread() is self._thread:
                return None
            future: Future[None] = Future()
            self._posted.append(Delivery(_end, future))
            return future

    def close(self) -> None:
        """Drop all waiting calls. A running call continues."""
        with self._changed:
            self._closed = True
            left, self._posted = self._posted, deque()
            self._changed.notify()
        for delivery in left:
            _let_go(delivery)

    def _append(self, *deliveries: Delivery) -> None:
        with self._changed:
            if self._closed:
                return
            self._posted.extend(deliveries)
            if self._thread is not None:
                self._changed.notify()
                return
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                self._thread = None  # the interpreter is shutting down

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                if not self._posted and not self._closed:
                    self._changed.wait(IDLE_SECONDS)
                if not self._posted:
                    self._thread = None
                    return
                self._busy = True
                taken = [self._posted.popleft() for _ in range(min(TAKEN_AT_ONCE, len(self._posted)))]
                for delivery in taken:
                    delivery.fixed = True
            for delivery in taken:
                if self._closed:
                    _let_go(delivery)
                    continue
                try:
                    delivery.callback(delivery.argument)
                except BaseException:
                    # Includes sys.exit(), which would end this thread and with it all other callbacks.
                    logger.exception("a callback raised; the transfer goes on")

    def _join(self) -> None:
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(EXIT_SECONDS)


def _let_go(delivery: Delivery) -> None:
    """Drop a call. If it is the future of `delivered`, complete it, so that its caller does not wait for ever."""
    if delivery.callback is _end and isinstance(delivery.argument, Future):
        _end(delivery.argument)


def _end(future: Future[None]) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(None)


_dispatchers: weakref.WeakSet[Dispatcher] = weakref.WeakSet()


# A forked child does not have these threads, and their locks may be held for ever.
os.register_at_fork(after_in_child=_dispatchers.clear)


@atexit.register
def _stop() -> None:
    """End the threads before the interpreter shuts down, because a daemon thread that prints then can crash it."""
    dispatchers = list(_dispatchers)
    for dispatcher in dispatchers:
        dispatcher.close()
    for dispatcher in dispatchers:
        dispatcher._join()
