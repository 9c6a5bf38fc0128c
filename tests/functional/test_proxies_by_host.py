"""Whether requests use the proxy of the environment is decided for each host."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cosxfer
from cosxfer.config import ClientConfig
from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.cos.requests import HttpRequest
from cosxfer.errors import TransportError
from cosxfer.server import RunningServer
from cosxfer.transport.choose import ByOrigin, choose_transport
from tests.functional.peer_raw import in_loop
from tests.functional.proxied import BODY, PASSWORD, QUOTED, clean, client, forget_proxies, two_servers, variable
from tests.functional.proxy import ForwardProxy


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
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxies, and ``*.localhost`` resolves even if the machine's resolver does not know it."""
    forget_proxies(monkeypatch)

    async def here(host: str, port: int) -> list[object]:
        return [(socket.AF_INET, ("127.0.0.1", port))]

    monkeypatch.setattr("cosxfer.transport.native_connect.addresses", here)


def of_buckets(server: RunningServer, **more: Any) -> cosxfer.Client:
    """A client with the bucket in the host name. It does not verify, as no certificate covers ``*.localhost``."""
    return client(server, endpoint=server.virtual_host_endpoint, verify=False, **more)


def ways(cos: cosxfer.Client) -> dict[str, str]:
    transport = cos._client._session.transport
    assert isinstance(transport, ByOrigin)
    return {host: type(way).__name__ for (_, host, _), way in transport._ways.items()}


@pytest.mark.parametrize("port", ["", ":{port}"])
def test_no_proxy_names_one_buckets_host(server: RunningServer, monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    first, second = server.buckets
    with ForwardProxy() as proxy:
        monkeypatch.setenv(variable(server), f"http://{proxy.where}")
        monkeypatch.setenv("NO_PROXY", f"{second}.localhost{port.format(port=server.port)}")
        with of_buckets(server) as cos:
            for bucket in (second, first, second):
                cos.put_object(bucket, "k", BODY)
                assert cos.get_object(bucket, "k").body == BODY
            assert ways(cos) == {f"{second}.localhost": "NativeTransport", f"{first}.localhost": "HttpxTransport"}
        assert proxy.asked
        assert all(f"{first}.localhost:{server.port}" in asked.target for asked in proxy.asked)


def test_another_port_in_no_proxy_is_another_host(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with ForwardProxy() as proxy:
        monkeypatch.setenv(variable(server), f"http://{proxy.where}")
        monkeypatch.setenv("NO_PROXY", "localhost:1,127.0.0.1:1")
        with of_buckets(server) as cos:
            cos.put_object(server.bucket, "k", b"x")
        assert proxy.asked


def test_a_call_to_another_region_may_use_the_proxy(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cosxfer")
    scheme = server.url.partition("://")[0]
    with ForwardProxy() as proxy:
        monkeypatch.setenv(variable(server), f"http://me:{QUOTED}@{proxy.where}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        endpoint = f"{scheme}://127.0.0.{{region}}:{server.port}/{{bucket}}"
        for _ in range(2):
            with client(server, endpoint=endpoint, region="1", verify=False) as cos:
                cos.put_object(server.bucket, "k", b"x")
                asked = len(proxy.asked)
                for _ in range(2):
                    cos.put_object(server.bucket, "k", b"x", region="2")
                assert len(proxy.asked) > asked
        assert all(f"127.0.0.2:{server.port}" in asked.target for asked in proxy.asked)
    messages = [record.getMessage() for record in caplog.records if record.name == "cosxfer"]
    assert messages == [
        f"using the native transport, not the proxy in {variable(server)}, for hosts in NO_PROXY",
        f"using httpx: {variable(server)} names a proxy",
    ]
    clean(caplog.text)


def test_later_changes_of_the_environment_apply_to_later_clients(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = server.buckets
    with ForwardProxy() as proxy:
        for transport in ("auto", "httpx"):
            with monkeypatch.context() as patch:
                patch.setenv(variable(server), f"http://{proxy.where}")
                patch.setenv("NO_PROXY", f"{second}.localhost")
                with of_buckets(server, transport=transport) as cos:
                    patch.delenv(variable(server))
                    patch.delenv("NO_PROXY")
                    before = len(proxy.asked)
                    cos.put_object(first, "k", b"x")
                    asked = len(proxy.asked)
                    assert asked > before
                    if transport == "auto":  # httpx would have to resolve the name
                        cos.put_object(second, "k", b"x")
                    assert len(proxy.asked) == asked
        asked = len(proxy.asked)
        with of_buckets(server) as cos:
            monkeypatch.setenv(variable(server), f"http://{proxy.where}")
            cos.put_object(first, "k", b"x")
        assert len(proxy.asked) == asked


def test_an_unusable_proxy_is_reported_when_a_request_needs_it(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = server.buckets
    monkeypatch.setenv(variable(server), f"ftp://me:{QUOTED}@127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", f"{second}.localhost")
    with of_buckets(server, max_attempts=5) as cos:
        cos.put_object(second, "k", b"x")
        with pytest.raises(cosxfer.UsageError, match="write it as http://host:port") as caught:
            cos.put_object(first, "k", b"x")
    assert caught.value.name == variable(server)
    assert [request["bucket"] for request in server.requests()] == [second]


def test_httpx_is_imported_only_when_a_host_needs_the_proxy(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = server.buckets
    code = f"""
import socket, sys, cosxfer
from cosxfer.transport import native_connect
async def here(host, port):
    return [(socket.AF_INET, ("127.0.0.1", port))]
native_connect.addresses = here
with cosxfer.Client(
    endpoint={server.virtual_host_endpoint!r}, secret_id={server.credentials.secret_id!r},
    secret_key={server.credentials.secret_key!r}, verify=False,
) as cos:
    cos.put_object({second!r}, "k", b"x")
    print("httpx" in sys.modules)
    cos.put_object({first!r}, "k", b"x")
    print("httpx" in sys.modules)
"""
    with ForwardProxy() as proxy:
        monkeypatch.setenv(variable(server), f"http://{proxy.where}")
        monkeypatch.setenv("NO_PROXY", f"{second}.localhost")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["False", "True"], "")


@in_loop
async def test_a_closed_transport_sends_nothing_with_or_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with ForwardProxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.where}")
        monkeypatch.setenv("NO_PROXY", "b-2.localhost")
        template = "http://{bucket}.localhost:1"
        transport = choose_transport("auto", ClientConfig(endpoint=template))
        assert isinstance(transport, ByOrigin)
        await transport.aclose()
        for bucket in ("b-1", "b-2"):
            endpoint = resolve_endpoint(template, bucket=bucket, region=None)
            with pytest.raises(TransportError, match="the client is closed"):
                await transport.send(HttpRequest(method="GET", endpoint=endpoint, target="/", headers={"host": "h"}))
        assert not proxy.asked


@in_loop
async def test_a_client_that_is_not_closed_releases_both_transports(
    servers: dict[str, RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers["http"]
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", f"{server.bucket}.localhost")
    cos = cosxfer.AsyncClient(endpoint=server.virtual_host_endpoint, credentials=server.credentials)
    await cos.put_object(server.bucket, "k", b"x")
    transport = cos._session.transport
    assert isinstance(transport, ByOrigin)
    with pytest.warns(ResourceWarning, match="unclosed client"):
        del cos
    assert transport._native._closed
    assert all(thread.stopped for thread in transport._native._io_threads)


def test_a_file_is_uploaded_in_parts_with_and_without_a_proxy(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(BODY)
    first, second = server.buckets
    with ForwardProxy(password=PASSWORD) as proxy:
        monkeypatch.setenv(variable(server), f"http://me:{QUOTED}@{proxy.where}")
        monkeypatch.setenv("NO_PROXY", f"{second}.localhost")
        with of_buckets(server) as cos:
            tasks = [cos.submit_slice_upload_file(b, "file", path, slice_size=1 << 20) for b in (first, second)]
            assert all(task.result().verified for task in tasks)
            clean("\n".join(repr(value) for value in (cos, *vars(cos._client._session.transport).values())))
        assert proxy.asked
