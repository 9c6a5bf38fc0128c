"""Passes a connection's bytes on to another one, in the kernel where it can (splice), until either side ends it."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from cosxfer.limits import MIB

_PIECE_BYTES = 1 * MIB
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def relay(client: socket.socket, server: socket.socket) -> None:
    """Join a client's socket and one of ours, in two threads; both are closed in the end.

    An end of stream is passed on as one, a reset as a reset.
    """
    for end in (client, server):
        end.setblocking(True)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    both = threading.Barrier(2)

    def run(source: socket.socket, target: socket.socket) -> None:
        try:
            _copy(source, target)
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)
        except OSError:
            _break_off(client, server)
        # Closed by both together: a descriptor that one closed early could be another connection's by now.
        both.wait()
        target.close()

    for source, target in ((client, server), (server, client)):
        threading.Thread(target=run, args=(source, target), name="cosxfer-server-relay", daemon=True).start()


def _break_off(client: socket.socket, server: socket.socket) -> None:
    """End both directions: neither must wait for an end that never comes."""
    with suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    # Not for writing too, which would show the client an end of stream before the reset.
    for end, how in ((client, socket.SHUT_RD), (server, socket.SHUT_RDWR)):
        with suppress(OSError):
            end.shutdown(how)


def _copy(source: socket.socket, target: socket.socket) -> None:
    copy: Callable[[socket.socket, socket.socket], None] = _splice if hasattr(os, "splice") else _send
    copy(source, target)


def _splice(source: socket.socket, target: socket.socket) -> None:
    reader, writer = os.pipe()
    try:
        with suppress(OSError):
            _widen(writer)
        while size := os.splice(source.fileno(), writer, _PIECE_BYTES):
            while size:
                size -= os.splice(reader, target.fileno(), size)
    finally:
        os.close(reader)
        os.close(writer)


def _widen(pipe: int) -> None:
    import fcntl

    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIECE_BYTES)


def _send(source: socket.socket, target: socket.socket) -> None:
    buffer = memoryview(bytearray(_PIECE_BYTES))
    while size := source.recv_into(buffer):
        target.sendall(buffer[:size])
