"""A forward proxy: CONNECT, and requests with an absolute address. It keeps what it was asked for."""

from __future__ import annotations

import base64
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

Manner = Literal["pass", "refuse", "close", "cut", "silent", "noise"]
"""Pass all on; answer with a status; close without a word; close in the middle of its answer; say nothing; no HTTP."""

HOP = ("proxy-connection", "proxy-authorization", "connection", "keep-alive")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request to the proxy."""

    method: str
    target: str
    headers: dict[str, str] = field(repr=False)


class ForwardProxy:
    """Listens on a free port of this machine until the block ends. ``password``: wanted, with the user ``me``."""

    def __init__(self, *, manner: Manner = "pass", status: int = 403, password: str = "") -> None:
        self.manner = manner
        self.asked: list[Asked] = []
        self.tunnelled_bytes = 0
        self._status = status
        self._wanted = "Basic " + base64.b64encode(f"me:{password}".encode()).decode() if password else ""
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.where = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

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

    def _start(self, target: object, *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._sockets.append(client)
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        try:
            with suppress(OSError):
                self._pass(client)
        finally:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _pass(self, client: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            more = client.recv(65536)
            if not more:
                return
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        headers = dict(fields)
        self.asked.append(Asked(method=method, target=target, headers=headers))
        if not self._lets_pass(client, headers):
            return
        if method == "CONNECT":
            assert "/" not in target, target
            host, _, port = target.rpartition(":")
            server = self._dial(host.strip("[]"), int(port))
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            address = urlsplit(target)
            server = self._dial(address.hostname or "", address.port or 80)
            # One request to a connection, so that what follows in both directions is passed on as it is.
            path = target.partition("://")[2].partition("/")[2]
            kept = "".join(f"{name}: {value}\r\n" for name, value in fields if name not in HOP)
            server.sendall(f"{method} /{path} HTTP/1.1\r\n{kept}connection: close\r\n\r\n".encode("latin-1"))
        server.sendall(rest)
        back = self._start(self._pump, server, client)
        self._pump(client, server, count=True)
        back.join()

    def _lets_pass(self, client: socket.socket, headers: dict[str, str]) -> bool:
        status = self._status if self.manner == "refuse" else 0
        if self._wanted and headers.get("proxy-authorization") != self._wanted:
            status = 407
        if status:
            client.sendall(
                f"HTTP/1.1 {status} Not Here\r\nproxy-authenticate: Basic\r\nconnection: close\r\n"
                "content-length: 2\r\n\r\nno".encode()
            )
            # What is left unread would make a reset of the end, which may overtake the answer.
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        elif self.manner == "cut":
            client.sendall(b"HTTP/1.1 200 Conn")
        elif self.manner == "noise":
            client.sendall(b"SSH-2.0-OpenSSH_9\r\n\r\n")
        elif self.manner == "silent":
            while client.recv(65536):
                pass
        return self.manner == "pass" and not status

    def _dial(self, host: str, port: int) -> socket.socket:
        server = socket.create_connection((host, port))
        with self._lock:
            self._sockets.append(server)
        return server

    def _pump(self, source: socket.socket, sink: socket.socket, *, count: bool = False) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 18):
                if count:
                    with self._lock:
                        self.tunnelled_bytes += len(data)
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
