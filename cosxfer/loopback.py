"""Connections within this machine."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress

CONGESTION_NAME_BYTES = 16
"""Linux's ``TCP_CA_NAME_MAX``."""


def is_loopback(host: str | int) -> bool:
    """Whether a numeric address is one of the loopback interface."""
    return isinstance(host, str) and (host.startswith(("127.", "::ffff:127.")) or host == "::1")


def do_not_pace(sock: socket.socket) -> None:
    """Replace BBR, if it is the system's congestion control, by one that sends without timers.

    Call it before connect or listen; what a listening socket accepts inherits its choice.

    BBR paces packets to protect the queues of a network. The loopback interface has none, and the timers cost a tenth
    of the CPU time of a large upload. Reno is part of every Linux kernel, and every user may choose it.
    """
    which: int | None = getattr(socket, "TCP_CONGESTION", None) if sys.platform == "linux" else None
    if which is None:
        return
    with suppress(OSError):  # a sandbox without this option
        if sock.getsockopt(socket.IPPROTO_TCP, which, CONGESTION_NAME_BYTES).startswith(b"bbr"):
            sock.setsockopt(socket.IPPROTO_TCP, which, b"reno")
