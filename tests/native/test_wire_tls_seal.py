"""Records of TLS 1.3 that the wire makes itself: each against OpenSSL, and sessions whose keys change."""

from __future__ import annotations

import asyncio
import ctypes
import random
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cosxfer._native import wire
from cosxfer.server.tls import Certificate, make_certificate
from cosxfer.transport.native_connect import Target, connect
from tests.native.tls_play import BODY, OK, read_body, read_head, request, send, serving

RECORD = 16 * 1024
HEAD = b"\x17\x03\x03\x40\x11"
SUITES = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]

random_bytes = random.Random("records").randbytes


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"), host="127.0.0.1")


@pytest.fixture(params=["own cipher", "cipher of OpenSSL"])
def own_cipher(request: pytest.FixtureRequest) -> Iterator[bool]:
    own = request.param == "own cipher"
    wire.seal(own_cipher=own)
    yield own
    wire.seal()


# -- the cipher -------------------------------------------------------------------------------------------------------


def sealed(key: bytes, nonce: bytes, data: bytes, kind: int = 23, head: bytes = HEAD) -> bytes:
    found = wire.sealed(key, nonce, head, data, kind)
    if found is None:
        pytest.skip("this machine has no VAES")
    return found


@pytest.mark.parametrize("key_bytes", [16, 32])
def test_a_record_of_each_length_is_what_openssl_makes(key_bytes: int) -> None:
    lengths = [*range(1100), *(RECORD - n for n in range(70)), *(512 * n for n in range(3, 33))]
    for length in lengths:
        key, nonce, data = random_bytes(key_bytes), random_bytes(12), random_bytes(length)
        kind = length % 256
        expected = AESGCM(key).encrypt(nonce, data + bytes([kind]), HEAD)
        assert sealed(key, nonce, data, kind) == expected, length


@pytest.mark.parametrize("key_bytes", [16, 32])
def test_where_the_data_lies_does_not_matter(key_bytes: int) -> None:
    key, nonce, data = random_bytes(key_bytes), random_bytes(12), random_bytes(3000)
    for offset in range(65):
        place = memoryview(bytes(offset) + data)[offset:]
        expected = AESGCM(key).encrypt(nonce, data + b"\x17", HEAD)
        assert wire.sealed(key, nonce, HEAD, place, 23) in (expected, None)


def test_each_bit_of_key_nonce_head_and_data_counts() -> None:
    values = [random_bytes(16), random_bytes(12), HEAD, random_bytes(600)]
    seen = {sealed(values[0], values[1], values[3], head=values[2])}
    count = 1
    for index, value in enumerate(values):
        for bit in range(0, 8 * len(value), 7):
            changed = bytearray(value)
            changed[bit // 8] ^= 1 << bit % 8
            key, nonce, head, data = (bytes(changed) if n == index else each for n, each in enumerate(values))
            seen.add(sealed(key, nonce, data, head=head)[-16:])
            count += 1
    assert len(seen) == count


@pytest.mark.parametrize("wrong", [{"key": bytes(24)}, {"nonce": bytes(11)}, {"head": bytes(6)}])
def test_values_of_another_length_are_refused(wrong: dict[str, bytes]) -> None:
    values = {"key": bytes(16), "nonce": bytes(12), "head": HEAD} | wrong
    with pytest.raises(ValueError, match="16 or 32 bytes"):
        wire.sealed(**values, data=b"", kind=23)


# -- sessions ---------------------------------------------------------------------------------------------------------


def how(certificate: Certificate, context: ssl.SSLContext, *, suites: str = "", version: ssl.TLSVersion) -> bool:
    """Connect, and return whether the records are made here."""

    async def connected(port: int) -> bool:
        target = Target(host="127.0.0.1", port=port, context=context, protocols=("http/1.1",), suites=suites)
        sock, _ = await connect(target, timeout_seconds=10)
        connection = wire.Connection(sock, http2=False)
        sock.close()
        return connection.sealed

    with serving(certificate, lambda sock: None, version=version) as port:
        return asyncio.run(connected(port))


@pytest.mark.parametrize("suite", SUITES)
def test_records_are_made_here_for_aes(certificate: Certificate, suite: str) -> None:
    context = ssl.create_default_context(cafile=certificate.ca_file)
    others = ":".join([suite, *(each for each in SUITES if each != suite)])
    assert how(certificate, context, suites=others, version=ssl.TLSVersion.TLSv1_3) is ("AES" in suite)


def test_openssl_makes_the_records_of_tls_1_2_and_if_it_is_asked_to(certificate: Certificate) -> None:
    context = ssl.create_default_context(cafile=certificate.ca_file)
    assert not how(certificate, context, version=ssl.TLSVersion.TLSv1_2)
    wire.seal(False)
    try:
        assert not how(certificate, context, version=ssl.TLSVersion.TLSv1_3)
    finally:
        wire.seal()
    assert how(certificate, context, version=ssl.TLSVersion.TLSv1_3)


def test_openssl_makes_the_records_if_it_may_have_to_send_a_certificate_later(certificate: Certificate) -> None:
    context = ssl.create_default_context(cafile=certificate.ca_file)
    context.post_handshake_auth = True
    assert not how(certificate, context, version=ssl.TLSVersion.TLSv1_3)


def test_a_log_of_keys_goes_on(certificate: Certificate, tmp_path: Path) -> None:
    context = ssl.create_default_context(cafile=certificate.ca_file)
    context.keylog_filename = str(tmp_path / "keys")
    assert not how(certificate, context, version=ssl.TLSVersion.TLSv1_3)
    assert "CLIENT_TRAFFIC_SECRET_0" in (tmp_path / "keys").read_text()


def test_another_user_of_the_context_is_not_affected(certificate: Certificate, tmp_path: Path) -> None:
    context = ssl.create_default_context(cafile=certificate.ca_file)
    assert how(certificate, context, version=ssl.TLSVersion.TLSv1_3)
    got: list[bytes] = []
    with (
        serving(certificate, lambda sock: got.append(sock.recv(5)), version=ssl.TLSVersion.TLSv1_3) as port,
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        sock.sendall(b"hello")
        assert sock.recv(1) == b""
    assert got == [b"hello"]
    context.keylog_filename = str(tmp_path / "keys")
    assert not how(certificate, context, version=ssl.TLSVersion.TLSv1_3)


def bodies_arrive(certificate: Certificate, *, suite: str, asks: bool = False) -> int:
    """Send three bodies to a slow reader; return how often the client has changed its keys.

    If the reader ``asks``, it wants new keys before each response.
    """
    got: list[bytes] = []
    changes: list[str] = []

    def note(direction: str, kind: str) -> None:
        if direction == "read" and kind == "KEY_UPDATE":
            changes.append(kind)

    def serve(sock: ssl.SSLSocket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        for _ in range(3):
            read_head(sock)
            got.append(read_body(sock, len(BODY), step=5000))
            if asks:
                ask_for_new_keys(sock)
            sock.sendall(OK)

    context = ssl.create_default_context(cafile=certificate.ca_file)
    verify = None if suite == SUITES[0] else context  # without a context, it is preferred
    with serving(certificate, serve, version=ssl.TLSVersion.TLSv1_3, on_message=note) as port:
        replies = send(certificate, *[request(port, BODY)] * 3, verify=verify)
    assert [reply.body for reply in replies] == [b"ok"] * 3
    assert got == [BODY] * 3
    return len(changes)


@pytest.mark.parametrize("suite", SUITES[:2])
def test_keys_are_changed_before_they_have_encrypted_too_much(
    certificate: Certificate, own_cipher: bool, suite: str
) -> None:
    wire.seal(own_cipher=own_cipher, records_per_key=3)
    groups = 3 * len(BODY) / RECORD / 8
    assert bodies_arrive(certificate, suite=suite) >= groups - 1


@pytest.mark.parametrize("suite", SUITES[:2])
def test_keys_are_changed_if_the_server_asks_for_it(certificate: Certificate, own_cipher: bool, suite: str) -> None:
    assert bodies_arrive(certificate, suite=suite, asks=True) == 2  # nothing is sent after the third response


def ask_for_new_keys(sock: ssl.SSLSocket) -> None:
    """The next write asks. Python has no function for it, so this calls OpenSSL's with the session in its object."""
    inside = ctypes.cast(id(sock._sslobj), ctypes.POINTER(ctypes.c_void_p))  # type: ignore[attr-defined]
    library = ctypes.CDLL(ssl._ssl.__file__)  # type: ignore[attr-defined]
    session = ctypes.c_void_p(inside[object.__basicsize__ // 8 + 1])
    assert library.SSL_key_update(session, 1) == 1  # SSL_KEY_UPDATE_REQUESTED
