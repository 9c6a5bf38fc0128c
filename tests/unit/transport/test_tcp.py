"""TCP connections: what the kernel tells of them."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from cosxfer.loopback import CONGESTION_NAME_BYTES
from cosxfer.transport.tcp import (
    MIN_ROUND_TRIP,
    NOT_MEASURED,
    addresses,
    connect_any,
    round_trip_seconds,
)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it")
def test_a_connection_on_this_machine_has_a_short_round_trip() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as sock:
        assert 0 < round_trip_seconds(sock) < 60


def test_what_is_no_tcp_connection_has_none() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert round_trip_seconds(one) == 0.0


@pytest.mark.parametrize(
    ("microseconds", "seconds"),
    [(250, 0.00025), (NOT_MEASURED, 0.0), (None, 0.0)],
    ids=["yes", "not yet", "old kernel"],
)
def test_the_round_trip_is_read_from_the_place_that_the_kernel_documents(
    microseconds: int | None, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(socket, "TCP_INFO", 11, raising=False)
    info = bytes([1] * MIN_ROUND_TRIP.start)  # an old kernel tells no more than this
    if microseconds is not None:
        info += microseconds.to_bytes(4, sys.byteorder)

    class Told:
        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            assert (level, option) == (socket.IPPROTO_TCP, 11)
            return info[:size]

    assert round_trip_seconds(Told()) == pytest.approx(seconds)  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the option")
def test_a_connection_to_this_machine_is_not_paced() -> None:
    async def name() -> bytes:
        with await connect_any(await addresses("127.0.0.1", port)) as sock:
            return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION_NAME_BYTES)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not asyncio.run(name()).startswith(b"bbr")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the option")
def test_a_connection_to_another_machine_keeps_the_congestion_control(monkeypatch: pytest.MonkeyPatch) -> None:
    changed: list[socket.socket] = []
    monkeypatch.setattr("cosxfer.transport.tcp.do_not_pace", changed.append)
    monkeypatch.setattr("cosxfer.transport.tcp.is_loopback", lambda host: host != "127.0.0.1")

    async def connect() -> None:
        (await connect_any(await addresses("127.0.0.1", port))).close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        asyncio.run(connect())
    assert not changed
