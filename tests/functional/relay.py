"""A relay between client and server for tests: a listener with a thread per connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self


class Relay:
    """Listens on a free local port until the block ends. `_serve` gets each connection, in its own thread.

    At the end it shuts down every socket passed to `_keep`, joins all threads, and closes the sockets.
    """

    def __init__(self, *, host: str = "127.0.0.1") -> None:
        self.connections = 0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for end in self._sockets:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for end in self._sockets:
            end.close()

    def _listen(self) -> None:
        """Begin to accept connections. A subclass calls this at the end of its __init__."""
        self._start(self._accept)

    def _serve(self, client: socket.socket) -> None:
        raise NotImplementedError

    def _keep(self, *ends: socket.socket) -> None:
        with self._lock:
            self._sockets += ends

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._keep(client)
            self._start(self._serve, client)
