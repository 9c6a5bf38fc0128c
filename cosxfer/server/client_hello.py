"""Reads from a TLS client's first message which protocols it offers (RFC 8446, section 4; RFC 7301)."""

from __future__ import annotations

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_ALPN = 16
_RECORD_HEAD = 5
LONGEST_RECORD = _RECORD_HEAD + (1 << 14)


def is_whole(data: bytes) -> bool:
    """Whether ``data`` contains the whole first record, or is not TLS."""
    if data[:1] != bytes([_HANDSHAKE]):
        return bool(data)
    return len(data) >= _RECORD_HEAD and len(data) >= min(_RECORD_HEAD + _number(data[3:5]), LONGEST_RECORD)


def offered_protocols(data: bytes) -> tuple[bytes, ...]:
    """Return the names in the ALPN extension of a ClientHello; empty without one."""
    try:
        return _offered(data)
    except IndexError:
        return ()


def _offered(data: bytes) -> tuple[bytes, ...]:
    if data[0] != _HANDSHAKE or data[_RECORD_HEAD] != _CLIENT_HELLO:
        return ()
    # Record head, message type, length (3), version (2), random (32).
    at = _RECORD_HEAD + 4 + 2 + 32
    at += 1 + data[at]  # session id
    at += 2 + _number(data[at : at + 2])  # cipher suites
    at += 1 + data[at]  # compression methods
    end = at + 2 + _number(data[at : at + 2])
    at += 2
    while at + 4 <= min(end, len(data)):
        kind, size = _number(data[at : at + 2]), _number(data[at + 2 : at + 4])
        if kind == _ALPN:
            return _names(data[at + 6 : at + 4 + size])
        at += 4 + size
    return ()


def _names(listed: bytes) -> tuple[bytes, ...]:
    names = []
    while listed:
        size = listed[0]
        names.append(listed[1 : 1 + size])
        listed = listed[1 + size :]
    return tuple(names)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")
