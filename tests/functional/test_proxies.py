"""Forward proxies from the environment: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, and the exceptions in NO_PROXY."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import cosxfer
from cosxfer.server import RunningServer
from cosxfer.transport import choose
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
from tests.functional.proxy import ForwardProxy, Manner


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


@pytest.mark.parametrize("version", ["auto", "1.1"])
@pytest.mark.parametrize("name", ["of the scheme", "all_proxy"])
def test_a_proxy_of_the_environment_is_used_for_everything(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, version: Any
) -> None:
    with ForwardProxy() as proxy:
        monkeypatch.setenv(variable(server) if name == "of the scheme" else name, f"http://{proxy.where}")
        with client(server, http_version=version) as cos:
            transfers(cos, server, tmp_path / "file")
        tls = server.ca_file is not None
        assert {asked.method == "CONNECT" for asked in proxy.asked} == {tls}
        expected = server.url.partition("://")[2] if tls else f"{server.url}/"
        assert all(asked.target.startswith(expected) for asked in proxy.asked)
        assert proxy.tunnelled_bytes >= (len(BODY) if tls else 0)
    versions = {request["http_version"] for request in server.requests()}
    assert versions == ({"2"} if tls and version == "auto" else {"1.1"})


def test_an_address_without_a_scheme_names_a_proxy_too(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ForwardProxy() as proxy, monkeypatch.context() as patch:
        patch.setenv(variable(server).lower(), proxy.where)
        with client(server) as cos:
            cos.put_object(server.bucket, "k", b"x")
        assert proxy.asked


def test_a_request_with_expect_goes_through_the_proxy_without_waiting(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ForwardProxy() as proxy:
        monkeypatch.setenv(variable(server), f"http://{proxy.where}")
        with client(server) as cos:
            cos.put_object(server.bucket, "expected", BODY, expect="100-continue")
            assert cos.get_object(server.bucket, "expected").body == BODY
        assert proxy.asked


@in_loop
async def test_the_proxy_of_a_callers_httpx_client_is_used(servers: dict[str, RunningServer]) -> None:
    for server in servers.values():
        context = ssl.create_default_context(cafile=str(server.ca_file) if server.ca_file else None)
        with ForwardProxy() as proxy:
            async with (
                httpx.AsyncClient(proxy=f"http://{proxy.where}", verify=context) as mine,
                cosxfer.AsyncClient(
                    endpoint=server.endpoint, credentials=server.credentials, transport=mine, max_attempts=1
                ) as cos,
            ):
                await cos.put_object(server.bucket, "a/../own", BODY)
                assert (await cos.get_object(server.bucket, "a/../own")).body == BODY
            assert proxy.asked


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "example.com,127.0.0.1", "*"])
@pytest.mark.parametrize("transport", ["auto", "httpx"])
def test_no_proxy_means_a_direct_connection(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_proxy: str, transport: Any
) -> None:
    with ForwardProxy() as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://{proxy.where}")
        monkeypatch.setenv("NO_PROXY", no_proxy)
        with client(server, transport=transport) as cos:
            kind = type(cos._client._session.transport).__name__
            assert (kind == "NativeTransport") == (transport == "auto" and choose.is_built())
            transfers(cos, server, tmp_path / "file")
        assert not proxy.asked


def test_the_native_transport_ignores_the_proxy_and_logs_it(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cosxfer")
    with ForwardProxy(password=PASSWORD) as proxy:
        monkeypatch.setenv(variable(server), f"http://me:{QUOTED}@{proxy.where}")
        for _ in range(2):
            with client(server, transport="native") as cos:
                transfers(cos, server, tmp_path / "file")
        assert not proxy.asked
    assert [record.getMessage() for record in caplog.records if record.name == "cosxfer"] == [
        f"the native transport was requested; it ignores the proxy in {variable(server)}"
    ]


def test_user_and_password_go_only_to_the_proxy_and_are_never_shown(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with ForwardProxy(password=PASSWORD) as proxy:
        monkeypatch.setenv(variable(server), f"http://me:{QUOTED}@{proxy.where}")
        with client(server) as cos:
            transfers(cos, server, tmp_path / "file")
            transport = cos._client._session.transport
            clean("\n".join(repr(value) for value in (cos, cos.config, transport, vars(transport))))
        assert all(asked.headers["proxy-authorization"] == f"Basic {ENCODED}" for asked in proxy.asked)
    clean(caplog.text)


@pytest.mark.parametrize("given", ["", "me:wrong-hush@"])
def test_a_proxy_that_refuses_the_password_fails_at_once(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, given: str
) -> None:
    caplog.set_level(logging.DEBUG)
    with ForwardProxy(password=PASSWORD) as proxy:
        monkeypatch.setenv(variable(server), f"http://{given}{proxy.where}")
        with client(server, max_attempts=5) as cos, pytest.raises(cosxfer.ConnectError) as caught:
            cos.put_object(server.bucket, "k", b"x")
        assert len(proxy.asked) == 1
        assert f"the proxy {proxy.where} ({variable(server)}) refused: 407" in str(caught.value)
        assert "Check the user and the password" in str(caught.value)
    assert not caught.value.retryable
    clean(everything(caught.value))
    clean(caplog.text)


def test_a_refused_tunnel_fails_at_once(servers: dict[str, RunningServer], monkeypatch: pytest.MonkeyPatch) -> None:
    server = servers["https"]
    with ForwardProxy(manner="refuse", status=403) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.where}")
        with client(server, max_attempts=5) as cos, pytest.raises(cosxfer.ConnectError, match="refused: 403") as caught:
            cos.put_object(server.bucket, "k", b"x")
        assert len(proxy.asked) == 1
        assert "add the host to NO_PROXY: 127.0.0.1" in str(caught.value)


def test_a_proxy_that_cannot_reach_the_server_is_retried(
    servers: dict[str, RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers["https"]
    with ForwardProxy(manner="refuse", status=502) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.where}")
        with client(server, max_attempts=2) as cos, pytest.raises(cosxfer.ConnectError, match="refused: 502") as caught:
            cos.put_object(server.bucket, "k", b"x")
        assert len(proxy.asked) == 2
    assert caught.value.retryable


def test_a_proxys_refusal_of_a_forwarded_request_is_a_response(
    servers: dict[str, RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers["http"]
    with ForwardProxy(manner="refuse", status=403) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.where}")
        with (
            client(server, max_attempts=5) as cos,
            pytest.raises(cosxfer.AccessDeniedError, match="not from COS: 'no'"),
        ):
            cos.put_object(server.bucket, "k", b"x")
        assert len(proxy.asked) == 1


@pytest.mark.parametrize("manner", ["close", "cut", "noise", "silent"])
def test_a_proxy_that_breaks_off_is_an_error_that_names_it(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, manner: Manner
) -> None:
    with ForwardProxy(manner=manner) as proxy:
        monkeypatch.setenv(variable(server), f"http://{proxy.where}")
        with client(server, stall_timeout_seconds=0.4) as cos, pytest.raises(cosxfer.TransportError) as caught:
            cos.put_object(server.bucket, "k", b"x")
        assert f"through the proxy {proxy.where} ({variable(server)})" in str(caught.value)
        if manner == "silent":
            assert isinstance(caught.value, cosxfer.TransportTimeoutError)
    assert not server.requests()


def test_the_error_names_a_dead_proxy(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setenv(variable(server), f"http://me:{QUOTED}@{where}")
        with client(server) as cos, pytest.raises(cosxfer.ConnectError) as caught:
            cos.put_object(server.bucket, "k", b"x")
    address = server.url.partition("://")[2]
    assert f"cannot connect to {address} through the proxy {where} ({variable(server)}): " in str(caught.value)
    assert "refused" in str(caught.value)
    clean(everything(caught.value))


def test_an_untrusted_certificate_is_reported_through_a_proxy_too(
    servers: dict[str, RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers["https"]
    with ForwardProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.where}")
        with (
            client(server, verify=True, max_attempts=5) as cos,
            pytest.raises(cosxfer.ConnectError, match="not trusted") as caught,
        ):
            cos.put_object(server.bucket, "k", b"x")
        assert len(proxy.asked) == 1
    assert not caught.value.retryable


def test_a_tunnel_to_a_server_without_tls_names_the_proxy(
    servers: dict[str, RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers["http"]
    address = server.url.partition("://")[2]
    with ForwardProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.where}")
        with client(server, endpoint=f"https://{address}") as cos, pytest.raises(cosxfer.ConnectError) as caught:
            cos.put_object(server.bucket, "k", b"x")
        through = f"through the proxy {proxy.where} (HTTPS_PROXY)"
    assert f"cannot connect to {address} {through}: it does not speak TLS. Is its address http" in str(caught.value)
    assert not caught.value.retryable


def test_the_certificate_in_a_tunnel_is_compared_with_the_host(
    servers: dict[str, RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers["https"]
    with ForwardProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.where}")
        with (
            client(server, endpoint=f"https://127.0.0.2:{server.port}", max_attempts=5) as cos,
            pytest.raises(cosxfer.ConnectError, match=r"not valid for '127\.0\.0\.2'") as caught,
        ):
            cos.put_object(server.bucket, "k", b"x")
        assert len(proxy.asked) == 1
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"ftp://me:{QUOTED}@127.0.0.1:21", "write it as http://host:port"),
        (f"http://me:{PASSWORD}@127.0.0.1:1", "write it as http://host:port"),
        ("http://", "write it as http://host:port"),
        (f"socks4://me:{QUOTED}@127.0.0.1:1", "or https://, socks5://, socks5h://"),
    ],
)
def test_an_unusable_proxy_is_reported_when_the_client_is_created(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, url: str, why: str
) -> None:
    monkeypatch.setenv(variable(server), url)
    with pytest.raises(cosxfer.UsageError, match=why) as caught:
        client(server)
    assert caught.value.name == variable(server)
    clean(everything(caught.value))
