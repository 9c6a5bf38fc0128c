"""The chaos proxy does what its schedule says; without a schedule it carries every byte unchanged."""

from __future__ import annotations

import random
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from _chaos import Trouble, chaos

DATA = random.Random(3).randbytes(300_000)
TIMEOUT_SECONDS = 30


@contextmanager
def echo() -> Iterator[int]:
    """A server that returns what it gets, and ends its side when the client has ended its own."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    while data := connection.recv(1 << 16):
                        connection.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(TIMEOUT_SECONDS)


def through(port: int, data: bytes = DATA) -> bytes:
    """Send ``data`` and end; return all that comes back."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as connection:
        sending = threading.Thread(target=_send, args=(connection, data))
        sending.start()
        try:
            while piece := connection.recv(1 << 16):
                received += piece
        finally:
            sending.join()
    return bytes(received)


def _send(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


def test_without_trouble_every_byte_is_carried() -> None:
    with echo() as port, chaos(port) as proxy:
        assert through(proxy.port) == DATA
        assert proxy.carried == {"up": len(DATA), "down": len(DATA)}


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("at", [0, 1, 77_777, len(DATA) - 1])
def test_one_bit_is_flipped(way: str, at: int) -> None:
    with echo() as port, chaos(port, [Trouble(kind="flip", way=way, at=at, bit=5)]) as proxy:
        expected = bytearray(DATA)
        expected[at] ^= 32
        assert through(proxy.port) == expected
        assert through(proxy.port) == DATA


def test_a_flip_is_counted_from_its_marker() -> None:
    marker = DATA[100_000:100_016]
    trouble = Trouble(kind="flip", way="up", at=80_000, bit=0, marker=marker)
    with echo() as port, chaos(port, [trouble]) as proxy:
        expected = bytearray(DATA)
        expected[180_000] ^= 1
        assert through(proxy.port) == expected


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_cut_carries_what_came_before(way: str) -> None:
    with echo() as port, chaos(port, [Trouble(kind="cut", way=way, at=100_000)]) as proxy:
        received = through(proxy.port)
        assert DATA.startswith(received)
        assert len(received) <= 100_000
        assert through(proxy.port) == DATA


def test_a_reset_is_a_reset() -> None:
    with echo() as port, chaos(port, [Trouble(kind="reset", way="down", at=100_000)]) as proxy:
        with pytest.raises(ConnectionResetError):
            through(proxy.port)
        assert through(proxy.port) == DATA


def test_after_a_half_close_the_other_direction_goes_on() -> None:
    with echo() as port, chaos(port, [Trouble(kind="half_close", way="up", at=100_000)]) as proxy:
        assert through(proxy.port) == DATA[:100_000]


@pytest.mark.parametrize("kind", ["swallow", "freeze"])
def test_a_black_hole_says_nothing(kind: str) -> None:
    with (
        echo() as port,
        chaos(port, [Trouble(kind=kind, way="up", at=1000)]) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=TIMEOUT_SECONDS) as connection,
    ):
        connection.sendall(DATA[:5000])
        received = b""
        while len(received) < 1000:
            received += connection.recv(5000)
        assert received == DATA[:1000]
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_delays_and_rates_lose_nothing() -> None:
    troubles = [
        Trouble(kind="delay", way="up", at=10, seconds=0.01),
        Trouble(kind="rate", way="up", at=1000, rate=3e6),
        Trouble(kind="rate", way="down", at=5, rate=3e6),
    ]
    with echo() as port, chaos(port, troubles) as proxy:
        assert through(proxy.port) == DATA
        assert len(proxy.happened) == 3


def test_an_event_is_reported_when_its_byte_passes() -> None:
    seen: list[int] = []
    event = Trouble(kind="event", at=50_000)
    with echo() as port, chaos(port, [event], on_event=lambda trouble: seen.append(trouble.at)) as proxy:
        assert through(proxy.port) == DATA
    assert seen == [50_000]


def test_a_trouble_for_good_meets_each_connection() -> None:
    with echo() as port, chaos(port, [Trouble(kind="cut", way="up", at=100_000, for_good=True)]) as proxy:
        assert len(through(proxy.port)) <= 100_000
        assert through(proxy.port) == b""
