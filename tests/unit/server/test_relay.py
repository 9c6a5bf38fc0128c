from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from cosxfer.server.relay import relay


@pytest.mark.parametrize("failing", [0, 1])
def test_a_relay_ends_if_a_thread_cannot_start(monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def limited(self: Any) -> None:
        if len(started) == failing:
            raise RuntimeError("can't start new thread")
        started.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)
    pairs = [socket.socketpair(), socket.socketpair()]
    # TCP_NODELAY exists only for TCP.
    monkeypatch.setattr("cosxfer.server.relay.socket.IPPROTO_TCP", socket.SOL_SOCKET)
    monkeypatch.setattr("cosxfer.server.relay.socket.TCP_NODELAY", socket.SO_KEEPALIVE)
    ends: list[bool] = []
    relay(pairs[0][0], pairs[1][0], lambda: ends.append(True))
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()
    assert pairs[0][0].fileno() == pairs[1][0].fileno() == -1
    assert ends == [True]
    for _, far in pairs:
        far.close()
