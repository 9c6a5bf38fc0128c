"""Requests through proxies from Debian: tinyproxy, tinyproxy behind TLS (haproxy), and microsocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

import cosxfer
from cosxfer.server import RunningServer
from tests.functional.proxied import clean, client, everything, forget_proxies, transfers, two_servers, variable
from tests.functional.test_peers_servers import free_ports, program, started

TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 60
Allow 127.0.0.1
BasicAuth me hush-tiny
DefaultErrorFile "{folder}/error.html"
MaxClients 100
"""

HAPROXY = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend tls
  bind 127.0.0.1:{tls} ssl crt {folder}/proxy.pem
  default_backend proxy
backend proxy
  server proxy 127.0.0.1:{behind}
"""


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, RunningServer]]:
    with two_servers() as servers:
        yield servers


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest, servers: dict[str, RunningServer]) -> RunningServer:
    return servers[request.param]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_proxies(monkeypatch)


def tinyproxy(folder: Path, port: int) -> list[str]:
    config = folder / "tinyproxy.conf"
    config.write_text(TINYPROXY.format(port=port, folder=folder))
    return [program("tinyproxy", "tinyproxy-bin"), "-d", "-c", str(config)]


@pytest.mark.deep
def test_tinyproxy(server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [port] = free_ports(1)
    with started(tinyproxy(tmp_path, port), port):
        monkeypatch.setenv(variable(server), f"http://me:hush-tiny@127.0.0.1:{port}")
        for version in ("auto", "1.1"):
            # tinyproxy may close a connection at any time; the client then retries.
            with client(server, http_version=version, max_attempts=5) as cos:
                transfers(cos, server, tmp_path / "file")
        monkeypatch.setenv(variable(server), f"http://me:hush-other@127.0.0.1:{port}")
        with client(server, max_attempts=5) as cos, pytest.raises(cosxfer.CosxferError, match=r"40[17]") as caught:
            cos.head_object(server.bucket, "k")  # without a body, because an unread body would cause a reset
        assert not caught.value.retryable
        clean(everything(caught.value))


@pytest.mark.deep
def test_tinyproxy_behind_tls(server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behind, tls = free_ports(2)
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "proxy.pem"))
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.cert_pem.bytes() + (server.ca_file.read_bytes() if server.ca_file else b""))
    config = tmp_path / "haproxy.cfg"
    config.write_text(HAPROXY.format(folder=tmp_path, behind=behind, tls=tls))
    with (
        started(tinyproxy(tmp_path, behind), behind),
        started([program("haproxy", "haproxy"), "-f", str(config)], tls),
    ):
        monkeypatch.setenv(variable(server), f"https://me:hush-tiny@127.0.0.1:{tls}")
        with client(server, verify=str(trusted), max_attempts=5) as cos:
            transfers(cos, server, tmp_path / "file")


@pytest.mark.deep
@pytest.mark.parametrize("password", ["", "hush-micro"])
def test_microsocks(server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    [port] = free_ports(1)
    command = [program("microsocks", "microsocks"), "-i", "127.0.0.1", "-p", str(port)]
    with started([*command, *(["-u", "me", "-P", password] if password else [])], port):
        user = f"me:{password}@" if password else ""
        monkeypatch.setenv("ALL_PROXY", f"socks5://{user}127.0.0.1:{port}")
        with client(server) as cos:
            transfers(cos, server, tmp_path / "file")
        monkeypatch.setenv("ALL_PROXY", f"socks5://me:hush-other@127.0.0.1:{port}")
        with client(server, max_attempts=5) as cos, pytest.raises(cosxfer.ConnectError) as caught:
            cos.head_object(server.bucket, "k")
        assert not caught.value.retryable
        clean(everything(caught.value))
        monkeypatch.setenv("ALL_PROXY", f"socks5://{user}127.0.0.1:{port}")
        with client(server, endpoint="http://127.0.0.1:1") as cos, pytest.raises(cosxfer.ConnectError) as caught:
            cos.head_object(server.bucket, "k")
        assert "could not connect: Connection refused" in str(caught.value)
        assert caught.value.retryable
