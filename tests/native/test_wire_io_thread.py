"""The I/O thread of the wire, driven directly, for tests that must stop it at a certain point."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosxfer._native import wire
from cosxfer._native.slicing import MappedFile
from tests.native import wire_memory
from tests.native.wire_memory import SETTINGS
from tests.native.wire_play import (
    IGNORED,
    PATIENCE_SECONDS,
    Gate,
    Ignored,
    PlayedTls,
    cut,
    gate_before,
    plain,
    played,
    until,
)

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
SETTINGS_NO_WINDOW = bytes.fromhex("000006040000000000000400000000")
SETTINGS_FEW_STREAMS = bytes.fromhex("000006040000000000000300000005")
SETTINGS_LARGE_WINDOW = bytes.fromhex("000006040000000000000401000000")
STATUS_200 = bytes.fromhex("00000101050000000188")  # HEADERS with END_STREAM on stream 1
HEADERS = bytes.fromhex("0104")
WINDOW_UPDATES = bytes.fromhex("00000408000000000000100000") + bytes.fromhex("00000408000000000100100000")


@pytest.fixture
def io_thread() -> Iterator[wire.IoThread]:
    io_thread = wire.IoThread()
    io_thread.start()
    yield io_thread
    io_thread.stop()
    io_thread.drain(IGNORED)


def put(body: bytes) -> wire.Exchange:
    head = b"PUT /x HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body)
    exchange = wire.Exchange(head, length=len(body), stall_seconds=30, max_response_bytes=1000)
    exchange.set_body(body)
    exchange.no_more()
    return exchange


def connected(io_thread: wire.IoThread, listener: socket.socket) -> tuple[wire.Connection, socket.socket]:
    ours = socket.create_connection(listener.getsockname())
    ours.setblocking(False)
    connection = wire.Connection(ours, http2=False)
    io_thread.add(connection)
    return connection, listener.accept()[0]


def says(session: PlayedTls, theirs: socket.socket, data: bytes) -> None:
    """Send ``data`` from the server, and wait until it was read."""
    session.reads.append(lambda: data)
    session.asked.clear()
    theirs.send(b"x")
    assert session.asked.wait(PATIENCE_SECONDS)


def test_data_before_any_byte_of_a_request_was_sent_is_not_its_response() -> None:
    io_thread = wire.IoThread(wire.RateLimit(1.0))
    io_thread.start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        first, theirs = connected(io_thread, listener)
        second, theirs_too = connected(io_thread, listener)
        with theirs, theirs_too:
            io_thread.submit(first, put(bytes(1_000_000)))
            theirs.recv(1)  # the rate limit blocks sending for a long time
            time.sleep(0.2)
            exchange = put(b"xyz")
            io_thread.submit(second, exchange)
            time.sleep(0.05)
            theirs_too.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            until(io_thread, lambda: exchange.done)
            assert exchange.result == wire.UNSENT
        io_thread.stop()
        until(io_thread, lambda: first.closed and second.closed)


class Counts(Ignored):
    """Counts the bytes that were reported as sent."""

    sent = 0

    def on_sent(self, exchange: wire.Exchange, count: int) -> None:
        self.sent += count


@pytest.mark.parametrize("reported", [True, False])
@pytest.mark.parametrize("size", [0, 1, 16384, 300_000])
def test_a_small_object_is_stored_in_one_call(io_thread: wire.IoThread, size: int, reported: bool) -> None:
    body, counts = os.urandom(size), Counts()
    head = b"PUT /x HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection, theirs = connected(io_thread, listener)
        with theirs:
            exchange = io_thread.store(connection, head, memoryview(body), 30, 1000, reported, "owner")
            assert exchange.owner == "owner"
            io_thread.announce()
            assert received(theirs, size) == body
            until(io_thread, lambda: exchange.done, counts)
    assert (exchange.result, exchange.status) == (wire.OK, 200)
    assert counts.sent == (size if reported else 0)


def test_a_small_object_with_a_broken_head_is_not_stored(io_thread: wire.IoThread) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection, theirs = connected(io_thread, listener)
        with theirs, pytest.raises(ValueError, match="a character that cannot be in one"):
            io_thread.store(connection, b"PUT /x HTTP/1.1\r\na: \0\r\n\r\n", b"body", 30, 1000, True, None)


def put_from(mapped: Path, fd: int) -> wire.Exchange:
    """A body that lies in a mapped file and, so it says, in the file ``fd`` too."""
    with mapped.open("rb") as file, MappedFile(file.fileno(), mapped.stat().st_size) as mapping:
        body = mapping.slice(0, mapping.size)
    head = b"PUT /x HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body)
    exchange = wire.Exchange(head, length=len(body), stall_seconds=30, max_response_bytes=1000)
    exchange.set_body(body, mapped=True, fd=fd, offset=0)
    exchange.no_more()
    return exchange


def received(theirs: socket.socket, count: int) -> bytes:
    """Read a head and ``count`` bytes of its body; return the body, and respond."""
    data = b""
    while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < count:
        piece = theirs.recv(1 << 20)
        assert piece
        data += piece
    theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    return data.partition(b"\r\n\r\n")[2]


def test_a_long_body_is_sent_from_its_file(io_thread: wire.IoThread, tmp_path: Path) -> None:
    in_file = os.urandom(3 * MIB + 5)
    (tmp_path / "file").write_bytes(in_file)
    (tmp_path / "mapped").write_bytes(bytes(len(in_file)))
    with socket.create_server(("127.0.0.1", 0)) as listener, (tmp_path / "file").open("rb") as file:
        connection, theirs = connected(io_thread, listener)
        with theirs:
            exchange = put_from(tmp_path / "mapped", file.fileno())
            io_thread.submit(connection, exchange)
            assert received(theirs, len(in_file)) == in_file
            until(io_thread, lambda: exchange.done)
            assert exchange.result == wire.OK


def test_a_file_that_sendfile_does_not_take_is_sent_from_its_mapping(io_thread: wire.IoThread, tmp_path: Path) -> None:
    body = os.urandom(3 * MIB + 5)
    (tmp_path / "file").write_bytes(body)
    folder = os.open(tmp_path, os.O_RDONLY)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection, theirs = connected(io_thread, listener)
        with theirs:
            exchange = put_from(tmp_path / "file", folder)
            io_thread.submit(connection, exchange)
            assert received(theirs, len(body)) == body
            until(io_thread, lambda: exchange.done)
            assert exchange.result == wire.OK
    os.close(folder)


def test_a_file_that_ends_early_ends_its_request(io_thread: wire.IoThread, tmp_path: Path) -> None:
    body = os.urandom(3 * MIB)
    (tmp_path / "file").write_bytes(body[:-100])
    (tmp_path / "mapped").write_bytes(body)
    with socket.create_server(("127.0.0.1", 0)) as listener, (tmp_path / "file").open("rb") as file:
        connection, theirs = connected(io_thread, listener)
        with theirs:
            exchange = put_from(tmp_path / "mapped", file.fileno())
            io_thread.submit(connection, exchange)
            data = b""
            while piece := theirs.recv(1 << 20):
                data += piece
            assert data.partition(b"\r\n\r\n")[2] == body[:-100]
            until(io_thread, lambda: exchange.done)
            assert exchange.result == wire.LOST


def test_a_connection_that_was_never_added_closes_its_socket() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        connection = wire.Connection(ours, http2=False)
        del connection
        assert theirs.recv(1) == b""


def test_a_busy_connection_ends_when_the_io_thread_stops(io_thread: wire.IoThread) -> None:
    connection, session, theirs = played(io_thread, http2=False)
    gate = Gate()

    def sent(data: bytes) -> int:
        gate()
        return len(data)

    session.sent = sent
    exchange = put(bytes(8 * MIB))  # more than is sent in one turn, so the connection stays in the ready list
    with theirs:
        io_thread.submit(connection, exchange)
        gate.reached()
        stopping = threading.Thread(target=io_thread.stop)
        stopping.start()
        until(io_thread, lambda: io_thread.stopped)
        gate.open()
        stopping.join()
        io_thread.drain(IGNORED)
    assert exchange.result == wire.CANCELLED
    assert connection.closed
    assert exchange.released


def test_a_refusal_just_before_the_last_chunk_closes_the_connection(
    io_thread: wire.IoThread,
) -> None:
    gate, gate_end = gate_before(io_thread)
    connection, theirs = plain(io_thread)
    head = b"PUT /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    exchange = wire.Exchange(head, length=-1, stall_seconds=30, max_response_bytes=1000)
    io_thread.submit(connection, exchange)
    io_thread.feed(exchange, b"abc")
    with theirs, gate_end:
        got = b""
        while not got.endswith(b"3\r\nabc\r\n"):
            got += theirs.recv(1000)
        gate_end.send(b"x")
        gate.reached()
        # The I/O thread learns that the body is complete, but reads the response before it sends the last chunk.
        io_thread.feed_end(exchange)
        theirs.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
        gate.open()
        until(io_thread, lambda: exchange.done)
        assert (exchange.result, exchange.status, exchange.reusable) == (wire.OK, 403, False)
        until(io_thread, lambda: connection.closed)


def test_an_early_success_ends_when_the_caller_completes_the_body(io_thread: wire.IoThread) -> None:
    connection, theirs = plain(io_thread)
    head = b"PUT /x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n"
    exchange = wire.Exchange(head, length=3, stall_seconds=30, max_response_bytes=1000)
    io_thread.submit(connection, exchange)
    io_thread.feed(exchange, b"abc")
    with theirs:
        got = b""
        while not got.endswith(b"\r\n\r\nabc"):
            got += theirs.recv(1000)
        theirs.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        until(io_thread, lambda: exchange.fed_bytes == 0)
        io_thread.feed_end(exchange)
        until(io_thread, lambda: exchange.done)
        assert (exchange.result, exchange.reusable) == (wire.OK, True)


def test_a_success_does_not_count_if_the_last_chunk_is_not_sent(io_thread: wire.IoThread) -> None:
    connection, session, theirs = played(io_thread, http2=False)
    head_sent = threading.Event()
    end = b"0\r\n\r\n"

    def sent(data: bytes) -> int:
        head_sent.set()
        if data == end:
            raise BrokenPipeError
        return len(data.removesuffix(end))

    session.sent = sent
    head = b"PUT /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    exchange = wire.Exchange(head, length=-1, stall_seconds=30, max_response_bytes=1000)
    with theirs:
        io_thread.submit(connection, exchange)
        assert head_sent.wait(PATIENCE_SECONDS)
        says(session, theirs, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        io_thread.feed(exchange, b"abc")
        io_thread.feed_end(exchange)
        until(io_thread, lambda: exchange.done)
    assert exchange.result == wire.BROKEN


def test_a_success_does_not_count_if_the_end_of_a_stream_is_not_sent(io_thread: wire.IoThread) -> None:
    connection, session, theirs = played(io_thread, http2=True)
    sent_bytes = 0

    def sent(data: bytes) -> int:
        nonlocal sent_bytes
        sent_bytes += len(data)
        return len(data)

    def broken(data: bytes) -> int:
        raise BrokenPipeError

    session.sent = sent
    exchange = put(bytes(100_000))  # more than the window, so the end of the body waits
    with theirs:
        io_thread.submit(connection, exchange)
        says(session, theirs, SETTINGS)
        until(io_thread, lambda: sent_bytes > 65535)
        says(session, theirs, STATUS_200)
        session.sent = broken
        session.reads.append(lambda: WINDOW_UPDATES)
        theirs.send(b"x")
        until(io_thread, lambda: exchange.done)
    assert exchange.result == wire.BROKEN


def test_a_success_does_not_count_if_the_empty_end_of_a_stream_is_not_sent(io_thread: wire.IoThread) -> None:
    connection, session, theirs = played(io_thread, http2=True)
    sent_data = bytearray()

    def sent(data: bytes) -> int:
        sent_data.extend(data)
        return len(data)

    def broken(data: bytes) -> int:
        raise BrokenPipeError

    session.sent = sent
    head = b"PUT /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    exchange = wire.Exchange(head, length=-1, stall_seconds=30, max_response_bytes=1000)
    with theirs:
        io_thread.submit(connection, exchange)
        io_thread.feed(exchange, b"abcdefgh")
        says(session, theirs, SETTINGS)
        until(io_thread, lambda: b"abcdefgh" in sent_data)
        says(session, theirs, STATUS_200)
        session.sent = broken
        io_thread.feed_end(exchange)
        until(io_thread, lambda: exchange.done)
    assert exchange.result == wire.BROKEN


def test_a_success_does_not_count_if_a_stream_was_never_queued(io_thread: wire.IoThread) -> None:
    connection, session, theirs = played(io_thread, http2=True)
    sent_data = bytearray()
    full = threading.Event()

    def sent(data: bytes) -> int:
        sent_data.extend(data)
        return len(data)

    def blocked(data: bytes) -> int:
        full.set()
        raise ssl.SSLWantWriteError

    session.sent = sent
    says(session, theirs, SETTINGS_NO_WINDOW)
    # More than the connection's queue can hold, so one stream has to wait with its whole body.
    exchanges = [put(bytes(16384)) for _ in range(80)]
    streams = [(2 * n + 1).to_bytes(4, "big") for n in range(80)]
    with theirs:
        for exchange in exchanges:
            io_thread.submit(connection, exchange)
        until(io_thread, lambda: HEADERS + streams[-1] in sent_data)
        says(session, theirs, b"".join(STATUS_200.replace(streams[0], stream) for stream in streams))
        session.sent = blocked
        says(session, theirs, SETTINGS_LARGE_WINDOW + WINDOW_UPDATES)
        assert full.wait(PATIENCE_SECONDS)
        session.reads.append(cut)
        theirs.send(b"x")
        until(io_thread, lambda: connection.closed)
    assert [exchange.result for exchange in exchanges] == [wire.BROKEN] * 80


@pytest.mark.parametrize("name", wire_memory.SCENARIOS)
def test_memory_is_freed_after_its_last_use(name: str) -> None:
    # Freed memory is overwritten at once, so that a use after free is noticed without sanitizers too.
    overwriting = {
        "MALLOC_PERTURB_": "90",
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
        "PYTHONMALLOC": "malloc",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.native.wire_memory", name],
        cwd=ROOT,
        env={**os.environ, **overwriting},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


def test_a_success_after_the_whole_body_counts_before_the_caller_completes_it(
    io_thread: wire.IoThread,
) -> None:
    connection, theirs = plain(io_thread)
    head = b"PUT /x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n"
    exchange = wire.Exchange(head, length=3, stall_seconds=30, max_response_bytes=1000)
    io_thread.submit(connection, exchange)
    io_thread.feed(exchange, b"abc")
    with theirs:
        got = b""
        while not got.endswith(b"\r\n\r\nabc"):
            got += theirs.recv(1000)
        theirs.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    until(io_thread, lambda: exchange.done)
    assert (exchange.result, exchange.status) == (wire.OK, 200)


@pytest.mark.parametrize("body", [b"", b"abc"])
def test_a_request_whose_head_was_not_sent_can_be_sent_again(io_thread: wire.IoThread, body: bytes) -> None:
    connection, session, theirs = played(io_thread, http2=True)
    says(session, theirs, SETTINGS * 2)  # one turn later, our reply has been sent

    def broken(data: bytes) -> int:
        raise BrokenPipeError

    session.sent = broken
    exchange = put(body)
    with theirs:
        io_thread.submit(connection, exchange)
        until(io_thread, lambda: exchange.done)
    assert exchange.result == wire.UNSENT


def frames(data: bytes) -> list[int]:
    """The types of the complete HTTP/2 frames after the client's preface."""
    types, at = [], len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    while at + 9 <= len(data):
        types.append(data[at + 3])
        at += 9 + int.from_bytes(data[at : at + 3], "big")
    return types


class Told(Ignored):
    """Records the stream limit of each SETTINGS event."""

    def __init__(self) -> None:
        self.streams: list[int] = []

    def on_settings(self, connection: wire.Connection, streams: int) -> None:
        self.streams.append(streams)


def test_settings_are_reported_only_if_they_change_something(io_thread: wire.IoThread) -> None:
    # A server may send SETTINGS endlessly, and each event uses memory until the caller takes it.
    _connection, session, theirs = played(io_thread, http2=True)
    fewer = SETTINGS_FEW_STREAMS.replace(b"\x05", b"\x04")
    told = Told()
    with theirs:
        says(session, theirs, SETTINGS * 300 + SETTINGS_FEW_STREAMS * 300 + fewer + SETTINGS * 300)
        says(session, theirs, SETTINGS)  # one turn later, the event has arrived
        io_thread.drain(told)
    assert told.streams[1:] == [5, 4]


def test_a_body_waits_for_the_settings_of_the_server(io_thread: wire.IoThread) -> None:
    data_frame, headers_frame = 0, 1
    sent_data = bytearray()

    def sent(data: bytes) -> int:
        sent_data.extend(data)
        return len(data)

    connection, session, theirs = played(io_thread, http2=True, sent=sent)
    exchange = put(b"abcdefgh")
    with theirs:
        io_thread.submit(connection, exchange)
        until(io_thread, lambda: headers_frame in frames(sent_data))
        says(session, theirs, SETTINGS[:4])  # one turn later, everything sendable has been sent
        assert data_frame not in frames(sent_data)
        says(session, theirs, SETTINGS[4:])
        until(io_thread, lambda: data_frame in frames(sent_data))
        says(session, theirs, STATUS_200)
        until(io_thread, lambda: exchange.done)
    assert (exchange.result, exchange.status) == (wire.OK, 200)


def test_the_cpu_time_of_the_thread_is_told_while_it_runs() -> None:
    io_thread = wire.IoThread()
    assert io_thread.cpu_seconds == 0
    io_thread.start()
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            connection, theirs = connected(io_thread, listener)
            with theirs:
                exchange = put(bytes(MIB))
                io_thread.submit(connection, exchange)
                received(theirs, MIB)
                until(io_thread, lambda: io_thread.cpu_seconds > 0)
                before = io_thread.cpu_seconds
                assert io_thread.cpu_seconds >= before
    finally:
        io_thread.stop()
        io_thread.drain(IGNORED)
    assert io_thread.cpu_seconds == 0
