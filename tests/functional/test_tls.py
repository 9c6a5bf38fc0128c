"""Certificates of servers and clients, authorities and TLS versions, over each transport and protocol."""

from __future__ import annotations

import datetime
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trustme

from cosxfer.config import ClientConfig
from cosxfer.errors import ConnectError, TransportError, UsageError
from cosxfer.transport.base import Transport
from cosxfer.transport.choose import choose_transport
from tests.functional.peer_raw import Peer, in_loop, serving
from tests.functional.peer_tls import TLS12, TLS13, client_context, refusing, server_context, serving_tls

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
SERVER = AUTHORITY.issue_cert("127.0.0.1")
CLIENT = AUTHORITY.issue_cert("client.example")
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
EXPIRED = AUTHORITY.issue_cert("127.0.0.1", not_after=LONG_AGO)
ELSEWHERE = AUTHORITY.issue_cert("elsewhere.example")
BODY = bytes(300_000)


def authorities(folder: Path) -> Path:
    """A folder with the authority and OpenSSL's hash index."""
    AUTHORITY.cert_pem.write_to_path(str(folder / "ca.pem"))
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the folder's index")
    subprocess.run([openssl, "rehash", str(folder)], check=True, capture_output=True)
    return folder


each_transport = pytest.mark.parametrize("kind", ["native", "httpx"])
each_protocol = pytest.mark.parametrize("protocol", ["1.1", "2"])
each_version = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["TLS 1.2", "TLS 1.3"])


def transport(kind: Any, verify: Any, protocol: Any = "auto") -> Transport:
    return choose_transport(kind, ClientConfig(verify=verify, http_version=protocol))


@each_transport
@each_protocol
@each_version
@in_loop
async def test_a_certificate_of_the_callers_context_is_shown_to_the_server(
    kind: str, protocol: str, version: ssl.TLSVersion
) -> None:
    async with serving_tls(server_context(SERVER, version=version, clients_of=AUTHORITY)) as server:
        way = transport(kind, client_context(AUTHORITY, CLIENT), protocol)
        for _ in range(2):
            response = await way.send(server.request(body=BODY))
            assert (response.status, response.http_version) == (200, f"HTTP/{protocol}")
        await way.aclose()
        assert server.bodies == [len(BODY)] * 2
        for session in server.sessions:
            certificate = session.getpeercert()
            assert certificate is not None
            assert certificate["subjectAltName"] == (("DNS", "client.example"),)
            assert session.version() == version.name.replace("_", ".")


@each_transport
@each_protocol
@pytest.mark.parametrize("body", [b"", BODY], ids=["no body", "a body"])
@in_loop
async def test_a_server_that_requires_a_certificate_refuses_after_the_handshake(
    kind: str, protocol: str, body: bytes
) -> None:
    with refusing(server_context(SERVER, version=TLS13, clients_of=AUTHORITY)) as server:
        way = transport(kind, client_context(AUTHORITY), protocol)
        with pytest.raises(TransportError, match=r"(?i)certificate.required") as caught:
            await way.send(server.request(body=body))
        await way.aclose()
    assert "load_cert_chain" in str(caught.value)
    assert isinstance(caught.value, ConnectError)
    assert not caught.value.retryable


@each_transport
@each_version
@in_loop
async def test_a_certificate_of_another_authority_is_refused(kind: str, version: ssl.TLSVersion) -> None:
    with refusing(server_context(SERVER, version=version, clients_of=AUTHORITY)) as server:
        way = transport(kind, client_context(AUTHORITY, STRANGER.issue_cert("client.example")))
        with pytest.raises(TransportError, match=r"(?i)alert.unknown.ca") as caught:
            await way.send(server.request(body=BODY))
        await way.aclose()
    assert "does not accept the client certificate" in str(caught.value)
    assert not caught.value.retryable


@each_protocol
@pytest.mark.parametrize("waits", [True, False], ids=["waits for 100", "sends at once"])
@in_loop
async def test_httpx_finds_the_reason_why_a_server_closes_connections(protocol: str, waits: bool) -> None:
    with refusing(server_context(SERVER, version=TLS13, clients_of=AUTHORITY), abrupt=True) as server:
        way = transport("httpx", client_context(AUTHORITY), protocol)
        headers = {"expect": "100-continue"} if waits else {}
        request = server.request(body=BODY, headers=headers, expect_continue=waits)
        with pytest.raises(ConnectError, match="requires a client certificate") as caught:
            await way.send(request)
        await way.aclose()
    assert not caught.value.retryable


@each_transport
@in_loop
async def test_a_missing_common_tls_version_is_reported(kind: str) -> None:
    with refusing(server_context(SERVER, version=TLS12)) as server:
        way = transport(kind, client_context(AUTHORITY, version=TLS13))
        with pytest.raises(ConnectError, match=r"(?i)alert.protocol.version") as caught:
            await way.send(server.request(body=BODY))
        await way.aclose()
    assert not caught.value.retryable


@each_transport
@pytest.mark.parametrize(
    ("certificate", "why"),
    [(EXPIRED, "certificate has expired"), (ELSEWHERE, "IP address mismatch")],
    ids=["expired", "for another host"],
)
@in_loop
async def test_a_bad_certificate_of_the_server_is_final(kind: str, certificate: trustme.LeafCert, why: str) -> None:
    with refusing(server_context(certificate)) as server:
        way = transport(kind, client_context(AUTHORITY))
        with pytest.raises(ConnectError, match=why) as caught:
            await way.send(server.request(body=BODY))
        await way.aclose()
        assert server.connections == 1
    assert not caught.value.retryable


@each_transport
@in_loop
async def test_a_server_without_tls_is_reported(kind: str) -> None:
    async def serve(peer: Peer) -> None:
        await peer.reader.read(100)
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(serve) as server:
        server.scheme = "https"
        way = transport(kind, client_context(AUTHORITY))
        with pytest.raises(ConnectError, match="does not speak TLS") as caught:
            await way.send(server.request(body=BODY))
        await way.aclose()
    assert not caught.value.retryable


@each_transport
@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@in_loop
async def test_the_environment_names_the_authorities(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(other, raising=False)
    folder = authorities(tmp_path)
    async with serving_tls(server_context(SERVER)) as server:
        way = transport(kind, True)
        with pytest.raises(ConnectError, match="not trusted"):
            await way.send(server.request(body=b"x"))
        await way.aclose()
        monkeypatch.setenv(name, str(folder / "ca.pem" if name == "SSL_CERT_FILE" else folder))
        way = transport(kind, True)
        assert (await way.send(server.request(body=b"x"))).status == 200
        await way.aclose()


@each_transport
@pytest.mark.parametrize("form", [str, Path])
@in_loop
async def test_the_authorities_may_be_a_file_by_text_or_by_path(kind: str, form: type, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(file))
    async with serving_tls(server_context(SERVER)) as server:
        way = transport(kind, form(file))
        assert (await way.send(server.request(body=b"x"))).status == 200
        await way.aclose()
        with pytest.raises(UsageError, match="'/not/there' cannot be used"):
            await transport(kind, form("/not/there")).send(server.request(body=b"x"))


@each_transport
@in_loop
async def test_missing_authorities_of_the_environment_are_a_usage_error(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing"))
    async with serving_tls(server_context(SERVER)) as server:
        with pytest.raises(UsageError, match="SSL_CERT_FILE"):
            await transport(kind, True).send(server.request(body=b"x"))
