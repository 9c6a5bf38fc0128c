"""The user-space link carries bytes unchanged and in order, and the ends of connections (times: `test_shaper.py`)."""

from __future__ import annotations

import queue
import random
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from _shaper import Shape
from link import link

import cosxfer
from cosxfer.server import running

SHAPE = Shape(rtt_seconds=0.004, capacity=60e6, connection_rate=20e6, slow_start=True)
TIMEOUT_SECONDS = 60


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Call ``serve`` for each connection, in a thread; yields the port."""
    threads: list[threading.Thread] = []

    def run(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(TIMEOUT_SECONDS)
            serve(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threads.append(threading.Thread(target=run, args=(listener.accept()[0],), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    accepting.join(TIMEOUT_SECONDS)
    for thread in threads:
        thread.join(TIMEOUT_SECONDS)


def receive_all(connection: socket.socket) -> bytes:
    received = bytearray()
    while data := connection.recv(1 << 16):
        received += data
    return bytes(received)


def echo_at_the_end(connection: socket.socket) -> None:
    """Respond when the client has closed its side: with everything that it sent."""
    connection.sendall(receive_all(connection))


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("size", [0, 1, 14_600, 3_000_001])
def test_bytes_and_half_closes_pass_in_both_directions(size: int) -> None:
    body = random.Random(size).randbytes(size)
    with server(echo_at_the_end) as target, link(target, SHAPE) as port, connect(port) as client:
        client.sendall(body)
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == body


def test_many_connections_keep_their_bytes_apart() -> None:
    bodies = [random.Random(number).randbytes(40_000 + number) for number in range(60)]
    received: dict[int, bytes] = {}

    def exchange(number: int) -> None:
        with connect(port) as client:
            client.sendall(bodies[number])
            client.shutdown(socket.SHUT_WR)
            received[number] = receive_all(client)

    with server(echo_at_the_end) as target, link(target, SHAPE) as port:
        threads = [threading.Thread(target=exchange, args=(number,)) for number in range(len(bodies))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT_SECONDS)
    assert [received[number] for number in range(len(bodies))] == bodies


def test_a_reset_of_the_client_resets_the_server() -> None:
    ends: queue.Queue[str] = queue.Queue()

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"ready")
        try:
            receive_all(connection)
            ends.put("closed")
        except ConnectionResetError:
            ends.put("reset")

    with server(serve) as target, link(target, SHAPE) as port:
        client = connect(port)
        assert client.recv(5) == b"ready"
        reset(client)
        assert ends.get(timeout=TIMEOUT_SECONDS) == "reset"


def test_a_reset_of_the_server_resets_the_client_after_the_bytes_before_it() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(b"response")
        connection.recv(1)
        reset(connection)

    with server(serve) as target, link(target, SHAPE) as port, connect(port) as client:
        client.sendall(b"a")
        assert client.recv(8) == b"response"
        client.sendall(b"b")
        with pytest.raises(ConnectionResetError):
            receive_all(client)


def test_a_client_that_sends_to_a_server_that_is_gone_is_reset() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1)

    with server(serve) as target, link(target, SHAPE) as port, connect(port) as client:
        client.settimeout(TIMEOUT_SECONDS)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            client.sendall(bytes(64 << 20))


def test_without_a_server_a_connection_is_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        target = unused.getsockname()[1]
    with link(target, SHAPE) as port, connect(port) as client, pytest.raises(ConnectionResetError):
        receive_all(client)


def test_a_slow_reader_holds_the_sender_up() -> None:
    may_read = threading.Event()

    def serve(connection: socket.socket) -> None:
        assert may_read.wait(TIMEOUT_SECONDS)
        echo_at_the_end(connection)

    body = random.Random(7).randbytes(32 << 20)
    shape = Shape(rtt_seconds=0.001, capacity=500e6)
    with server(serve) as target, link(target, shape) as port, connect(port) as client:
        client.settimeout(1.0)
        sent = 0
        with suppress(TimeoutError):
            while sent < len(body):
                sent += client.send(memoryview(body)[sent : sent + 65536])
        assert sent < len(body)
        may_read.set()
        client.settimeout(TIMEOUT_SECONDS)
        rest = threading.Thread(target=lambda: (client.sendall(body[sent:]), client.shutdown(socket.SHUT_WR)))
        rest.start()
        assert receive_all(client) == body
        rest.join(TIMEOUT_SECONDS)


def test_an_upload_through_the_link_is_verified(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(random.Random(3).randbytes(5_000_000))
    with running() as at, link(at.port, SHAPE) as port:
        endpoint = f"http://127.0.0.1:{port}/{{bucket}}"
        with cosxfer.Client(endpoint=endpoint, credentials=at.credentials, http_version="2", concurrency=4) as client:
            result = client.upload_file(at.bucket, "k", path, part_size=1 << 20)
    assert result.verified
