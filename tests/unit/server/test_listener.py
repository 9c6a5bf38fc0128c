"""Connections to a server on a loopback address are not paced, in either direction."""

from __future__ import annotations

import socket
import sys

import pytest

from cosxfer.loopback import CONGESTION_NAME_BYTES
from cosxfer.server import listener as server_listener
from cosxfer.server.listener import listen


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the option")
def test_an_accepted_connection_is_not_paced() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        listener.setblocking(True)
        accepted, _ = listener.accept()
        with accepted:
            name = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION_NAME_BYTES)
    assert not name.startswith(b"bbr")


@pytest.mark.parametrize(("host", "asked"), [("127.0.0.1", 1), ("localhost", 1), ("0.0.0.0", 0)])
def test_only_a_loopback_address_is_asked_not_to_pace(host: str, asked: int, monkeypatch: pytest.MonkeyPatch) -> None:
    changed: list[socket.socket] = []
    monkeypatch.setattr(server_listener, "do_not_pace", changed.append)
    listen(host, 0).close()
    assert len(changed) == asked
