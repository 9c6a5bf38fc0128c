"""Proxies reached over TLS (https://…) and SOCKS5 proxies (socks5://…, socks5h://…)."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import cosxfer
from cosxfer.server import RunningServer, running
from tests.functional.peer_raw import in_loop
from tests.functional.proxied import (
    BODY,
    ENCODED,
    PASSWORD,
    QUOTED,
    clean,
    client,
    everything,
    forget_proxies,
    transfers,
    two_servers,
    variable,
)
from tests.functional.proxy import ForwardProxy, Manner, SocksProxy


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, RunningServer]]:
    with two_servers() as servers:
        yield servers


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest, servers: dict[str, RunningServer]) -> RunningServer:
    found = servers[request.param]
    found.requests(clear=True)
    return found


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_proxies(monkeypatch)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="of proxies")


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """The TLS context of the proxy."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusted(server: RunningServer, authority: trustme.CA, tmp_path: Path) -> str:
    """A file with the authorities of the proxy and of the server."""
    path = tmp_path / "authorities.pem"
    path.write_bytes(authority.cert_pem.bytes() + (server.ca_file.read_bytes() if server.ca_file else b""))
    return str(path)


def address_of(server: RunningServer) -> str:
    return server.url.partition("://")[2]


# -- TLS to the proxy --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own_context", [False, True])
def test_a_proxy_is_reached_over_tls(
    server: RunningServer,
    tls: ssl.SSLContext,
    trusted: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    own_context: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    verify = ssl.create_default_context(cafile=trusted) if own_context else trusted
    with ForwardProxy(tls=tls, password=PASSWORD) as proxy:
        monkeypatch.setenv(variable(server), f"https://me:{QUOTED}@{proxy.where}")
        with client(server, verify=verify) as cos:
            transfers(cos, server, tmp_path / "file")
        assert all(asked.headers["proxy-authorization"] == f"Basic {ENCODED}" for asked in proxy.asked)
    versions = {request["http_version"] for request in server.requests()}
    assert versions == ({"2"} if server.ca_file else {"1.1"})
    clean(caplog.text)


def test_the_authorities_of_the_environment_apply_to_the_proxy_too(
    servers: dict[str, RunningServer], tls: ssl.SSLContext, authority: trustme.CA, tmp_path: Path, monkeypatch: Any
) -> None:
    server, path = servers["http"], tmp_path / "authority.pem"
    path.write_bytes(authority.cert_pem.bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with ForwardProxy(tls=tls) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"https://{proxy.where}")
        with client(server) as cos:
            cos.put_object(server.bucket, "k", b"x")
        assert proxy.asked


def test_an_untrusted_proxy_fails_at_once(
    server: RunningServer, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ForwardProxy(tls=tls, password=PASSWORD) as proxy:
        monkeypatch.setenv(variable(server), f"https://me:{QUOTED}@{proxy.where}")
        with client(server, max_attempts=5) as cos, pytest.raises(cosxfer.ConnectError) as caught:
            cos.put_object(server.bucket, "k", b"x")
        named = f"the proxy {proxy.where} ({variable(server)})"
        assert str(caught.value).startswith(f"cannot connect to {named}: its certificate is not trusted: ")
        assert proxy.connections == 1
        assert not proxy.asked
    assert not caught.value.retryable
    clean(everything(caught.value))


def test_an_untrusted_server_is_not_reported_as_its_proxy(
    servers: dict[str, RunningServer],
    tls: ssl.SSLContext,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, path = servers["https"], tmp_path / "authority.pem"
    path.write_bytes(authority.cert_pem.bytes())
    with ForwardProxy(tls=tls) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"https://{proxy.where}")
        with (
            client(server, verify=str(path), max_attempts=5) as cos,
            pytest.raises(cosxfer.ConnectError) as caught,
        ):
            cos.put_object(server.bucket, "k", b"x")
        where = f"{address_of(server)} through the proxy {proxy.where} (HTTPS_PROXY)"
        assert str(caught.value).startswith(f"cannot connect to {where}: its certificate is not trusted: ")
        assert len(proxy.asked) == 1
    assert not caught.value.retryable


def test_a_proxy_without_tls_fails_at_once(
    server: RunningServer, servers: dict[str, RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = address_of(servers["http"])
    monkeypatch.setenv(variable(server), f"https://{other}")
    with client(server, max_attempts=5) as cos, pytest.raises(cosxfer.ConnectError) as caught:
        cos.put_object(server.bucket, "k", b"x")
    assert f"cannot connect to the proxy {other} ({variable(server)}): it does not speak TLS" in str(caught.value)
    assert not caught.value.retryable
    assert not server.requests()


def test_a_proxy_that_is_silent_in_the_handshake_times_out(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ForwardProxy() as proxy:  # the proxy waits for the end of a request head
        monkeypatch.setenv(variable(server), f"https://{proxy.where}")
        with (
            client(server, connect_timeout_seconds=0.3) as cos,
            pytest.raises(cosxfer.ConnectError, match=r"no response in 0\.3 s") as caught,
        ):
            cos.put_object(server.bucket, "k", b"x")
        assert f"through the proxy {proxy.where} ({variable(server)})" in str(caught.value)


@pytest.mark.parametrize(
    ("manner", "kind"),
    [
        ("close", cosxfer.TransportError),
        ("cut", cosxfer.TransportError),
        ("noise", cosxfer.ProtocolError),
        ("silent", cosxfer.TransportTimeoutError),
    ],
)
def test_a_proxy_behind_tls_that_breaks_off_is_an_error_that_names_it(
    server: RunningServer,
    tls: ssl.SSLContext,
    trusted: str,
    monkeypatch: pytest.MonkeyPatch,
    manner: Manner,
    kind: type[Exception],
) -> None:
    with ForwardProxy(manner=manner, tls=tls) as proxy:
        monkeypatch.setenv(variable(server), f"https://{proxy.where}")
        with client(server, verify=trusted, stall_timeout_seconds=0.4) as cos, pytest.raises(kind) as caught:
            cos.put_object(server.bucket, "k", b"x")
        assert f"through the proxy {proxy.where} ({variable(server)})" in str(caught.value)
    assert not server.requests()


def test_a_tls_proxy_that_needs_a_password_fails_at_once(
    server: RunningServer, tls: ssl.SSLContext, trusted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ForwardProxy(tls=tls, password=PASSWORD) as proxy:
        monkeypatch.setenv(variable(server), f"https://me:wrong-hush@{proxy.where}")
        with client(server, verify=trusted, max_attempts=5) as cos, pytest.raises(cosxfer.ConnectError) as caught:
            cos.put_object(server.bucket, "k", b"x")
        assert len(proxy.asked) == 1
        assert f"the proxy {proxy.where} ({variable(server)}) refused: 407" in str(caught.value)
        assert f"{variable(server)}=https://user:password@host:port" in str(caught.value)
    assert not caught.value.retryable
    clean(everything(caught.value))


# -- SOCKS -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["", PASSWORD])
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("name", ["of the scheme", pytest.param("ALL_PROXY", marks=pytest.mark.deep)])
def test_a_socks_proxy_is_used_for_everything(
    server: RunningServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    scheme: str,
    password: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    with SocksProxy(password=password) as proxy:
        user = f"me:{QUOTED}@" if password else ""
        monkeypatch.setenv(variable(server) if name == "of the scheme" else name, f"{scheme}://{user}{proxy.where}")
        with client(server) as cos:
            transfers(cos, server, tmp_path / "file")
            transport = cos._client._session.transport
            clean("\n".join(repr(value) for value in (cos, transport, vars(transport))))
        assert {asked.target for asked in proxy.asked} == {address_of(server)}
        assert proxy.tunnelled_bytes >= len(BODY)
    versions = {request["http_version"] for request in server.requests()}
    assert versions == ({"2"} if server.ca_file else {"1.1"})
    clean(caplog.text)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_names_are_resolved_by_the_socks_proxy(
    servers: dict[str, RunningServer], monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    server = servers["http"]
    with SocksProxy() as proxy:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://{proxy.where}")
        with client(server, endpoint=server.virtual_host_endpoint) as cos:
            cos.put_object(server.bucket, "k", b"x")
        assert {asked.target for asked in proxy.asked} == {f"{server.bucket}.localhost:{server.port}"}


@pytest.mark.parametrize("given", ["", "me:wrong-hush@"])
def test_a_socks_proxy_that_refuses_the_password_fails_at_once(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, given: str
) -> None:
    caplog.set_level(logging.DEBUG)
    with SocksProxy(password=PASSWORD) as proxy:
        monkeypatch.setenv(variable(server), f"socks5://{given}{proxy.where}")
        with client(server, max_attempts=5) as cos, pytest.raises(cosxfer.ConnectError) as caught:
            cos.put_object(server.bucket, "k", b"x")
        assert len(proxy.asked) == 1
        assert f"the proxy {proxy.where} ({variable(server)}) refused: " in str(caught.value)
        assert f"{variable(server)}=socks5://user:password@host:port" in str(caught.value)
    assert not caught.value.retryable
    clean(everything(caught.value))
    clean(caplog.text)


def test_a_socks_proxy_that_accepts_no_password_fails_at_once(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SocksProxy() as proxy:
        monkeypatch.setenv(variable(server), f"socks5://me:{QUOTED}@{proxy.where}")
        with client(server, max_attempts=5) as cos, pytest.raises(cosxfer.ConnectError) as caught:
            cos.put_object(server.bucket, "k", b"x")
        assert len(proxy.asked) == 1
    assert f"It accepts no user and password: {variable(server)}=socks5://host:port" in str(caught.value)
    assert not caught.value.retryable
    clean(everything(caught.value))


@pytest.mark.parametrize(
    ("status", "why", "attempts"),
    [
        (1, "could not connect: General SOCKS server failure", 2),
        (2, "could not connect: Connection not allowed by ruleset. To connect without the proxy, add the host", 1),
        (4, "could not connect: Host unreachable", 2),
        (8, "could not connect: Address type not supported", 1),
    ],
)
def test_a_socks_proxy_that_cannot_reach_the_server_gives_the_reason(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, status: int, why: str, attempts: int
) -> None:
    with SocksProxy(manner="refuse", status=status) as proxy:
        monkeypatch.setenv(variable(server), f"socks5://{proxy.where}")
        with client(server, max_attempts=2) as cos, pytest.raises(cosxfer.ConnectError) as caught:
            cos.put_object(server.bucket, "k", b"x")
        assert len(proxy.asked) == attempts
        assert f"the proxy {proxy.where} ({variable(server)}) {why}" in str(caught.value)
    assert caught.value.retryable == (attempts == 2)


@pytest.mark.parametrize("manner", ["close", "cut", "noise"])
def test_a_proxy_that_does_not_speak_socks_is_an_error_that_names_it(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, manner: Manner
) -> None:
    with SocksProxy(manner=manner) as proxy:
        monkeypatch.setenv(variable(server), f"socks5://me:{QUOTED}@{proxy.where}")
        with client(server) as cos, pytest.raises(cosxfer.ConnectError, match="is not SOCKS5") as caught:
            cos.put_object(server.bucket, "k", b"x")
        through = f"{address_of(server)} through the proxy {proxy.where} ({variable(server)})"
        assert str(caught.value).startswith(f"cannot connect to {through}: ")
    clean(everything(caught.value))
    assert not server.requests()


def test_a_silent_socks_proxy_times_out(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with SocksProxy(manner="silent") as proxy:
        monkeypatch.setenv(variable(server), f"socks5://{proxy.where}")
        with (
            client(server, connect_timeout_seconds=0.3) as cos,
            pytest.raises(cosxfer.ConnectError, match=r"no response in 0\.3 s") as caught,
        ):
            cos.put_object(server.bucket, "k", b"x")
        assert f"through the proxy {proxy.where} ({variable(server)})" in str(caught.value)
        assert caught.value.retryable


@in_loop
async def test_cancelling_in_the_socks_handshake_leaves_no_connection_behind(
    servers: dict[str, RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers["http"]
    with SocksProxy(manner="silent") as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5://{proxy.where}")
        async with cosxfer.AsyncClient(endpoint=server.endpoint, credentials=server.credentials) as cos:
            put = asyncio.create_task(cos.put_object(server.bucket, "k", b"x"))
            await asyncio.to_thread(proxy.greeted.wait, 20)
            put.cancel()
            with pytest.raises(asyncio.CancelledError):
                await put
            assert await asyncio.to_thread(proxy.left.wait, 20)


def test_a_dead_socks_proxy_is_named(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setenv(variable(server), f"socks5h://me:{QUOTED}@{where}")
        with client(server) as cos, pytest.raises(cosxfer.ConnectError) as caught:
            cos.put_object(server.bucket, "k", b"x")
    through = f"{address_of(server)} through the proxy {where} ({variable(server)})"
    assert str(caught.value) == f"cannot connect to {through}: Connection refused"
    clean(everything(caught.value))


def test_without_socksio_the_error_says_what_to_install(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert importlib.util.find_spec("socksio") is not None
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv(variable(server), f"socks5://me:{QUOTED}@127.0.0.1:1")
    with pytest.raises(cosxfer.UsageError, match=r"pip install 'cosxfer\[socks\]'") as caught:
        client(server)
    assert caught.value.name == variable(server)
    clean(everything(caught.value))
    # If NO_PROXY exempts other hosts, the error comes with the first request that needs the proxy.
    monkeypatch.setenv("NO_PROXY", "other.localhost")
    with (
        client(server, endpoint=server.virtual_host_endpoint, max_attempts=5) as cos,
        pytest.raises(cosxfer.UsageError, match=r"pip install 'cosxfer\[socks\]'"),
    ):
        cos.put_object(server.bucket, "k", b"x")


# -- all kinds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http", "socks5"])
@pytest.mark.parametrize("secure", [False, pytest.param(True, marks=pytest.mark.deep)])
def test_ipv6_addresses_of_the_proxy_and_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, secure: bool
) -> None:
    made = ForwardProxy if kind == "http" else SocksProxy
    with running(host="::1", tls=secure) as server, made(host="::1", password=PASSWORD) as proxy:
        monkeypatch.setenv(variable(server), f"{kind}://me:{QUOTED}@{proxy.where}")
        with client(server) as cos:
            transfers(cos, server, tmp_path / "file")
        assert {asked.method for asked in proxy.asked} == {"CONNECT"} or not secure
        assert all(f"[::1]:{server.port}" in asked.target for asked in proxy.asked)


@pytest.mark.parametrize("hang", [False, True])
@pytest.mark.parametrize(
    "kind", ["socks5", *(pytest.param(kind, marks=pytest.mark.deep) for kind in ("http", "https"))]
)
def test_a_proxy_that_stops_inside_a_body_is_named_and_retried(
    server: RunningServer, tls: ssl.SSLContext, trusted: str, monkeypatch: pytest.MonkeyPatch, kind: str, hang: bool
) -> None:
    made = SocksProxy if kind == "socks5" else ForwardProxy
    with made(tls=tls if kind == "https" else None, stop_after=1 << 20, hang=hang) as proxy:
        monkeypatch.setenv(variable(server), f"{kind}://{proxy.where}")
        settings = {"verify": trusted, "max_attempts": 2, "stall_timeout_seconds": 0.5 if hang else 20.0}
        with client(server, **settings) as cos, pytest.raises(cosxfer.TransportError) as caught:
            cos.put_object(server.bucket, "k", BODY)
        assert f"through the proxy {proxy.where} ({variable(server)})" in str(caught.value)
        assert isinstance(caught.value, cosxfer.TransportTimeoutError) == hang
        assert proxy.connections >= 2
    assert caught.value.retryable
    assert all(request["status"] == 0 for request in server.requests())
