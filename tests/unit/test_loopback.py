"""Connections within this machine: they are recognised, and not paced."""

from __future__ import annotations

import errno
import socket
import sys

import pytest

from cosxfer.loopback import CONGESTION_NAME_BYTES, do_not_pace, is_loopback


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
