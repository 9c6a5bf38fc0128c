"""Relays bytes between two connections until either side ends. Uses splice if the system has it."""

from __future__ import annotations

import logging
import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

from cosxfer.limits import MIB

logger = logging.getLogger("cosxfer.server")

_PIECE_BYTES = 1 * MIB
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def relay(client: socket.socket, server: socket.socket, on_end: Callable[[], None]) -> Callable[[], None]:
    """Connect a client's socket with the server's, in two threads, and close both at the end, after ``on_end``.

    An end of stream is relayed as such, and a reset as a reset. If a thread cannot start, the connection is reset.
    ``on_end`` is called in any thread and must not raise. Returns a function that closes the connection.
    """
    for end in (client, server):
        end.setblocking(True)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lock = threading.Lock()
    under_way = 2

    def leave() -> None:
        # The last thread closes both. If one closed a descriptor early, another connection could reuse its number.
        nonlocal under_way
        with lock:
            under_way -= 1
            last = under_way == 0
        if last:
            on_end()
            with lock:
                client.close()
                server.close()

    def cut() -> None:
        with lock:
            if client.fileno() >= 0:
                _break_off(client, server)

    def run(source: socket.socket, target: socket.socket) -> None:
        try:
            _copy(source, target)
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)
        except OSError:
            _break_off(client, server)
        finally:
            leave()

    for number, ends in enumerate(((client, server), (server, client))):
        try:
            threading.Thread(target=run, args=ends, name="cosxfer-server-relay", daemon=True).start()
        except RuntimeError as error:
            logger.warning("closing a connection: %s", error)
            _break_off(client, server)
            for _ in range(2 - number):
                leave()
            break
    return cut


def _break_off(client: socket.socket, server: socket.socket) -> None:
    """End both directions, so that neither thread waits for ever."""
    with suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    # Do not shut down writing to the client: it would see an end of stream before the reset.
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
