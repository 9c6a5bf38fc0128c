"""Makes TCP connections on the event loop.

If a name has several addresses, they are tried by RFC 8305 ("Happy Eyeballs"): families in turn, the next address a
quarter of a second after the previous one or as soon as one fails. The first connection is used.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Sequence
from functools import partial
from itertools import chain, zip_longest
from typing import Any

from cosxfer.loopback import do_not_pace, is_loopback
from cosxfer.threads import import_lock, in_thread

ATTEMPT_DELAY_SECONDS = 0.25
MIN_ROUND_TRIP = slice(148, 152)
"""Of Linux's ``struct tcp_info``: ``tcpi_min_rtt``, in microseconds."""
NOT_MEASURED = 0xFFFFFFFF
_lookups: dict[tuple[asyncio.AbstractEventLoop, str, int], asyncio.Future[list[Any]]] = {}
"""Those that are under way."""

Address = tuple[socket.AddressFamily, "tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]"]


async def addresses(host: str, port: int) -> list[Address]:
    """Return the addresses of ``host``: families in turn, in the resolver's order of preference."""
    try:
        # A literal address needs no resolver and no thread; and no codec, if it is given as bytes.
        literal = host.encode() if host.isascii() else host
        found = socket.getaddrinfo(literal, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.shield(_lookup(host, port))
    families: dict[int, list[Address]] = {}
    for family, _, _, _, address in found:
        families.setdefault(family, []).append((family, address))
    return [a for a in chain.from_iterable(zip_longest(*families.values())) if a is not None]


def _lookup(host: str, port: int) -> asyncio.Future[list[Any]]:
    """Look a name up in a thread, once for all connections that are being made at that time."""
    # The resolver encodes names with this codec and would import it at its first use, in the thread. A process that is
    # forked at that moment could never import it.
    with import_lock:
        import encodings.idna  # noqa: F401

    key = (asyncio.get_running_loop(), host, port)
    lookup = _lookups.get(key)
    if lookup is None:
        for old in list(_lookups):
            if old[0].is_closed():  # its lookups never end
                _lookups.pop(old, None)
        lookup = _lookups[key] = in_thread(None, partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))

        def done(lookup: asyncio.Future[list[Any]]) -> None:
            _lookups.pop(key, None)
            _ = lookup.cancelled() or lookup.exception()  # marks it as retrieved: its callers may be cancelled

        lookup.add_done_callback(done)
    return lookup


async def connect_any(found: Sequence[Address]) -> socket.socket:
    """Return a non-blocking socket that is connected to the first address that accepts. Raises OSError."""
    if len(found) == 1:
        return await _attempt(found[0])
    attempts: set[asyncio.Task[socket.socket]] = set()
    failure: OSError | None = None
    left = list(found)
    winner: socket.socket | None = None
    try:
        while winner is None and (left or attempts):
            if left:
                attempts.add(asyncio.create_task(_attempt(left.pop(0))))
            delay = ATTEMPT_DELAY_SECONDS if left else None
            ended, attempts = await asyncio.wait(attempts, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
            for attempt in ended:
                error = attempt.exception()
                if error is None and winner is None:
                    winner = attempt.result()
                elif error is None:
                    attempt.result().close()
                elif isinstance(error, OSError):
                    failure = failure or error
                else:
                    raise error
    finally:
        for attempt in attempts:
            attempt.cancel()
            attempt.add_done_callback(_close_late)
    if winner is not None:
        return winner
    raise failure or OSError("the name has no address")


def _close_late(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


async def _attempt(address: Address) -> socket.socket:
    family, location = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if is_loopback(location[0]):
            do_not_pace(sock)
        await asyncio.get_running_loop().sock_connect(sock, location)
    except BaseException:
        sock.close()
        raise
    return sock


def round_trip_seconds(sock: socket.socket) -> float:
    """Return the shortest round trip that the kernel measured on a connection; 0 if it does not tell."""
    which: int | None = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
    try:
        info = b"" if which is None else sock.getsockopt(socket.IPPROTO_TCP, which, MIN_ROUND_TRIP.stop)
    except OSError:
        return 0.0  # no TCP
    measured = int.from_bytes(info[MIN_ROUND_TRIP], sys.byteorder)  # 0 from a kernel that knows it not
    return 0.0 if measured == NOT_MEASURED else measured * 1e-6


async def ready(sock: socket.socket, *, reading: bool) -> None:
    """Wait until a non-blocking socket can be read from, or written to. One task at a time may wait for each.

    Nothing is read. ``loop.sock_recv`` loses what it has read if its caller is cancelled at that moment.
    """
    loop = asyncio.get_running_loop()
    is_ready = loop.create_future()
    add, remove = (loop.add_reader, loop.remove_reader) if reading else (loop.add_writer, loop.remove_writer)
    add(sock, _wake, is_ready)
    try:
        await is_ready
    finally:
        remove(sock)


def _wake(is_ready: asyncio.Future[None]) -> None:
    if not is_ready.done():
        is_ready.set_result(None)
