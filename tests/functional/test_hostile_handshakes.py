"""Hostile text that arrives before a response: in a proxy's refusal of CONNECT, and in the names of certificates.

It contains terminal controls, line ends and bidi controls, and all of them must be escaped in messages.
"""

from __future__ import annotations

import datetime
import logging
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import cosxfer
from cosxfer.errors import ConnectError, CosxferError, ProtocolError
from tests.functional.peer_raw import Peer, in_loop, serving
from tests.functional.peer_tls import refusing
from tests.functional.proxied import forget_proxies
from tests.functional.test_hostile_text import BUCKET, HOSTILE, ON_ONE_LINE, check_clean

RAW = ON_ONE_LINE.encode()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_proxies(monkeypatch)


async def failing(endpoint: str, **settings: Any) -> CosxferError:
    """Make a call that cannot succeed and return its error."""
    expect: dict[str, Any] = {"headers": {"Expect": "100-continue"}} if settings.pop("expects", False) else {}
    async with cosxfer.AsyncClient(
        endpoint=endpoint,
        secret_id="id",
        secret_key="key",
        max_attempts=2,
        connect_timeout_seconds=5.0,
        stall_timeout_seconds=5.0,
        **settings,
    ) as client:
        with pytest.raises(CosxferError) as caught:
            await client.put_object(BUCKET, "k", b"body", **expect)
    return caught.value


PLACES = {
    "reason": lambda status: b"HTTP/1.1 %d " % status + RAW + b"\r\n\r\n",
    "legal reason": lambda status: b"HTTP/1.1 %d a\xe2\x80\xaeb\x9b31m\r\n\r\n" % status,
    "header": lambda status: b"HTTP/1.1 %d No\r\nProxy-Authenticate: Basic realm=" % status + RAW + b"\r\n\r\n",
    "body": lambda status: (
        b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n" % (status, len(HOSTILE.encode())) + HOSTILE.encode()
    ),
    "no HTTP": lambda _: RAW + b"\r\n" + HOSTILE.encode() + b"\r\n\r\n",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("status", [403, 407, 502])
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_text_of_a_proxy_is_escaped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, scheme: str, status: int, place: str
) -> None:
    caplog.set_level(logging.DEBUG, "cosxfer")

    @in_loop
    async def main() -> None:
        async def serve(peer: Peer) -> None:
            await peer.head()
            await peer.say(PLACES[place](status))

        async with serving(serve) as proxy:
            monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{proxy.port}")
            error = await failing(f"{scheme}://cos.example.com")
        check_clean(error, caplog.records)
        if scheme == "https":
            assert isinstance(error, ProtocolError if place == "no HTTP" else ConnectError)
            assert f"the proxy 127.0.0.1:{proxy.port}" in str(error)

    main()


def certificate(folder: Path, *, hosts: list[str], is_authority: bool) -> Path:
    """A self-signed certificate with hostile names, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(x509.NameOID.COMMON_NAME, f"c{HOSTILE}"[:40])]
    names.append(x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, f"o{HOSTILE}"[:40]))
    name = x509.Name(names)
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


ASCII = "".join(character for character in HOSTILE if character.isascii())


@pytest.mark.parametrize("trusted", [False, True], ids=["of nobody we know", "of another host"])
@pytest.mark.parametrize("way", ["native", "httpx", "httpx, expects", "of a proxy"])
def test_text_of_a_certificate_is_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str, trusted: bool
) -> None:
    caplog.set_level(logging.DEBUG, "cosxfer")
    path = certificate(tmp_path, hosts=[ASCII, f"{ASCII}.example.com"], is_authority=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)

    @in_loop
    async def main() -> None:
        with refusing(context) as server:
            endpoint = f"https://127.0.0.1:{server.port}"
            if way == "of a proxy":
                monkeypatch.setenv("https_proxy", endpoint)
                endpoint = "https://cos.example.com"
            error = await failing(
                endpoint,
                verify=str(path) if trusted else True,
                expects=way == "httpx, expects",
                **({} if way == "of a proxy" else {"transport": way.partition(",")[0]}),
            )
            assert server.connections
        check_clean(error, caplog.records)
        assert isinstance(error, ConnectError)
        assert "certificate" in str(error)

    main()
