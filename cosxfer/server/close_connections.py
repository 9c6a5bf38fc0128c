"""Cutting connections under the HTTP server's hands, which offers no way of its own to do so.

The server runs in this process, so its sockets are among this process's file descriptors: a connection is found by the
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

    With ``reset`` the client sees a reset (RST; on Linux, elsewhere an end of stream), else an end of stream (FIN)
    after what was sent, which under TLS comes without a close_notify. All streams of an HTTP/2 connection end with it.
    """
    for connection in _connections():
        with connection, suppress(OSError):
            if connection.getpeername()[:2] == client:
                _cut(connection, reset=reset)
                return


def close_connections_of_port(port: int) -> None:
    """End every connection to our ``port``."""
    for connection in _connections():
        with connection, suppress(OSError):
            connection.getpeername()
            if connection.getsockname()[1] == port:
                _cut(connection, reset=False)


def _cut(connection: socket.socket, *, reset: bool) -> None:
    if not (reset and _abort(connection)):
        connection.shutdown(socket.SHUT_RDWR)


def _abort(connection: socket.socket) -> bool:
    """On Linux, connecting a TCP socket to "no address" resets it at once (connect(2)); Python's connect cannot."""
    if sys.platform != "linux":
        return False
    return bool(_LIBC.connect(connection.fileno(), _NO_ADDRESS, len(_NO_ADDRESS)) == 0)


def _connections() -> Iterator[socket.socket]:
    """Duplicates of this process's TCP sockets; the caller closes them."""
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
