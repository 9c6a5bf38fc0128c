"""Cutting a client's connection under the HTTP server's hands, which offers no way of its own to do so.

The server runs in this process, so its sockets are among this process's file descriptors: the one whose peer is the
client's address is the connection.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

_NO_LINGER = struct.pack("ii", 1, 0)


def cut_connection(client: tuple[str, int], *, reset: bool) -> bool:
    """End the TCP connection whose peer is ``client``; return whether it was found.

    With ``reset`` the client sees a reset (RST), else an end of stream (FIN), which under TLS comes without a
    close_notify. All streams of an HTTP/2 connection end with it.
    """
    for entry in Path("/dev/fd").iterdir():
        fd = int(entry.name)
        try:
            duplicate = os.dup(fd)
        except OSError:
            continue
        if not _is_socket(duplicate):
            os.close(duplicate)
            continue
        with socket.socket(fileno=duplicate) as connection:
            try:
                peer = connection.getpeername()
                if connection.family not in (socket.AF_INET, socket.AF_INET6) or peer[:2] != client:
                    continue
                if reset:
                    # Linger 0 makes the server's own close, which follows at once, a reset.
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                    connection.shutdown(socket.SHUT_RD)
                else:
                    connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
            return True
    return False


def _is_socket(fd: int) -> bool:
    try:
        return Path(f"/dev/fd/{fd}").is_socket()
    except OSError:
        return False
