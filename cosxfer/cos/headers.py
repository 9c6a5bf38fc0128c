"""Decodes header bytes, for requests and responses, on the client and the server."""

from __future__ import annotations

from collections.abc import Iterable


def decode_headers(raw_headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return lower-case names and values as UTF-8, else Latin-1. Values of repeated names are joined with a comma."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw_headers:
        name = raw_name.decode("latin-1").lower()
        try:
            value = raw_value.decode()
        except UnicodeDecodeError:
            value = raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
