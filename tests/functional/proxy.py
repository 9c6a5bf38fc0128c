"""Proxies for tests: HTTP (CONNECT, and requests with an absolute URL), with or without TLS, and SOCKS5.

They record the requests that they get.
"""

from __future__ import annotations

import base64
import select
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal
from urllib.parse import urlsplit

from tests.functional.relay import Relay

Manner = Literal["pass", "refuse", "close", "cut", "silent", "noise"]
"""Forward everything; respond with a status; close silently; close inside the response; stay silent; send noise."""

HOP = ("proxy-connection", "proxy-authorization", "connection", "keep-alive")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request to the proxy."""

    method: str
    target: str
    headers: dict[str, str] = field(repr=False)


class _Proxy(Relay):
    """Listens on a free local port until the block ends.


    ``password``: required, with the user ``me``. ``status``: the status of a refusal. ``stop_after``: the number of
    bytes from one client after which the proxy closes both connections, or with ``hang`` leaves them open and idle.
    """

    def __init__(
        self,
        *,
        manner: Manner = "pass",
        status: int = 403,
        password: str = "",
        stop_after: int | None = None,
        hang: bool = False,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(host=host)
        self.manner = manner
        self.asked: list[Asked] = []
        self.tunnelled_bytes = 0
        self._status = status
        self._password = password
        self._stop_after = stop_after
        self._hang = hang
        self._over = threading.Event()
        self.greeted = threading.Event()
        """Set when a client has sent its SOCKS greeting."""
        self.left = threading.Event()
        """Set when a client has closed its connection without a response."""
        self._tls = tls
        self.where = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self._listen()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        super().__exit__(kind, error, trace)

    def _serve(self, client: socket.socket) -> None:
        try:
            with suppress(OSError):
                if self._tls is not None:
                    # wrap_socket detaches the plain socket and takes over its descriptor.
                    client = self._tls.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
                    self._keep(client)
                    client.do_handshake()
                self._pass(client)
        finally:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _pass(self, client: socket.socket) -> None:
        raise NotImplementedError

    def _dial(self, host: str, port: int) -> socket.socket:
        # Other names and addresses of this machine: the resolver may not know them, and the server listens on one.
        here = host.endswith(".localhost") or host.startswith("127.")
        server = socket.create_connection(("127.0.0.1" if here else host, port))
        self._keep(server)
        return server

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        """Forward data both ways in one thread, because two threads must not use a TLS socket at once."""
        other = {client: server, server: client}
        reading = {client, server}
        tunnelled = 0
        while reading:
            waiting = isinstance(client, ssl.SSLSocket) and client in reading and client.pending()
            ready = [client] if waiting else select.select(list(reading), [], [])[0]
            for end in ready:
                data = end.recv(1 << 18)
                if not data:
                    if isinstance(client, ssl.SSLSocket):
                        return  # TLS has no half-close
                    reading.discard(end)
                    with suppress(OSError):
                        other[end].shutdown(socket.SHUT_WR)
                    continue
                if end is client:
                    tunnelled += len(data)
                    with self._lock:
                        self.tunnelled_bytes += len(data)
                    if self._stop_after is not None and tunnelled > self._stop_after:
                        if self._hang:
                            self._over.wait()
                        server.shutdown(socket.SHUT_RDWR)
                        return
                other[end].sendall(data)


class ForwardProxy(_Proxy):
    """An HTTP proxy; with ``tls``, clients connect to it over TLS."""

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
        address = urlsplit(f"//{target}" if method == "CONNECT" else target)
        server = self._dial(address.hostname or "", address.port or 80)
        if method == "CONNECT":
            assert address.netloc == target, target
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            # One request per connection, so that all that follows can be relayed unchanged.
            path = target.partition("://")[2].partition("/")[2]
            kept = "".join(f"{name}: {value}\r\n" for name, value in fields if name not in HOP)
            server.sendall(f"{method} /{path} HTTP/1.1\r\n{kept}connection: close\r\n\r\n".encode("latin-1"))
        server.sendall(rest)
        self._relay(client, server)

    def _lets_pass(self, client: socket.socket, headers: dict[str, str]) -> bool:
        status = self._status if self.manner == "refuse" else 0
        wanted = "Basic " + base64.b64encode(f"me:{self._password}".encode()).decode()
        if self._password and headers.get("proxy-authorization") != wanted:
            status = 407
        if status:
            client.sendall(
                f"HTTP/1.1 {status} Not Here\r\nproxy-authenticate: Basic\r\nconnection: close\r\n"
                "content-length: 2\r\n\r\nno".encode()
            )
            _drain(client, end=not self._tls)
        elif self.manner == "cut":
            client.sendall(b"HTTP/1.1 200 Conn")
        elif self.manner == "noise":
            client.sendall(b"SSH-2.0-OpenSSH_9\r\n\r\n")
        elif self.manner == "silent":
            _drain(client)
        return self.manner == "pass" and not status


class SocksProxy(_Proxy):
    """A SOCKS5 proxy (RFC 1928, RFC 1929). ``status`` is its reply, ``target`` the requested address."""

    def _pass(self, client: socket.socket) -> None:
        version, count = _exactly(client, 2)
        methods = _exactly(client, count)
        self.greeted.set()
        assert version == 5
        headers = {}
        if self.manner in ("noise", "cut", "silent", "close"):
            # Before the response: a test reads this as soon as its call has ended.
            self.asked.append(Asked(method="", target="", headers=headers))
            if self.manner == "noise":
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            if self.manner == "cut":
                client.sendall(b"\5")
            if self.manner == "silent":
                _drain(client)
                self.left.set()
            return
        method = 2 if self._password else 0
        if method not in methods:
            self.asked.append(Asked(method="", target="", headers=headers))
            client.sendall(b"\5\xff")
            return
        client.sendall(bytes([5, method]))
        if method == 2:
            version, length = _exactly(client, 2)
            assert version == 1
            user = _exactly(client, length).decode()
            password = _exactly(client, _exactly(client, 1)[0]).decode()
            right = (user, password) == ("me", self._password)
            headers["user"] = user
            if not right:
                self.asked.append(Asked(method="", target="", headers=headers))
                client.sendall(b"\1\1")
                return
            client.sendall(b"\1\0")
        _, command, _, kind = _exactly(client, 4)
        assert command == 1
        if kind == 3:
            host = _exactly(client, _exactly(client, 1)[0]).decode()
        elif kind == 1:
            host = socket.inet_ntop(socket.AF_INET, _exactly(client, 4))
        else:
            host = socket.inet_ntop(socket.AF_INET6, _exactly(client, 16))
        port = int.from_bytes(_exactly(client, 2))
        self.asked.append(
            Asked(method="CONNECT", target=f"[{host}]:{port}" if ":" in host else f"{host}:{port}", headers=headers)
        )
        status = self._status if self.manner == "refuse" else 0
        server = None if status else self._dial(host, port)
        client.sendall(bytes([5, status, 0, 1]) + bytes(6))
        if server is not None:
            self._relay(client, server)


def _exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = client.recv(count - len(data))
        if not more:
            raise OSError("the client left")
        data += more
    return data


def _drain(client: socket.socket, *, end: bool = False) -> None:
    """Read until the client closes. Unread data would cause a reset, which may overtake the response."""
    if end:
        client.shutdown(socket.SHUT_WR)
    while client.recv(65536):
        pass
