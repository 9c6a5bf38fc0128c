"""The choice of a client's transport."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from cosxfer.config import ClientConfig
from cosxfer.cos.endpoint import resolve_endpoint
from cosxfer.cos.responses import HttpResponse
from cosxfer.errors import UsageError
from cosxfer.transport import choose
from cosxfer.transport.base import unacknowledged_bytes
from cosxfer.transport.choose import choose_transport, is_built
from cosxfer.transport.httpx import HttpxTransport
from cosxfer.transport.memory import MemoryTransport
from cosxfer.transport.proxies import Proxies


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    choose._say_once.cache_clear()


def config(endpoint: str = "https://{bucket}.cos.{region}.myqcloud.com") -> ClientConfig:
    return ClientConfig(endpoint=endpoint)


def test_native_is_the_default_if_it_is_built() -> None:
    chosen = choose_transport("auto", config())
    assert type(chosen).__name__ == ("NativeTransport" if is_built() else "HttpxTransport")


def test_httpx_is_used_if_requested() -> None:
    assert isinstance(choose_transport("httpx", config()), HttpxTransport)


def test_the_callers_transport_is_used() -> None:
    mine = MemoryTransport(lambda request, body: HttpResponse(status=200, headers={}))
    assert choose_transport(mine, config()) is mine


@pytest.mark.parametrize(
    ("name", "endpoint"),
    [
        ("HTTPS_PROXY", "https://{bucket}.example.com"),
        ("http_proxy", "http://a.example.com"),
        ("ALL_PROXY", "a.example"),
    ],
)
def test_a_proxy_for_the_endpoint_selects_httpx_and_is_logged_once(
    name: str, endpoint: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    caplog.set_level(logging.INFO, "cosxfer")
    for _ in range(2):
        assert isinstance(choose_transport("auto", config(endpoint)), HttpxTransport)
    assert [record.getMessage() for record in caplog.records] == [f"using httpx: {name.upper()} names a proxy"] or (
        not is_built()
    )


@pytest.mark.parametrize(
    ("name", "no_proxy"), [("HTTP_PROXY", ""), ("HTTPS_PROXY", "*"), ("FTP_PROXY", ""), ("http_proxy", "localhost")]
)
def test_without_a_relevant_proxy_the_native_transport_is_used_directly(
    name: str, no_proxy: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    caplog.set_level(logging.INFO, "cosxfer")
    chosen = choose_transport("auto", config())
    assert type(chosen).__name__ == ("NativeTransport" if is_built() else "HttpxTransport")
    assert not caplog.records or not is_built()


@pytest.mark.parametrize(
    ("no_proxy", "kind"),
    [
        ("localhost,127.0.0.1,.internal", "HttpxTransport"),
        ("localhost,.myqcloud.com", "NativeTransport"),
        ("localhost,cos.ap-guangzhou.myqcloud.com", "ByOrigin"),
    ],
)
@pytest.mark.parametrize("limit", [None, 1e6])
def test_if_no_proxy_exempts_some_hosts_each_host_is_decided(
    no_proxy: str, kind: str, limit: float | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    caplog.set_level(logging.INFO, "cosxfer")
    # Each transport has its own rate limit, so one transport must send everything.
    because_of_limit = kind == "ByOrigin" and limit is not None and is_built()
    if because_of_limit or not is_built():
        kind = "HttpxTransport"
    assert type(choose_transport("auto", replace(config(), max_bytes_per_second=limit))).__name__ == kind
    assert ("max_bytes_per_second" in caplog.text) == because_of_limit


def test_a_missing_native_build_is_reported(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(choose, "is_built", lambda: False)
    caplog.set_level(logging.INFO, "cosxfer")
    assert isinstance(choose_transport("auto", config()), HttpxTransport)
    assert "not built" in caplog.text
    with pytest.raises(UsageError, match="libnghttp2"):
        choose_transport("native", config())


def test_an_unknown_transport_name_is_refused() -> None:
    with pytest.raises(UsageError, match="curl"):
        choose_transport("curl", config())  # type: ignore[arg-type]


def test_bytes_on_the_way_are_summed_over_the_transports_and_0_if_one_does_not_count_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Counts(MemoryTransport):
        def unacknowledged_bytes(self) -> int:
            return 7

    def counting(*_: object) -> Counts:
        return Counts(lambda request, body: HttpResponse(status=200, headers={}))

    assert unacknowledged_bytes(MemoryTransport(lambda request, body: HttpResponse(status=200, headers={}))) == 0
    monkeypatch.setattr(choose, "_native", counting)
    monkeypatch.setattr(choose, "_around", counting)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    by_origin = choose.ByOrigin(config(), Proxies(), None)
    assert by_origin.unacknowledged_bytes() == 7
    by_origin._decide(resolve_endpoint("https://a.example", bucket="b-1", region=None))
    assert by_origin.unacknowledged_bytes() == 14
