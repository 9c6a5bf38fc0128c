"""ALPN names are read from what a real TLS client sends first."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosxfer.server.client_hello import is_whole, offered_protocols


def hello(protocols: list[str]) -> bytes:
    context = ssl.create_default_context()
    if protocols:
        context.set_alpn_protocols(protocols)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("protocols", [[], ["http/1.1"], ["h2", "http/1.1"], ["h2"]])
def test_the_alpn_names_are_read(protocols: list[str]) -> None:
    data = hello(protocols)
    assert is_whole(data)
    assert offered_protocols(data) == tuple(name.encode() for name in protocols)


def test_an_incomplete_client_hello_is_recognised() -> None:
    data = hello(["h2"])
    assert not any(is_whole(data[:size]) for size in range(len(data)))


def test_data_that_is_not_tls_is_recognised_at_once() -> None:
    assert is_whole(b"GET / HTTP/1.1\r\n")
    assert offered_protocols(b"GET / HTTP/1.1\r\n") == ()


@pytest.mark.deep
@given(st.binary(max_size=100), st.integers(0, 300))
def test_damaged_bytes_raise_no_exception(noise: bytes, cut: int) -> None:
    offered_protocols(noise)
    offered_protocols(hello(["h2"])[:cut] + noise)
