"""TCP connections: what the kernel tells of them, and how it is asked to send."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys

import pytest

from cosxfer.transport.tcp import (
    CONGESTION_NAME_BYTES,
    MIN_ROUND_TRIP,
    NOT_MEASURED,
    addresses,
    connect_any,
    do_not_pace,
    is_loopback,
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


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_loopback_addresses_are_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["128.0.0.1", "10.127.0.1", "1.127.0.0", "::", "fe80::1", "::ffff:10.0.0.1", 16])
def test_other_addresses_are_no_loopback(host: str | int) -> None:
    assert not is_loopback(host)


class _Congestion:
    """A socket with a congestion control. ``refuses``: no option can be set, as in some sandboxes."""

    def __init__(self, name: bytes, *, refuses: bool = False) -> None:
        self.name = name
        self.refuses = refuses

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option, size) == (socket.IPPROTO_TCP, 13, CONGESTION_NAME_BYTES)
        return self.name.ljust(size, b"\0")

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        assert (level, option) == (socket.IPPROTO_TCP, 13)
        if self.refuses:
            raise OSError(errno.EPERM, "no")
        self.name = value


@pytest.mark.parametrize(("before", "after"), [(b"bbr", b"reno"), (b"bbr2", b"reno"), (b"cubic", b"cubic")])
def test_only_a_congestion_control_that_paces_is_replaced(
    before: bytes, after: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(socket, "TCP_CONGESTION", 13, raising=False)
    sock = _Congestion(before)
    do_not_pace(sock)  # type: ignore[arg-type]
    assert sock.name == after


def test_a_refused_option_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(socket, "TCP_CONGESTION", 13, raising=False)
    sock = _Congestion(b"bbr", refuses=True)
    do_not_pace(sock)  # type: ignore[arg-type]
    assert sock.name == b"bbr"


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
