"""Closes connections of the HTTP server, which has no function for this.

The server runs in this process, so its sockets are among the process's file descriptors. A connection is found by the
addresses of its two ends.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LIBC = ctypes.CDLL(None)
_NO_ADDRESS = bytes([socket.AF_UNSPEC]) * 16
"""A ``struct sockaddr`` whose family is AF_UNSPEC, which is 0."""


def close_connection(client: tuple[str, int], *, reset: bool) -> None:
    """End the TCP connection whose peer is ``client``.

    With ``reset`` the client sees a reset (RST) on Linux and an end of stream elsewhere. Without it, the client sees an
    end of stream (FIN) after the sent data, under TLS without close_notify. All streams of an HTTP/2 connection end.
    """
    for connection in _connections():
        with connection, suppress(OSError):
            if connection.getpeername()[:2] == client:
                _cut(connection, reset=reset)
                return


def close_connections_of_port(port: int) -> None:
    """End every connection to ``port`` of this process."""
    for connection in _connections():
        with connection, suppress(OSError):
            connection.getpeername()
            if connection.getsockname()[1] == port:
                _cut(connection, reset=False)


def _cut(connection: socket.socket, *, reset: bool) -> None:
    if not (reset and _abort(connection)):
        connection.shutdown(socket.SHUT_RDWR)


def _abort(connection: socket.socket) -> bool:
    """Reset the connection. On Linux, connect(2) to AF_UNSPEC does this; Python's connect cannot."""
    if sys.platform != "linux":
        return False
    return bool(_LIBC.connect(connection.fileno(), _NO_ADDRESS, len(_NO_ADDRESS)) == 0)


def _connections() -> Iterator[socket.socket]:
    """Yield duplicates of this process's TCP sockets. The caller closes them."""
    for entry in Path("/dev/fd").iterdir():
        try:
            if not entry.is_socket():
                continue
            duplicate = os.dup(int(entry.name))
        except OSError:
            continue
        connection = socket.socket(fileno=duplicate)
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            yield connection
        else:
            connection.close()
