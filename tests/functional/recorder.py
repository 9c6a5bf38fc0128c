"""A relay that records what a client sends to a server, and parses it as HTTP/1.1."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

import h11

from tests.functional.relay import Relay


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One request as it was sent."""

    method: str
    path: str
    """Decoded."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    connection: int
    """The number of its connection."""


class Recorder(Relay):
    """Listens on a free port, relays everything to a local ``port``, and records what clients send.

    ``add_header`` is added to each successful response, for headers that the embedded server never sends, such as
    versions.
    """

    def __init__(self, port: int, *, add_header: str = "") -> None:
        super().__init__()
        self._port = port
        self._add_header = add_header
        self._streams: list[bytearray] = []
        self._listen()

    def requests(self) -> list[Recorded]:
        """All requests so far, connection by connection."""
        with self._lock:
            streams = [bytes(stream) for stream in self._streams]
        return [request for number, stream in enumerate(streams) for request in _parse(stream, number)]

    def clear(self) -> None:
        """Forget all requests; an open connection is recorded from its next request on."""
        with self._lock:
            for stream in self._streams:
                stream.clear()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._port))
        stream = bytearray()
        self._keep(server)
        with self._lock:
            self._streams.append(stream)
        self._start(self._pass_on, client, server, stream)
        self._pass_back(server, client)

    def _pass_on(self, client: socket.socket, server: socket.socket, stream: bytearray) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                with self._lock:
                    stream += data
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _pass_back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                # The server starts a new write for each response head.
                if self._add_header and data.startswith(b"HTTP/1.1 2"):
                    line, _, rest = data.partition(b"\r\n")
                    data = b"\r\n".join((line, self._add_header.encode(), rest))
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_WR)


def _parse(stream: bytes, connection: int) -> list[Recorded]:
    requests = []
    while stream:
        protocol = h11.Connection(h11.SERVER)
        protocol.receive_data(stream)
        head = protocol.next_event()
        assert isinstance(head, h11.Request), head
        body = bytearray()
        while isinstance(event := protocol.next_event(), h11.Data):
            body += event.data
        path, _, query = head.target.decode().partition("?")
        requests.append(
            Recorded(
                method=head.method.decode(),
                path=unquote(path),
                query=dict(parse_qsl(query, keep_blank_values=True)),
                headers={name.decode(): value.decode() for name, value in head.headers},
                body=bytes(body),
                connection=connection,
            )
        )
        if not isinstance(event, h11.EndOfMessage):
            break  # incomplete: cut off, or still being sent
        stream = protocol.trailing_data[0]
    return requests
