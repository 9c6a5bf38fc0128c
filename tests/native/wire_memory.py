"""Situations in which the wire once used freed memory, or leaked it. Each runs in a separate process, which may
crash.

Usage: python -m tests.native.wire_memory NAME
"""

from __future__ import annotations

import ctypes
import gc
import sys
import weakref

from cosxfer._native import wire
from tests.native.wire_play import IGNORED, Gate, cut, gate_before, has_events, plain, played, until

SETTINGS = bytes.fromhex("000000040000000000")
PING = bytes.fromhex("0000080600000000001122334455667788")
READS_PER_TURN = 16
"""Reads of a connection in one turn; then it waits for its next turn in the ready list."""


class Owner:
    """An owner that an exchange or a connection refers to, and that refers to it: a reference cycle.

    Create it after the owned object, because the garbage collector clears the older of the two first.
    """

    def __init__(self, thing: wire.Exchange | wire.Connection) -> None:
        self.thing = thing
        thing.owner = self


def get() -> wire.Exchange:
    head = b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n"
    exchange = wire.Exchange(head, length=0, stall_seconds=30, max_response_bytes=1000, pass_body_on=True)
    exchange.no_more()
    return exchange


def started() -> wire.IoThread:
    io_thread = wire.IoThread()
    io_thread.start()
    return io_thread


def ended(io_thread: wire.IoThread) -> None:
    io_thread.stop()
    io_thread.drain(IGNORED)


def dies_while_ready() -> None:
    """A connection fails during its turn, after it was put into the ready list again, and is freed at once."""
    io_thread = started()
    other, _end = plain(io_thread)
    gate, gate_end = gate_before(io_thread)
    dying, session, dying_end = played(io_thread, http2=True)
    turn = Gate()

    def late() -> bytes:
        turn()
        return PING

    session.reads += [lambda: SETTINGS, *[lambda: PING] * (READS_PER_TURN - 1), late, cut]
    del session
    dying_end.send(b"x")
    turn.reached()
    # The I/O thread's next round: the gate, then the commands, then the ready list.
    gate_end.send(b"x")
    io_thread.close(other)
    turn.open()
    gate.reached()
    io_thread.drain(IGNORED)
    del dying
    gate.open()
    until(io_thread, lambda: other.closed)
    ended(io_thread)


def exchange_collected_early() -> None:
    """An exchange in a cycle is collected before the I/O thread handles the last command for it."""
    io_thread = started()
    gate, gate_end = gate_before(io_thread)
    connection, theirs = plain(io_thread)
    exchange = get()
    owner = Owner(exchange)
    io_thread.submit(connection, exchange)
    theirs.recv(1000)
    theirs.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody")
    assert has_events(io_thread)
    gate_end.send(b"x")
    gate.reached()
    io_thread.drain(IGNORED)  # this sends the I/O thread a command that the response body was consumed
    assert exchange.released
    del exchange, owner
    gc.collect()
    others = [bytearray(b"\x5a" * 200) for _ in range(2000)]  # these would reuse its memory
    gate.open()
    io_thread.close(connection)
    until(io_thread, lambda: connection.closed)
    assert all(other == b"\x5a" * 200 for other in others)
    ended(io_thread)


def connection_collected_early() -> None:
    """A connection in a cycle is collected before the I/O thread handles the command that closes it."""
    io_thread = started()
    gate, gate_end = gate_before(io_thread)
    connection, theirs = plain(io_thread)
    owner = Owner(connection)
    theirs.close()
    assert has_events(io_thread)
    gate_end.send(b"x")
    gate.reached()
    io_thread.close(connection)
    io_thread.drain(IGNORED)
    assert connection.closed
    del connection, owner
    gc.collect()
    others = [plain(io_thread) for _ in range(8)]  # one of these would reuse its memory and be closed instead
    gate.open()
    last, last_end = plain(io_thread)
    last_end.close()
    until(io_thread, lambda: last.closed)
    assert not any(other.closed for other, _ in others)
    ended(io_thread)


def allocated_bytes() -> int:
    """Bytes that this process uses of the C library's heap."""

    class Info(ctypes.Structure):
        _fields_ = (("before", ctypes.c_size_t * 7), ("uordblks", ctypes.c_size_t), ("after", ctypes.c_size_t * 2))

    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Info
    return int(mallinfo2().uordblks)


def collected_in_flight() -> None:
    """Objects in a cycle stay alive while they are in use, and are freed afterwards, here and in the I/O thread."""

    def some() -> None:
        io_thread = started()
        gone = []
        for n in range(40):
            connection, theirs = plain(io_thread)
            exchange = get()
            gone += [weakref.ref(Owner(exchange)), weakref.ref(Owner(connection))]
            io_thread.submit(connection, exchange)
            del connection, exchange
            theirs.recv(1000)
            gc.collect()
            assert all(owner() is not None for owner in gone[-2:])
            if n % 2:
                theirs.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody")
                closing = gone[-1]
                until(io_thread, lambda: closing().thing.closed)  # type: ignore[union-attr] # noqa: B023 # used at once
            theirs.close()
        ended(io_thread)
        del io_thread
        gc.collect()
        assert not any(owner() for owner in gone)

    some()
    before = allocated_bytes()
    for _ in range(4):
        some()
    # A connection uses more than 8 KiB, an exchange with a response more than 1 KiB.
    assert allocated_bytes() - before < 40 * 1024


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (dies_while_ready, exchange_collected_early, connection_collected_early, collected_in_flight)
}

if __name__ == "__main__":
    SCENARIOS[sys.argv[1]]()
