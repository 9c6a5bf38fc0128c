"""A server in a separate process, so that a fork of the test program does not affect it."""

from __future__ import annotations

import os
import select
import socket


def serve_ok() -> int:
    """Start a process that responds with 200 to each request until its parent exits; return its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    reading, writing = os.pipe()
    if os.fork():
        os.close(reading)
        listener.close()
        os.set_inheritable(writing, True)
        return port
    os.close(writing)
    _serve(listener, reading)
    os._exit(0)


def _serve(listener: socket.socket, parent: int) -> None:
    connections: list[socket.socket] = []
    while True:
        ready, _, _ = select.select([listener, parent, *connections], [], [])
        if parent in ready:
            return
        for one in ready:
            if one is listener:
                connections.append(listener.accept()[0])
            elif one.recv(65536):
                one.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            else:
                connections.remove(one)
                one.close()
