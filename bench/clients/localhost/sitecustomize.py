"""Resolves the names below ``localhost`` to this machine, as systemd-resolved does. For coscmd, on PYTHONPATH."""

import socket

_resolve = socket.getaddrinfo


def _getaddrinfo(host, *arguments, **more):  # type: ignore[no-untyped-def]
    return _resolve("127.0.0.1" if str(host).endswith(".localhost") else host, *arguments, **more)


socket.getaddrinfo = _getaddrinfo
